"""Records and units that take some seconds, of which some can be told to fail."""

import hashlib
import logging
import time
from collections.abc import Iterator

from project_fanout.engine import Record, Unit

RECORDS, UNITS = 20, 10


def read_albums(*, bad: str = "") -> Iterator[Record]:
    """Yield twenty albums of ten photographs; those whose keys *bad* names are damaged."""
    for number in range(RECORDS):
        units = [
            Unit(f"photo {photo}", {"number": photo, "damaged": f"{number}/{photo}" in bad.split()})
            for photo in range(UNITS)
        ]
        yield Record(f"Album {number:02}", units)


def develop(unit: Unit) -> dict[str, object]:
    """Use 60 ms of the CPU."""
    digest, end = b"", time.process_time() + 0.06
    while time.process_time() < end:
        digest = hashlib.sha256(digest).digest()
    if unit.payload["damaged"]:
        logging.getLogger("develop").warning("the film is torn")
        raise ValueError("<b>torn</b> __film__, HTTP 429")
    return {"digest": digest.hex()[:12], "number": unit.payload["number"]}
