"""Records of which one unit ends the whole run, as in a container whose memory it uses up."""

import os
import signal
import time
from pathlib import Path

from project_fanout.engine import Record, Unit

FOLDER = "PROJECT_FANOUT_POISON"


def records() -> list[Record]:
    (Path(os.environ[FOLDER]) / "pid").write_text(str(os.getpid()))
    return [Record(f"r{record}", [Unit(f"{record}.{unit}") for unit in range(3)]) for record in range(3)]


def eat(unit: Unit) -> str:
    """Leave a line; one unit ends the run, after a second unless it is told to be quick."""
    folder = Path(os.environ[FOLDER])
    with (folder / f"starts of {unit.key}").open("a") as file:
        file.write("x")
    if unit.key == "1.1" and (folder / "poison").exists():
        if not (folder / "quick").exists():
            time.sleep(1.0)  # so long it takes to use up the memory of a container
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        time.sleep(30)  # until the reaper ends this worker
    return unit.key
