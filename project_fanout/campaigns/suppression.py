"""Who must not be written to any more, whatever the list says: a file that is read again when sending."""

import csv
from functools import lru_cache
from pathlib import Path

from project_fanout.campaigns.addresses import checked_address
from project_fanout.campaigns.errors import CampaignError, UnfitRecipientError
from project_fanout.campaigns.recipients import EMAIL

SUPPRESSED = "suppressed"


def suppressed_keys(file: str) -> frozenset[str]:
    """Return the addresses in *file* as keys of letters, as the file is now.

    Raises:
        CampaignError: it cannot be read. Nobody is sent to without it.
    """
    path = Path(file).expanduser()
    try:
        status = path.stat()
        return _read(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CampaignError(
            f"suppress is {file!r}, which cannot be read: {error}. Nobody is sent to without it: give a CSV file with "
            f"a column {EMAIL}, or one address a line, in UTF-8, where all workers can read it."
        ) from None


@lru_cache(maxsize=1)
def _read(path: Path, version: tuple[int, ...]) -> frozenset[str]:  # noqa: ARG001  # another one is read again
    text = path.read_text(encoding="utf-8-sig")
    head = text.partition("\n")[0]
    rows = list(csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t|", key=head.count)))
    names = [name.strip().lower() for name in rows[0]] if rows else []
    if EMAIL not in names and len(names) > 1:
        raise csv.Error(f"its columns are {', '.join(names)}, and none is {EMAIL}")
    place = names.index(EMAIL) if EMAIL in names else 0
    return frozenset(_key(row[place]) for row in rows if len(row) > place)


def _key(address: str) -> str:
    plain = address.strip().lower()
    if plain.isascii() and "xn--" not in plain:
        return plain
    try:
        return checked_address(address).normalized.lower()
    except UnfitRecipientError:
        return plain
