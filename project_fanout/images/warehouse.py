"""The DuckDB file in which the tables land."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from dagster_duckdb_pandas import DuckDBPandasIOManager, DuckDBPandasTypeHandler

DATABASE_VARIABLE = "PROJECT_FANOUT_DATABASE"
DEFAULT_DATABASE = "output/warehouse.duckdb"


def database_path() -> str:
    """Return where the DuckDB file is: PROJECT_FANOUT_DATABASE, or a file below the current folder."""
    return os.path.expanduser(os.environ.get(DATABASE_VARIABLE) or DEFAULT_DATABASE)


class WholeTable(DuckDBPandasTypeHandler):
    """Replaces a table by a frame, in one statement.

    The base class keeps the columns of the first frame for ever, so that a later frame with another
    column, or with text where there was nothing but NULL, is refused; and it leaves no table for an
    empty frame, so that the asset downstream cannot load it.
    """

    def handle_output(
        self, context: dg.OutputContext, table_slice: Any, obj: pd.DataFrame, connection: Any
    ) -> None:
        """Store *obj* as the table of the asset, or in it as the rows of a partition."""
        if table_slice.partition_dimensions:
            super().handle_output(context, table_slice, obj, connection)
            return
        table = f'"{table_slice.schema}"."{table_slice.table}"'
        connection.register("frame_to_store", obj)
        connection.execute(
            f"create or replace table {table} as select * from frame_to_store"
        )  # the asset's own name
        connection.unregister("frame_to_store")
        context.add_output_metadata({"dagster/row_count": len(obj), "dagster/storage_kind": "duckdb"})


class Warehouse(DuckDBPandasIOManager):
    """Stores each asset as a table of the same name; makes the folder of the database if need be."""

    @staticmethod
    def type_handlers() -> Sequence[Any]:
        """Return what stores frames."""
        return [WholeTable()]

    def create_io_manager(self, context: Any) -> Any:
        """Return the IO manager, with a folder for its database."""
        Path(self.database).parent.mkdir(parents=True, exist_ok=True)
        return super().create_io_manager(context)
