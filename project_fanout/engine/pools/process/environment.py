"""The environment variables that tell a worker which one it is, and what share of the machine is its own."""

import os
from collections.abc import Mapping

from project_fanout.engine.errors import FanoutDefinitionError

#: By this variable a worker knows its number: 0, 1, 2...
WORKER = "FANOUT_WORKER"
_GPUS = "CUDA_VISIBLE_DEVICES"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def environments_of(
    workers: int,
    threads_per_unit: int | None,
    gpus: object,
    environ: Mapping[str, str] = os.environ,
) -> tuple[int, list[dict[str, str]]]:
    """Return how many workers there are, of *workers*, and what each has in its environment.

    Args:
        workers: how many there may be.
        threads_per_unit: threads of numeric libraries in each; None for as many as the environment says.
        gpus: how many, or their ids; each worker sees one, and there are no more workers than of these.
        environ: the environment of this process. What it says of threads wins; of its GPUs *gpus* are the first.

    Raises:
        FanoutDefinitionError: there are no GPUs to share out.
    """
    ids: list[str] | None = None
    if isinstance(gpus, int) and not isinstance(gpus, bool) and gpus > 0:
        visible = [each for each in environ.get(_GPUS, "").split(",") if each]
        ids = (visible or [str(number) for number in range(gpus)])[:gpus]
    elif isinstance(gpus, list) and gpus and all(isinstance(each, (str, int)) for each in gpus):
        ids = [str(each) for each in gpus]
    elif gpus is not None:
        raise FanoutDefinitionError(
            f"ProcessPool: gpus is {gpus!r}, accepted: how many there are, 1 or more, or a list of their ids."
        )
    count = workers if ids is None else min(workers, len(ids))
    threads = {
        name: str(threads_per_unit)
        for name in _THREADS
        if threads_per_unit is not None and name not in environ
    }
    return count, [
        {**threads, WORKER: str(number), **({} if ids is None else {_GPUS: ids[number]})}
        for number in range(count)
    ]
