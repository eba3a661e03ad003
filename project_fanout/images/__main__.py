"""Print what the last run of the images job made: `python -m project_fanout.images`."""

import argparse
import sys
from pathlib import Path

import duckdb

from project_fanout.images.page import PAGE_NAME, page_folder, readable_size
from project_fanout.images.tables import saving_by_format
from project_fanout.images.warehouse import DATABASE_VARIABLE, database_path


def summary(database: Path) -> str:
    """Return the summary of the tables in *database*, a few lines of text.

    Raises:
        FileNotFoundError: there is no such database.
        duckdb.CatalogException: it does not hold the tables of the images job.
        duckdb.IOException: a run is writing to it, or it is no database.
    """
    if not database.is_file():
        raise FileNotFoundError(f"{database} does not exist")
    with duckdb.connect(str(database), read_only=True) as connection:
        # With its schema, so that DuckDB does not take a Python variable of that name for the table.
        renditions = connection.execute("select * from public.web_renditions").df()
        report = connection.execute("select * from public.renditions_report").df()
    made = renditions[renditions["status"] == "succeeded"]
    failed = len(renditions) - len(made)
    missing = f"; {failed} failed" if failed else ""
    lines = [
        f"photographs  {made['record_key'].nunique()}",
        f"renditions   {len(made)}, {readable_size(made['bytes'].sum())}{missing}",
    ]
    lines.extend(
        f"saved        {readable_size(row['saved_bytes'])} of {readable_size(row['original_bytes'])} "
        f"({row['saved_ratio']:.0%}) at full width as {row['format']}"
        for row in saving_by_format(report).to_dict("records")
    )
    folder = page_folder(renditions)
    if folder is not None:
        lines += [f"files        {folder}", f"page         {folder / PAGE_NAME}"]
    return "\n".join([*lines, f"tables       {database}: image_catalog, web_renditions, renditions_report"])


def main(arguments: list[str] | None = None) -> int:
    """Print the summary; return 1 when there is none yet, or it cannot be read now."""
    parser = argparse.ArgumentParser(prog="python -m project_fanout.images", description=__doc__)
    parser.add_argument(
        "--database", default=database_path(), help=f"DuckDB file (${DATABASE_VARIABLE}, or %(default)s)"
    )
    database = Path(parser.parse_args(arguments).database).expanduser().absolute()
    try:
        print(summary(database))
    except (FileNotFoundError, duckdb.CatalogException) as error:
        print(f"There is nothing to sum up: {error}. Materialise images_job first.", file=sys.stderr)
        return 1
    except duckdb.IOException as error:
        if "Could not set lock" in str(error):
            print(
                f"{database} is in use, by a run or another program: try again once it has ended.",
                file=sys.stderr,
            )
        else:
            print(f"{database} cannot be read: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
