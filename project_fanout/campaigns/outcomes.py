"""What became of each recipient, and the table of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.rows import RowRange
from project_fanout.campaigns.stages import send_email

_STOPPED = f"{CampaignError.__name__}: "

COLUMNS = ["row", "address", "domain", "status", "reason", "detail", "sent_at", "page"]


def check_not_stopped(frame: pd.DataFrame) -> None:
    """Refuse to make a table of a run that was stopped, however few of its batches that has met.

    Args:
        frame: one row per unit, as the fan-out collects it.

    Raises:
        CampaignError: a batch has not been sent because of the settings or because the server takes nothing from
            this sender; in the words of the first one.
    """
    errors = frame.loc[frame["stage"] == send_email.__name__, "error"].dropna()
    if stopped := [text for text in errors if text.startswith(_STOPPED)]:
        raise CampaignError(
            f"{len(stopped):,} of {len(frame):,} batches were stopped, and a campaign that was stopped does not "
            f"materialise. The first one: {stopped[0].removeprefix(_STOPPED)}"
        )


def delivery_rows(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield the columns of each recipient, in the order of the list.

    Args:
        frame: one row per unit, as the fan-out collects it. A page or batch without success accounts for
            each of its recipients, because its key says which they are: they failed, or are unknown where
            the batch was being sent when its worker died.
    """
    for unit in frame.to_dict("records"):
        page = unit["record_key"]
        if unit["status"] != "succeeded":
            reason = f"{unit['stage']} {unit['status'].replace('_', ' ')}"
            status = "unknown" if _cut_off(unit) else "failed"
            for row in RowRange.of_key(unit["unit_key"]):
                yield row, None, None, status, reason, unit["error"], None, page
            continue
        for row, address, status, reason, detail, sent_at in unit["deliveries"]:
            domain = address.rpartition("@")[2] if address and "@" in address else None
            yield row, address, domain, status, reason, detail, sent_at, page


def _cut_off(unit: Mapping[Any, Any]) -> bool:
    """Tell whether a batch ended with its worker: then only its claims know whom it had sent to."""
    return unit["stage"] == send_email.__name__ and unit["status"] in ("crashed", "timed_out")


def deliveries_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per recipient: `COLUMNS`, with `sent_at` as time in UTC."""
    # Of any type at first: pandas 3 has one of its own for text, in which None becomes NaN.
    table = pd.DataFrame(list(delivery_rows(frame)), columns=COLUMNS, dtype="object")
    table["row"] = table["row"].astype("int64")
    table = table.sort_values("row", ignore_index=True)
    # Whole milliseconds: the nanoseconds of a float would be made up.
    milliseconds = (table["sent_at"].astype("float64") * 1000).round()
    table["sent_at"] = pd.to_datetime(milliseconds, unit="ms", utc=True).dt.as_unit("ns")  # pandas 3: another
    return table
