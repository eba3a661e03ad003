"""Prepared batches on their way from one stage to the next, as files.

A batch is some 200 kB: it does not travel through the pool, the run's storage and the ledger, only its
name does. The file is a cache: a batch whose file is gone is prepared again.
"""

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from project_fanout.campaigns.delivery import Delivery
from project_fanout.campaigns.folders import private_folder
from project_fanout.campaigns.message import Letter


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be done about some rows: letters to send, and recipients whose outcome is known."""

    letters: Sequence[Letter]
    settled: Sequence[Delivery]


def write_batch(path: Path, batch: Batch) -> None:
    """Write *batch* to *path*, whole or not at all."""
    private_folder(path.parent)
    writing = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    # Letters are personal: nobody else on the machine may read them.
    fd = os.open(writing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="ascii") as file:
            json.dump(
                [[astuple(each) for each in batch.letters], [each.to_json() for each in batch.settled]], file
            )
        writing.rename(path)
    except BaseException:
        # A part would keep a full disk full, and its letters on it for ever.
        writing.unlink(missing_ok=True)
        raise


def read_batch(path: Path) -> Batch | None:
    """Return the batch in *path*, None if it is not there or a power cut has left less than all of it."""
    try:
        letters, settled = json.loads(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return Batch([Letter(*each) for each in letters], [Delivery.from_json(each) for each in settled])
