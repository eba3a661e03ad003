"""Which records share a mapped step."""

import time
from collections.abc import Iterable, Iterator

from project_fanout.engine.policy import RecordsPerStep
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.tally import Tally

# With "auto" a step holds up to a hundredth of the records that have been found: 10,000 make some 600 steps, and a
# million some 1,100.
_SHARE = 100
_LONGEST_WAIT_S = 0.5

Batch = tuple[RecordState, ...]


def in_batches(
    records: Iterable[RecordState | None], per_step: RecordsPerStep, tally: Tally
) -> Iterator[Batch]:
    """Yield *records* in the batches that share a step.

    With "auto", what has been gathered is sent off when it is a hundredth of what has been found, after 0.5 s, and at
    once when no step has anything to do. A trigger that is tried again sends off what its last attempt has, where it
    finds the same: steps may have taken that already.

    Args:
        records: the records; None says that nothing has come for a while.
        per_step: how many at most, or "auto".
        tally: the running counts of the asset.
    """
    batch: list[RecordState] = []
    earlier, longest = set(tally.cuts), tally.longest_batch
    found = units = sent = 0
    due = 0.0
    for record in records:
        if record is not None:
            if not batch:
                due = time.monotonic() + _LONGEST_WAIT_S
            batch.append(record)
            found += 1
            units += len(record.waiting)
            tally.progress.find(units)
        if not batch:
            continue
        if per_step != "auto":
            is_cut = len(batch) == per_step
        elif earlier and len(batch) <= longest:
            is_cut = batch[-1].record_key in earlier
        else:
            is_cut = len(batch) >= found // _SHARE or time.monotonic() >= due or tally.is_idle(sent)
        if is_cut:
            key = batch[-1].record_key
            earlier.discard(key)
            tally.cut(key, len(batch))
            sent += 1
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)
