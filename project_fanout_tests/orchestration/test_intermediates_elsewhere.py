"""What the steps store for each other in an object store, and with IO managers that wrap another one."""

import json
import pickle
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import PrivateAttr
from upath import UPath

from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout_tests.instances import local_instance, new_home
from project_fanout_tests.object_store import Bucket
from project_fanout_tests.orchestration import resumed_jobs
from project_fanout_tests.orchestration.resumed_jobs import Settings, run
from project_fanout_tests.orchestration.unit_faults import large_units, obey, only_length
from project_fanout_tests.processes import run_python

# Dagster's own, where a resource is part of another one.
pytestmark = pytest.mark.filterwarnings(r"ignore:InitResourceContext\.dagster_run is deprecated")


def stored(folder: Path, bucket: Bucket | None) -> list[str]:
    """Return what is left in the store, as paths with the ids of runs; those of S3 as files would be called."""
    if bucket is None:
        return sorted(
            str(path.relative_to(folder / "stored")) for path in folder.rglob("stored/**/*") if path.is_file()
        )
    keys = [key.removeprefix("dagster/").removeprefix("storage/") for key in bucket.contents()]
    return sorted(
        f"{head}[{tail.replace('/', ']/', 1)}" if tail else head
        for head, _, tail in (key.partition("--") for key in keys)
    )


def of_run(run_id: str, *outputs: str) -> list[str]:
    return [f"{run_id}/numbers.{output}" for output in outputs]


FOUND = ("trigger_records/manifest", "trigger_records/records/r0", "trigger_records/records/r1")
ENDED = tuple(f"record.process_record[r{number}]/result" for number in range(2))


@pytest.mark.parametrize("store", ["files", "S3"])
def test_a_failed_run_is_resumed_from_what_it_has_left(store: str, tmp_path: Path, bucket: Bucket) -> None:
    """In S3 as in files: a success leaves the asset's value alone, a failed run all that its resume needs.

    The resume takes it from there, and leaves it there for the next one; its own steps' is removed.
    """
    (work := tmp_path / "work").mkdir()
    used = bucket if store == "S3" else None
    how = Settings(bucket=(bucket.url, bucket.name) if used else None)
    with local_instance(tmp_path / "home") as instance:
        (work / "fail 1.2").touch()
        first = run(instance, work, how)
        assert not first.success
        left = of_run(first.run_id, *ENDED, *FOUND)
        assert stored(work, used) == left
        (work / "fail 1.2").unlink()
        begun = len((work / "journal").read_text().split())
        again = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        assert run(instance, work, how, again).success
        assert (work / "journal").read_text().split()[begun:] == ["1.2"]
        assert stored(work, used) == [*left, "numbers"]
        again = dg.ReexecutionOptions(parent_run_id=first.run_id)
        assert run(instance, work, how, again).success
        assert run(instance, work, how).success
        assert stored(work, used) == [*left, "numbers"]


@pytest.mark.parametrize("store", ["files", "S3"])
def test_a_killed_run_is_resumed_from_what_it_has_left(store: str, tmp_path: Path, bucket: Bucket) -> None:
    """The records that the killed run has found are taken from the store, also those that it never began."""
    (work := tmp_path / "work").mkdir()
    used = bucket if store == "S3" else None
    how = Settings("in_process", workers=1, bucket=(bucket.url, bucket.name) if used else None)
    (work / "kill 0.2").touch()
    home = new_home(tmp_path / "home")
    arguments = [str(home), str(work), json.dumps(asdict(how))]
    done = run_python("-m", resumed_jobs.__name__, *arguments, home=home)
    assert done.returncode == -9, done.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [killed] = instance.get_runs()
        instance.report_run_failed(killed)
        left = of_run(killed.run_id, *FOUND)
        assert stored(work, used) == left
        again = dg.ReexecutionOptions.from_failure(killed.run_id, instance)
        assert run(instance, work, how, again).success
    assert sorted((work / "journal").read_text().split()) == [f"{r}.{u}" for r in range(2) for u in range(3)]
    assert stored(work, used) == [*left, "numbers"]


def files(folder: Path) -> dg.IOManager:
    """Return the IO manager that the others wrap."""
    return dg.FilesystemIOManager(base_dir=str(folder)).create_io_manager(dg.build_init_resource_context())


