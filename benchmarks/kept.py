"""Where the tables of benchmarks go: nowhere but into this process."""

from typing import Any

import dagster as dg
import pandas as pd

#: The table of each run, which is not pickled to a file: the bare pool's is not either.
TABLES: list[pd.DataFrame] = []


class _Kept(dg.IOManager):
    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        TABLES.append(obj)

    def load_input(self, context: dg.InputContext) -> Any:
        raise NotImplementedError  # no step takes the table


@dg.io_manager
def kept() -> dg.IOManager:
    """Keep what it is given in `TABLES`."""
    return _Kept()
