"""Units of which one fails until a file says that its cause is gone."""

from pathlib import Path

from project_fanout.engine import Record, Unit


def find_records() -> list[Record]:
    """Return three records of three units."""
    return [Record(f"r{i}", [Unit(f"u{j}", f"{i}{j}") for j in range(3)]) for i in range(3)]


def work_or_fail(unit: Unit, *, folder: str) -> str:
    """Leave a line in the journal; raise for the unit "11" unless the file "mended" is there."""
    with (Path(folder) / "journal").open("a") as journal:
        journal.write(f"{unit.payload}\n")
    if unit.payload == "11" and not (Path(folder) / "mended").exists():
        raise RuntimeError("not mended")
    return str(unit.payload)
