"""The settings that pools are made with, each declared once: for their constructors, the resource and the docs."""

from typing import Annotated

from project_fanout.engine.settings import Bounds

#: A worker's niceness unless told otherwise. With as many busy workers as CPUs, the thread that finds the
#: records and hands out work would get less than a whole CPU: a generator that computes 1 s per record for
#: 20 records, with 1 s of units each on two CPUs, took 26.7 s with 0, 22.8 s with 5 and 22.3 s with 10.
NICENESS = 5

MaxWorkers = Annotated[
    int | None,
    "Most units at once, each in a worker of its own. Default: the CPUs that this process may use, or all those that "
    "the Ray cluster has when it is joined.",
    Bounds(ge=1),
]
MemoryLimit = Annotated[
    int | None,
    "MiB of private writable memory that one worker may use; a unit that wants more has crashed. Processes that it "
    "starts have the same limit each. For kind process, on Linux. Default: no limit.",
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
MaxResultBytes = Annotated[int, "Longest result of a unit, as JSON text.", Bounds(ge=1)]
LogLevel = Annotated[int, "Units' log records of this level and up reach the run's log.", Bounds(ge=1)]
