"""Print what the last run of the images job made: `python -m project_fanout.images`."""

from pathlib import Path

import click
import duckdb
import pandas as pd

from project_fanout.images.page import PAGE_NAME, page_folder, readable_size
from project_fanout.images.tables import saving_by_format
from project_fanout.images.warehouse import DATABASE_VARIABLE, DEFAULT_DATABASE, database_path


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
        f"({row['saved_ratio']:.0%}) as {row['format']}, {_width_of(report, row['format'])}"
        for row in saving_by_format(report).to_dict("records")
    )
    if len(report):
        lines.append("             (the widest rendition of each photograph against its original file)")
    folder = page_folder(renditions)
    if folder is not None:
        lines += [f"files        {folder}", f"page         {folder / PAGE_NAME}"]
    return "\n".join([*lines, f"tables       {database}: image_catalog, web_renditions, renditions_report"])


def _width_of(report: pd.DataFrame, name: str) -> str:
    """Say how wide the widest renditions in one format are."""
    widths = report.loc[report["format"] == name, "widest"]
    narrowest, widest = widths.min(), widths.max()
    return f"{widest} pixels wide" if narrowest == widest else f"{narrowest} to {widest} pixels wide"


@click.command()
@click.option(
    "--database",
    default=database_path,
    help=f"DuckDB file. Default: ${DATABASE_VARIABLE}, or {DEFAULT_DATABASE}.",
)
def main(database: str) -> None:
    """Print what the last run of the images job made."""
    file = Path(database).expanduser().absolute()
    try:
        click.echo(summary(file))
    except (FileNotFoundError, duckdb.CatalogException) as error:
        raise click.ClickException(f"Nothing to report yet: {error}. Materialise images_job first.") from None
    except duckdb.IOException as error:
        reason = f"cannot be read: {error}"
        if "Could not set lock" in str(error):
            reason = "is in use, by a run or another program: try again once it has ended."
        raise click.ClickException(f"{file} {reason}") from None


if __name__ == "__main__":
    main(prog_name="python -m project_fanout.images")
