"""How a fan-out runs: strategy, limits, retries, deadlines and tolerance."""

from dataclasses import dataclass
from typing import Annotated, Literal

from project_fanout.engine.settings import Bounds, check_settings

Strategy = Literal["sequential", "parallel", "auto"]
OnEmpty = Literal["succeed", "fail", "skip"]
Reuse = Literal["lineage", "always", "never"]
RecordsPerStep = Annotated[int, Bounds(ge=1)] | Literal["auto"]

#: No attempt waits longer for its turn; a delay that doubles would soon outlast any run, and any timer.
LONGEST_DELAY_S = 3600


@dataclass(frozen=True, kw_only=True)
class FanoutPolicy:
    """How a fan-out runs; each field can be overridden under `config: policy:` of a run.

    Raises:
        FanoutDefinitionError: a value is of the wrong type or out of its bounds.
    """

    strategy: Annotated[
        Strategy,
        "Whether a record hands the pool its units one after the other (sequential), all at once "
        "(parallel), or as many as keep the pool busy given the records in progress (auto).",
    ] = "auto"
    max_workers: Annotated[
        int | None,
        "Most units of this asset in work at once; a batch counts as one. Default: as many as the pool has places: "
        "its workers, which are the CPUs this process may use, times their units_per_worker.",
        Bounds(ge=1),
    ] = None
    batch_size: Annotated[
        int,
        "Most units that a batch stage, `def stage(units: list[Unit])`, gets at once, of any records.",
        Bounds(ge=1),
    ] = 100
    max_per_second: Annotated[
        float | None,
        "Most attempts of units that are started in a second, by all workers, and by all runs of the asset that share "
        "a ledger; a batch counts as one. They are spread evenly. Default: no limit.",
        Bounds(gt=0),
    ] = None
    max_attempts: Annotated[
        int,
        "How often a unit is tried before its failure counts; once for a FinalError or a result that cannot travel.",
        Bounds(ge=1, le=100),
    ] = 1
    retry_delay_s: Annotated[
        float,
        "Seconds before the second attempt of a unit; doubled before each further one up to an hour, and "
        "each time made up to half shorter or longer by chance, so that retries do not arrive together.",
        Bounds(ge=0, le=LONGEST_DELAY_S),
    ] = 0.5
    unit_timeout_s: Annotated[
        float | None,
        "Seconds that one attempt of a unit may take; then its worker is killed. Default: no limit.",
        Bounds(gt=0),
    ] = None
    max_failed_ratio: Annotated[
        float,
        "Share of the table's rows that may be without success. Above it the run fails; at or below it the "
        "asset materialises and its check tells what is missing. A unit that an early stage loses is one row, "
        "however many it would have become.",
        Bounds(ge=0, le=1),
    ] = 0.0
    fail_fast: Annotated[
        bool,
        "Stop handing out units once max_failed_ratio is out of reach. Above 0 that is known only "
        "with a single stage, in the run and process that found the records.",
    ] = False
    records_per_step: Annotated[
        RecordsPerStep,
        "Records that share one mapped step. With auto the first 200 have a step each, and a later step holds up to a "
        "hundredth of the records found so far; none waits for others for more than 0.5 s.",
    ] = "auto"
    max_records: Annotated[
        int | None,
        "Refuse, before the first unit runs, to fan out over more records than this. With a limit "
        "the list of records is completed before the first record starts. Default: no limit.",
        Bounds(ge=1),
    ] = None
    on_empty: Annotated[
        OnEmpty,
        "When there is no record: materialise an empty table (succeed), fail the run (fail), or leave "
        "the asset as it is (skip).",
    ] = "succeed"
    reuse: Annotated[
        Reuse,
        "Which units that succeeded before with the same key, payload and params are not run again: those of "
        "this run's lineage, that is of the run that this one re-executes (lineage), those of any run of the "
        "asset, or of its partition, with the same code_version (always), or none (never).",
    ] = "lineage"
    keep_intermediates: Annotated[
        bool,
        "Keep what the steps have stored for each other when the asset has materialised, so that "
        "single steps of that run can be executed again. Default: it is removed; the ledger keeps the outcomes.",
    ] = False

    def __post_init__(self) -> None:
        check_settings(FanoutPolicy, vars(self))
