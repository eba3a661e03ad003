"""The colours that an AVIF file names by number: its nclx box, which Pillow does not tell."""

from collections.abc import Iterator
from pathlib import Path

_FULL_BOX = 4  # bytes of version and flags before the content of some boxes


def code_points(path: str | Path) -> tuple[int, int] | None:
    """Return ColourPrimaries and TransferCharacteristics (ITU-T H.273) of a picture, None where the file has none.

    Raises:
        OSError: it cannot be read.
    """
    data = Path(path).read_bytes()
    for start, end in _boxes(data, b"meta", 0, len(data)):
        for properties, properties_end in _boxes(data, b"iprp", start + _FULL_BOX, end):
            for each, each_end in _boxes(data, b"ipco", properties, properties_end):
                for colours, _ in _boxes(data, b"colr", each, each_end):
                    if data[colours : colours + 4] == b"nclx":
                        primaries, transfer = data[colours + 4 : colours + 6], data[colours + 6 : colours + 8]
                        return int.from_bytes(primaries, "big"), int.from_bytes(transfer, "big")
    return None


def _boxes(data: bytes, wanted: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the content of each box of that name between *start* and *end*."""
    while start + 8 <= end:
        size, name, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else start + size
        if stop < start + head or stop > end:
            return  # damaged: what it should hold is not known
        if name == wanted:
            yield start + head, stop
        start = stop
