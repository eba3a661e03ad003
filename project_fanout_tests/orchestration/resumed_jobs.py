"""Fan-outs whose runs are resumed with other settings; as a script it is a run in a process of its own."""

import json
import pickle
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from upath import UPath

from project_fanout.orchestration import (
    LedgerResource,
    UnitPoolResource,
    build_fanout_asset,
    fanout_executor,
)
from project_fanout_tests.object_store import Bucket
from project_fanout_tests.orchestration import resumed_work

EXECUTORS = {
    "fanout": fanout_executor,
    "in_process": dg.in_process_executor,
    "multiprocess": dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {"preload_modules": [__name__]}}, "max_concurrent": 1}
    ),
}


class Files(dg.UPathIOManager):
    """Keeps pickled values in files; before it loads one it asks for the input's type, as the one for ADLS does."""

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        path.write_bytes(pickle.dumps(obj))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        return None if context.dagster_type.typing_type is type(None) else pickle.loads(path.read_bytes())


numbers = build_fanout_asset("numbers", records=resumed_work.find_records, stages=[resumed_work.work])
others = build_fanout_asset("others", records=resumed_work.find_records, stages=[resumed_work.work])
letters = build_fanout_asset("letters", records=resumed_work.find_records, stages=[resumed_work.send])
ASSETS = {"numbers": numbers, "others": others, "letters": letters}


@dataclass(frozen=True)
class Settings:
    """How a run runs.

    Args:
        executor: a key of `EXECUTORS`.
        ledger: the fields of its `LedgerResource`.
        assets: keys of `ASSETS`.
        bucket: the S3 server and the bucket that steps and assets are stored in; None for files beside the units'.
        workers: of a process pool; 0 has units run in their step.
    """

    executor: str = "fanout"
    ledger: dict[str, Any] = field(default_factory=dict)
    assets: tuple[str, ...] = ("numbers",)
    bucket: tuple[str, str] | None = None
    workers: int = 0


def job(settings: str, folder: str) -> dg.JobDefinition:
    """Return the job for `Settings` as JSON text, and for the folder of the units."""
    how = Settings(**json.loads(settings))
    pool = UnitPoolResource(max_workers=how.workers) if how.workers else UnitPoolResource(kind="inline")
    stored = Files(UPath(folder) / "stored")
    resources: dict[str, Any] = {
        "unit_pool": pool,
        "ledger": LedgerResource(**how.ledger),
        "io_manager": Bucket(*how.bucket).io_manager() if how.bucket else stored,
    }
    assets = [ASSETS[name] for name in how.assets]
    return dg.Definitions(
        assets,
        jobs=[dg.define_asset_job("job", assets)],
        executor=EXECUTORS[how.executor],
        resources=resources,
    ).resolve_job_def("job")


def run(
    instance: dg.DagsterInstance,
    folder: Path,
    how: Settings | None = None,
    again: Any = None,
    policy: Any = None,
    **params: Any,
) -> dg.JobExecutionResult:
    """Execute the job, as a re-execution if *again* says of what."""
    how = how or Settings()
    config = {"params": {"folder": str(folder), **params}, "policy": policy or {}}
    return dg.execute_job(
        dg.build_reconstructable_job(__name__, "job", (json.dumps(asdict(how)), str(folder))),
        instance,
        run_config={"ops": {name: {"config": config} for name in how.assets}},
        reexecution_options=again,
    )


if __name__ == "__main__":
    with dg.DagsterInstance.from_config(sys.argv[1]) as its_instance:
        run(its_instance, Path(sys.argv[2]), Settings(**json.loads(sys.argv[3])))
