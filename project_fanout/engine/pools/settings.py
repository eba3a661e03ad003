"""The settings that pools are made with, each declared once: for their constructors, the resource and the docs."""

from typing import Annotated, Any

from project_fanout.engine.settings import Bounds

#: A worker's niceness unless told otherwise. With as many busy workers as CPUs, the thread that finds the
#: records and hands out work would get less than a whole CPU: a generator that computes 1 s per record for
#: 20 records, with 1 s of units each on two CPUs, took 26.7 s with 0, 22.8 s with 5 and 22.3 s with 10.
NICENESS = 5

#: Seconds for importing a stage's module and setting up what it needs, unless told otherwise.
SETUP_TIMEOUT_S = 300.0
#: So many coroutines a worker runs at once unless told otherwise.
COROUTINES_PER_WORKER = 100

MaxWorkers = Annotated[
    int | None,
    "Most units at once, each in a worker of its own. Default: the CPUs that this process may use, or all those that "
    "the Ray cluster has when it is joined.",
    Bounds(ge=1),
]
MemoryLimit = Annotated[
    int | None,
    "MiB of private writable memory that one worker may use; a unit that wants more has crashed. Processes that it "
    "starts have the same limit each. For kind process, on Linux. Default: in a container whose memory is limited, so "
    "much that one worker cannot use it up, which would end the run; else no limit.",
    Bounds(ge=1),
]
Niceness = Annotated[
    int | None,
    "How far workers stand back for the run's own process and others on the machine, as `nice` counts it. For kind "
    f"process. Default: {NICENESS}.",
    Bounds(ge=0, le=19),
]
RayAddress = Annotated[
    str | None,
    'For kind ray: "auto", "host:port" or "ray://host:port" joins that cluster. Default: a Ray with max_workers CPUs '
    "is started in this machine, and ends with the run.",
]
RayOptions = Annotated[
    dict[str, Any] | None,
    "For kind ray: options of its tasks: num_cpus, num_gpus, memory, resources, runtime_env. Default: one CPU each.",
]
MaxResultBytes = Annotated[
    int, "Longest result of a unit in bytes, encoded, where no value store takes it.", Bounds(ge=1)
]
UnitsPerWorker = Annotated[
    int | None,
    "Units that a worker runs at once: functions in threads, coroutines on its event loop. Default: 1, of coroutines "
    f"{COROUTINES_PER_WORKER}.",
    Bounds(ge=1, le=1000),
]
RecycleAfterUnits = Annotated[
    int | None,
    "Units after which a worker is replaced by a new one. For kind process. Default: never.",
    Bounds(ge=1),
]
RecycleAboveMb = Annotated[
    int | None,
    "MiB of memory above which a worker is replaced by a new one, once its units have ended; none loses an attempt. "
    "For kind process. Default: never.",
    Bounds(ge=1),
]
ThreadsPerUnit = Annotated[
    int | None,
    "Threads of numeric libraries (OpenMP, OpenBLAS, MKL, NumExpr) in each worker; what the environment says of them "
    "wins. null leaves the environment alone. For kind process.",
    Bounds(ge=1),
]
SetupTimeout = Annotated[
    float,
    "Seconds that importing a stage's module and setting up what it needs once per worker may take; that is no part "
    "of a unit's time. Then the worker is killed.",
    Bounds(gt=0),
]
Gpus = Annotated[
    Any,
    "GPUs to share out: how many, or their ids. Each worker sees one (CUDA_VISIBLE_DEVICES), and there are no more "
    "workers than GPUs. For kind process. Default: none are shared out.",
]
LogLevel = Annotated[int, "Units' log records of this level and up reach the run's log.", Bounds(ge=1)]


def places_of(units_per_worker: int | None, *, is_async: bool) -> int:
    """Return how many units of a kind a worker runs at once."""
    return units_per_worker or (COROUTINES_PER_WORKER if is_async else 1)
