"""Prepared batches on their way from one stage to the next, as files.

A batch is some 200 kB: it does not travel through the pool, the run's storage and the ledger, only its
name does. The file is a cache: a batch whose file is gone is prepared again.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from project_fanout.campaigns.delivery import Delivery
from project_fanout.campaigns.folders import private_folder
from project_fanout.campaigns.message import Letter
from project_fanout.common import replace_file


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be done about some rows: letters to send, and recipients whose outcome is known."""

    letters: Sequence[Letter]
    settled: Sequence[Delivery]


def write_batch(path: Path, batch: Batch) -> None:
    """Write *batch* to *path*, whole or not at all."""
    private_folder(path.parent)
    content = [[astuple(letter) for letter in batch.letters], [known.to_json() for known in batch.settled]]
    # Letters are personal: nobody else on the machine may read them. A cache need not outlive a power cut.
    replace_file(path, json.dumps(content).encode(), mode=0o600, durable=False)


def read_batch(path: Path) -> Batch | None:
    """Return the batch in *path*, None if it is not there or a power cut has left less than all of it."""
    try:
        letters, settled = json.loads(path.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return Batch([Letter(*fields) for fields in letters], [Delivery(*fields) for fields in settled])