class Forwarding:
    """Hands everything to what `target` returns."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        self.target().handle_output(context, obj)  # type: ignore[attr-defined]

    def load_input(self, context: dg.InputContext) -> Any:
        return self.target().load_input(context)  # type: ignore[attr-defined]


class AsForS3(Forwarding, dg.ConfigurableIOManager):
    """Makes the inner IO manager in a method."""

    folder: str

    def inner_io_manager(self) -> dg.IOManager:
        return files(Path(self.folder))

    def target(self) -> dg.IOManager:
        return self.inner_io_manager()


class AsForGcsAndAdls(Forwarding, dg.ConfigurableIOManager):
    """Makes the inner IO manager in a property."""

    folder: str

    @property
    def _internal_io_manager(self) -> dg.IOManager:
        return files(Path(self.folder))

    def target(self) -> dg.IOManager:
        return self._internal_io_manager


class InAPrivateAttribute(Forwarding, dg.ConfigurableIOManager):
    """Makes the inner IO manager when its run begins."""

    folder: str
    _files: Any = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._files = files(Path(self.folder))

    def target(self) -> dg.IOManager:
        return self._files


class AsAnotherResource(Forwarding, dg.ConfigurableIOManager):
    """Is given the inner IO manager as a resource of its own."""

    where: dg.ResourceDependency[dg.IOManager]

    def target(self) -> dg.IOManager:
        return self.where


class InAnAttribute(Forwarding, dg.IOManager):
    """Has it in an attribute, beside one that has to be given arguments, and itself."""

    def __init__(self, inner: dg.IOManager) -> None:
        self.whatever = inner
        self.myself = self

    def inner_io_manager(self, which: str) -> dg.IOManager:
        raise AssertionError(which)

    def target(self) -> dg.IOManager:
        return self.whatever


@dg.io_manager
def of_old(context: dg.InitResourceContext) -> dg.IOManager:
    """Return it from a function, wrapped twice."""
    assert context.instance is not None
    return InAnAttribute(InAnAttribute(files(Path(context.instance.root_directory).parent / "stored")))


WRAPPED: dict[str, Callable[[Path], Any]] = {
    "as for S3": lambda folder: AsForS3(folder=str(folder)),
    "as for GCS and ADLS": lambda folder: AsForGcsAndAdls(folder=str(folder)),
    "private attribute": lambda folder: InAPrivateAttribute(folder=str(folder)),
    "another resource": lambda folder: AsAnotherResource(where=dg.FilesystemIOManager(base_dir=str(folder))),
    "attribute": lambda folder: InAnAttribute(files(folder)),
    "wrapped twice, from a function": lambda folder: of_old,
}


def materialize(tmp_path: Path, io_manager: Any, run_id: str | None = None) -> tuple[list[str], list[str]]:
    """Materialise an asset of two stages; return the files that are left, and what the log says of them."""
    lengths = build_fanout_asset("lengths", records=large_units, stages=[obey, only_length])
    with local_instance(tmp_path / "home") as instance:
        resources = {
            "unit_pool": UnitPoolResource(kind="inline"),
            "ledger": LedgerResource(url=str(tmp_path / "ledger.db")),
            "io_manager": io_manager,
        }
        job = dg.Definitions([lengths], resources=resources).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, run_id=run_id)
        said = [event.message for event in instance.all_logs(result.run_id) if "stay" in event.message]
    folder = tmp_path / "stored"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")), said


@pytest.mark.parametrize("kind", WRAPPED)
def test_an_io_manager_that_wraps_another_is_tidied_up(kind: str, tmp_path: Path) -> None:
    """However it holds the one that keeps the files, a finished run leaves the asset alone."""
    assert materialize(tmp_path, WRAPPED[kind](tmp_path / "stored")) == (["lengths"], [])


class ByNumber(dg.IOManager):
    """Keeps files of which nobody else knows the names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, context: dg.OutputContext) -> Path:
        self.folder.mkdir(exist_ok=True)
        return self.folder / "+".join(context.get_identifier()).replace("/", "+")

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        self.path(context).write_bytes(pickle.dumps(obj))

    def load_input(self, context: dg.InputContext) -> Any:
        assert context.upstream_output is not None
        return pickle.loads(self.path(context.upstream_output).read_bytes())


class OneFileForAllRuns(dg.UPathIOManager):
    """Keeps each output where the last run has kept it."""

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        path.write_bytes(pickle.dumps(obj))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        return pickle.loads(path.read_bytes())

    def get_op_output_relative_path(self, context: dg.InputContext | dg.OutputContext) -> UPath:
        return UPath(*context.get_identifier()[1:])


@pytest.mark.parametrize("make", [ByNumber, OneFileForAllRuns], ids=["no paths", "one file for all runs"])
def test_what_cannot_be_tidied_up_stays_and_the_log_says_so(
    make: Callable[[Any], dg.IOManager], tmp_path: Path
) -> None:
    """Nothing is removed that might be another run's; one line says how much stays, and why."""
    (tmp_path / "stored").mkdir()
    io_manager = make(UPath(tmp_path / "stored"))
    left, said = materialize(tmp_path, io_manager)
    assert len([path for path in left if (tmp_path / "stored" / path).is_file()]) == 8
    [line] = said
    assert "7 step outputs stay" in line and type(io_manager).__name__ in line and "'io_manager'" in line


def test_a_folder_that_is_called_like_an_object_stays(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing objects touches no folder of this machine, though their keys look like paths."""
    monkeypatch.chdir(tmp_path)
    run_id = str(uuid.uuid4())
    folder = tmp_path / "dagster" / "storage" / run_id / "lengths.trigger_records"
    folder.mkdir(parents=True)
    materialize(tmp_path, bucket.io_manager(), run_id)
    assert bucket.contents() == ["dagster/lengths"]
    assert folder.is_dir()
