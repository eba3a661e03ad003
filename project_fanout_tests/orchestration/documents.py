"""Count the words on each page of each text file in a folder: the example of the documentation."""

from collections.abc import Iterator
from pathlib import Path

from project_fanout.engine import Record, Unit


def pages(path: Path) -> list[str]:
    """Return the pages of a text file."""
    return path.read_text().split("\f")


def read_documents(*, folder: str = "docs") -> Iterator[Record]:
    """Yield a record per text file, with a unit per page."""
    for path in sorted(Path(folder).glob("*.txt")):
        yield Record(
            key=path.name, units=[Unit(key=str(i), payload={"text": p}) for i, p in enumerate(pages(path))]
        )


def count_words(unit: Unit, *, min_length: int = 1) -> dict[str, int]:
    """Count the words of at least *min_length* letters on a page."""
    return {"words": sum(len(w) >= min_length for w in unit.payload["text"].split())}
