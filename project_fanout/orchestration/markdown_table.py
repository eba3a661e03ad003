"""A table in an event's metadata."""

import dagster as dg
import pandas as pd


def markdown_table(frame: pd.DataFrame, most_rows: int = 20) -> dg.MarkdownMetadataValue:
    """Return the first rows of *frame* as a Markdown table, and how many more there are."""
    if frame.empty:
        return dg.MetadataValue.md("none")
    # A name or a server's answer may hold a pipe or line break, which would end its cell.
    shown = frame.head(most_rows).map(
        lambda cell: " ".join(cell.replace("|", "\\|").split()) if isinstance(cell, str) else cell
    )
    more = f"\n\nand {len(frame) - most_rows} more" if len(frame) > most_rows else ""
    return dg.MetadataValue.md((shown.to_markdown(index=False) or "") + more)
