"""The ops of one fan-out asset, and the graph that they make."""

import copy
import inspect
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import dagster as dg
import pandas as pd

from project_fanout.engine.annotations import function_behind
from project_fanout.engine.errors import FanoutError, NoPartitionError, NoRecordsError
from project_fanout.engine.found_records import checked_records
from project_fanout.engine.model import Record
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.read_ahead import ReadAhead
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.stages import Stage
from project_fanout.engine.step_batches import Batch, in_batches
from project_fanout.orchestration.batch_input import (
    LATER,
    StoredBatch,
    batch_input_key,
    batch_input_manager,
)
from project_fanout.orchestration.collect import (
    check_tolerance,
    complete_check,
    not_tried_again,
    results,
    results_of_failure,
)
from project_fanout.orchestration.fan_in import FanIn, frames
from project_fanout.orchestration.input_types import dagster_type
from project_fanout.orchestration.intermediates import (
    RECORDS,
    Manifest,
    ManifestEntry,
    remove_intermediates,
)
from project_fanout.orchestration.keys import MappingKeys, op_name
from project_fanout.orchestration.options import Declared
from project_fanout.orchestration.report import log_step, new_outcomes, step_metadata, usage_metadata
from project_fanout.orchestration.run_config import RunConfig, RunSettings
from project_fanout.orchestration.run_page import report_metadata
from project_fanout.orchestration.run_resources import RunResources
from project_fanout.orchestration.stage_steps import StageSteps
from project_fanout.orchestration.usage import usage_of

# What is in the graph beside the ops of the stages.
_OTHER_NODES = ("trigger_records", "record", "collect_records")

# When all work is done, a storage that is away for some seconds must not cost the run.
_OF_STORAGE = dg.RetryPolicy(max_retries=2, delay=2.0, backoff=dg.Backoff.EXPONENTIAL)

# So often a trigger that goes on notes in the ledger what it has found.
_NOTE_EVERY_S = 1.0

# A record has some 20 units, and a worker room for 100 coroutines: more records at once keep it busy.
_OF_WAITING_STEPS = {"fanout/steps_per_cpu": "8"}

_NO_TYPE: Any = dg.AssetIn().dagster_type
_NOTHING: Any = dg.AssetIn(dagster_type=dg.Nothing).dagster_type

#: The parameter by which an aggregate asks for the table in batches.
BATCHES = "batches"
#: The parameters by which a records function asks for the key of the run's partition, or for all of them in a list.
PARTITION_KEY, PARTITION_KEYS = "partition_key", "partition_keys"


class Upstream(NamedTuple):
    """An upstream asset, as a parameter of the records function takes it: the parameter's type, and which."""

    annotation: Any
    asset_in: dg.AssetIn

    @property
    def op_in(self) -> dg.In:
        """The same as the input of an op: Dagster takes nothing but key and partitions from a graph's `AssetIn`."""
        given = self.asset_in
        if given.dagster_type is _NOTHING:
            return dg.In(dg.Nothing)
        return dg.In(
            dagster_type(self.annotation) if given.dagster_type is _NO_TYPE else given.dagster_type,
            metadata=given.metadata,
            input_manager_key=given.input_manager_key,
        )


class Accounted(NamedTuple):
    """What became of the records of a mapped step.

    Args:
        place: which of the manifest's entries they are.
        batch: loads them again.
        records: the records.
        repaired: those that the collect step had to run itself.
    """

    place: int
    batch: StoredBatch
    records: Sequence[RecordState]
    repaired: Sequence[RecordState] = ()


@dataclass(frozen=True, kw_only=True)
class FanoutOps:
    """Makes the ops of one fan-out asset; see `build_fanout_asset` for its fields.

    Without *stages* every record has to carry a plan, and one step takes it through all of it.

    Args:
        declared: what all kinds of assets are declared with.
        records: finds the records.
        run_config: what the asset accepts as run config.
        stages: the asset's stages; none where every record carries a plan.
        known_stages: all that a record may go through, whose parameters resources fill.
        aggregate: makes the asset's value of the table.
        aggregate_checks: checks whose results *aggregate* returns.
        upstream: what each positional parameter of *records* takes, and what it only waits for.
    """

    declared: Declared
    records: Callable[..., Any]
    run_config: RunConfig
    stages: tuple[Stage, ...] = ()
    known_stages: tuple[Stage, ...]
    aggregate: Callable[[Any], Any] | None = None
    aggregate_checks: tuple[dg.AssetCheckSpec, ...] = ()
    upstream: Mapping[str, Upstream] = field(default_factory=dict)

    #: Whether the asset's value is made of the records' outcomes, and not of the table.
    needs_records: ClassVar[bool] = False

    @property
    def key(self) -> dg.AssetKey:
        return self.declared.key

    @property
    def partitions_def(self) -> dg.PartitionsDefinition | None:
        return self.declared.asset.get("partitions_def")

    @property
    def name(self) -> str:
        return self.run_config.name

    @property
    def code_version(self) -> str:
        """The asset's code version, "" without one."""
        return self.declared.asset.get("code_version") or ""

    @property
    def run_resources(self) -> RunResources:
        """Where pool and ledger are among a run's resources."""
        return self.declared.run_resources

    @property
    def resource_defs(self) -> dict[str, dg.ResourceDefinition]:
        """The resources that the ops bring along."""
        given = {key: each.get_resource_definition() for key, each in self.declared.resources.items()}
        return {
            **self.run_resources.defaults,
            batch_input_key(self._step_io): batch_input_manager(self._step_io),
            **given,
        }

    @cached_property
    def check_specs(self) -> tuple[dg.AssetCheckSpec, ...]:
        """The asset's checks: its own first."""
        return (complete_check(self.key, self.partitions_def), *self.aggregate_checks)

    @property
    def _step_io(self) -> str:
        return self.declared.steps.get("step_io_manager_key") or "io_manager"

    @property
    def _steps(self) -> StageSteps:
        return StageSteps(
            self.key,
            self.run_config,
            self.stages,
            self.code_version,
            tuple(self.declared.resources),
            self.run_resources,
        )

    @property
    def _taken(self) -> list[str]:
        """Those upstream assets whose values *records* takes."""
        return [name for name, each in self.upstream.items() if each.asset_in.dagster_type is not _NOTHING]

    @property
    def _takes_batches(self) -> bool:
        """Whether *aggregate* takes the table in batches."""
        return self.aggregate is not None and BATCHES in inspect.signature(self.aggregate).parameters

    def compose(self) -> Callable[..., Any]:
        """Return the graph: trigger, map the sub-graph of the stages, collect."""
        trigger, stages = self._trigger_op(), self._stages_graph()
        collect = self._collect_op().with_hooks({self._tidy_up()})

        def fan_out(**ins: Any) -> Any:
            batches, manifest = trigger(**ins)
            return collect(batches.map(stages).collect(), manifest)

        return _with_parameters(fan_out, self.upstream)

    def config_of_ops(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config of the ops for the asset's own, which is checked here, before any step starts.

        The step of a record that carries a plan needs none.
        """
        self.run_config.read(config, anew=True)
        stage_ops = {name: {"config": config if self.stages else {}} for name in self._stage_op_names()}
        return {
            "trigger_records": {"config": config},
            "record": {"ops": stage_ops},
            "collect_records": {"config": config},
        }

    def _op(self, alias: str, function: Callable[..., Any], **options: Any) -> Any:
        """Return *function* as an op that has the short name *alias* in the graph.

        A job refuses two ops of one name, so the definition's own name holds the asset's.
        """
        op = dg.op(
            name=f"{self.name}__{alias}",
            config_schema=dict,
            required_resource_keys={*self.run_resources.keys, self._step_io, *self.declared.resources},
            **options,
        )
        return op(function).alias(alias)

    def _stage_op_names(self) -> list[str]:
        names = ["process_record"]
        for number, stage in enumerate(self.stages[1:], start=2):
            name = op_name(stage.name)
            while name in names or name in _OTHER_NODES:
                name = f"{name}_stage_{number}"
            names.append(name)
        return names

    def find_records(
        self, settings: RunSettings, ins: Mapping[str, Any], partition_keys: Sequence[str]
    ) -> Iterable[Record]:
        """Call the records function with upstream assets, params, and the partitions if it asks for them."""
        # A copy, because all steps of this process share the settings, and the function may change a list of its.
        given = {**copy.deepcopy(dict(settings.params)), **ins}
        parameters = inspect.signature(self.records).parameters
        if PARTITION_KEY in parameters:
            given[PARTITION_KEY] = partition_keys[0] if partition_keys else None
        if PARTITION_KEYS in parameters:
            given[PARTITION_KEYS] = list(partition_keys)
        arguments = _arguments(self.records, given)
        found: Iterable[Record] = self.records(*arguments.args, **arguments.kwargs)
        return found

    def _check_partition(self, context: dg.OpExecutionContext) -> None:
        """Refuse a run of a partitioned asset without a partition: its result would belong to none.

        Raises:
            NoPartitionError: says how a run gets one.
        """
        if self.partitions_def is None or context.has_partition_key or context.has_partition_key_range:
            return
        raise NoPartitionError(
            f"{self.key.to_user_string()} is partitioned, and this run names no partition: choose one in the "
            "UI, or give partition_key= in Python and the run's tag dagster/partition elsewhere. A run that is "
            "re-executed in Python gets the tags of the first one only if they are given again."
        )

    def _batches(
        self, context: dg.OpExecutionContext, settings: RunSettings, ins: Mapping[str, Any]
    ) -> Iterator[Batch]:
        """Yield the records in the batches that share a step, while they are found."""
        store = self.run_resources.ledger(context).value_store(self._steps.scope(context))
        partition_keys = [] if self.partitions_def is None else context.partition_keys
        found = checked_records(self.find_records(settings, ins, partition_keys), settings.policy)
        records = (RecordState.of(record, store) for record in found)
        del found  # a generator that is not read to its end is closed with what reads it
        tally, per_step = (
            self.run_resources.unit_pool(context).tally(self.name),
            settings.policy.records_per_step,
        )
        if per_step == "auto" and not self.stages:
            per_step = 1  # a step takes records with plans of their own through them one after the other
        if per_step == "auto" and inspect.isgeneratorfunction(function_behind(self.records)):
            # It may take its time for the next one, and what has been gathered is not to wait for that.
            with ReadAhead(records) as ahead:
                yield from in_batches(ahead, per_step, tally)
        else:
            yield from in_batches(records, per_step, tally)

    def _trigger_op(self) -> Any:
        def trigger_records(context: dg.OpExecutionContext, **ins: Any) -> Iterator[Any]:
            self._check_partition(context)
            self.run_resources.ledger(context).open()
            self._steps.note_run(context, state="running")
            try:
                yield from self._found(context, ins)
            except Exception as error:
                self._steps.note_run(context, state="failed", error=f"{type(error).__name__}: {error}")
                raise

        return self._op(
            "trigger_records",
            _with_parameters(trigger_records, ["context", *self._taken]),
            ins={name: each.op_in for name, each in self.upstream.items()},
            out={
                RECORDS: dg.DynamicOut(io_manager_key=self.declared.steps.get("step_io_manager_key")),
                "manifest": dg.Out(io_manager_key=self.declared.steps.get("step_io_manager_key")),
            },
            retry_policy=self.declared.steps.get("retry_policy"),
        )

    def _found(self, context: dg.OpExecutionContext, ins: Mapping[str, Any]) -> Iterator[Any]:
        """Yield what the trigger yields: a batch of records for each step, then the manifest."""
        settings = self.run_config.read(context.op_config)
        entries: list[ManifestEntry] = []
        mapping_keys, noted_at = MappingKeys(), -math.inf
        for batch in self._batches(context, settings, ins):
            entries.append(ManifestEntry.of(batch, mapping_keys))
            if time.monotonic() > noted_at + _NOTE_EVERY_S:
                noted_at = time.monotonic()
                self._note_found(context, entries, found_all=False)
            yield dg.DynamicOutput(
                batch,
                output_name=RECORDS,
                mapping_key=entries[-1].mapping_key,
                metadata={"record_key": entries[-1].title, "units": entries[-1].units},
            )
        if not entries and settings.policy.on_empty == "fail":
            name = function_behind(self.records).__name__
            raise NoRecordsError(
                f"{name} found no record with {dict(settings.params)!r}, and on_empty is 'fail'."
            )
        self._note_found(context, entries, found_all=True)
        manifest = Manifest(context.run_id, str(context.op_handle), tuple(entries))
        self._expect(context, manifest)
        yield dg.Output(
            manifest,
            output_name="manifest",
            metadata={"records": len(manifest.record_keys), "units": manifest.units},
        )

    def _note_found(
        self, context: dg.OpExecutionContext, entries: Sequence[ManifestEntry], *, found_all: bool
    ) -> None:
        records = sum(len(entry.record_keys) for entry in entries)
        units = sum(entry.units for entry in entries)
        self._steps.note_run(context, records=records, units=units, found_all=found_all)

    def _stages_graph(self) -> Any:
        ops = [self._stage_op(index, name) for index, name in enumerate(self._stage_op_names())]

        def record(batch: Any) -> Any:
            for op in ops:
                batch = op(batch)
            return batch

        return dg.graph(name=f"{self.name}__record")(record).alias("record")

    def _stage_op(self, index: int, name: str) -> Any:
        def process(context: dg.OpExecutionContext, batch: Any) -> dg.Output[Any]:
            advanced = self._steps.advance(context, index, batch)
            ended = new_outcomes(batch, advanced)
            metadata = step_metadata(batch, advanced, ended, is_last=index + 1 >= len(self.stages))
            log_step(context, ended, metadata)
            return dg.Output(advanced, metadata=metadata)

        return self._op(
            name,
            process,
            ins={"batch": dg.In(input_manager_key=batch_input_key(self._step_io) if index else None)},
            out=dg.Out(io_manager_key=self.declared.steps.get("step_io_manager_key")),
            retry_policy=self.declared.steps.get("retry_policy"),
            tags=self._tags(index),
            pool=self.declared.steps.get("pool"),
        )

    def _tags(self, index: int) -> dict[str, str]:
        given = self.declared.steps.get("op_tags") or {}
        waits = any(stage.is_async for stage in (self.stages[index : index + 1] or self.known_stages))
        return {**(_OF_WAITING_STEPS if waits else {}), **given}

    def _collect_op(self) -> Any:
        def collect_records(context: dg.OpExecutionContext, outcomes: Any, manifest: Any) -> Iterator[Any]:
            settings = self.run_config.read(context.op_config)
            fan_in = FanIn(keep_rows=not self._takes_batches, keep_records=self.needs_records)
            batches: dict[int, StoredBatch] = {}
            for each in self._account_for(context, manifest, outcomes):
                fan_in.put(each.place, each.records, repaired=each.repaired)
                batches[each.place] = each.batch
            if not fan_in.total("records") and settings.policy.on_empty == "skip":
                context.log.info("There is no record, and on_empty is 'skip': the asset stays as it is.")
                return
            work = self._work(context, fan_in)
            with not_tried_again(context):
                try:
                    self.check_outcomes(context, settings.policy, fan_in)
                except FanoutError as error:
                    self._steps.note_run(context, ended_at=time.time(), state="failed", error=str(error))
                    yield from results_of_failure(context, fan_in, work, error)
                    raise
            if self._takes_batches:
                frame, stored = None, frames(batches[place] for place in sorted(batches))
                with not_tried_again(context):
                    value = self.aggregate(stored) if self.aggregate is not None else None
            else:
                frame = fan_in.table()
                with not_tried_again(context):
                    value = self.value(fan_in, frame)
            with not_tried_again(context):
                yield from results(fan_in, work, frame, value, self.check_specs)
            self._steps.note_run(context, ended_at=time.time(), state="succeeded")

        return self._op(
            "collect_records",
            collect_records,
            ins={
                "outcomes": dg.In(input_manager_key=batch_input_key(self._step_io), metadata=LATER),
                "manifest": dg.In(),
            },
            out={
                "result": dg.Out(is_required=False, io_manager_key=self.declared.steps.get("io_manager_key")),
                **{spec.get_python_identifier(): dg.Out(is_required=False) for spec in self.check_specs},
            },
            retry_policy=self.declared.steps.get("retry_policy") or _OF_STORAGE,
        )

    def _work(self, context: dg.OpExecutionContext, fan_in: FanIn) -> dict[str, Any]:
        """Have all outcomes on disk; return what the metadata says of the workers, and where the run's report is."""
        ledger, scope = self.run_resources.ledger(context).ledger, self._steps.scope(context)
        if ledger is None:
            return {}
        ledger.flush()
        store, units = self.run_resources.ledger(context).value_store(scope), fan_in.total("ended")
        usage = usage_of(ledger, scope, context.run_id, units)
        return {
            **report_metadata(context, ledger, scope, store, units),
            **({} if usage is None else usage_metadata(usage)),
        }

    def _tidy_up(self) -> dg.HookDefinition:
        @dg.success_hook(
            name=f"{self.name}__tidy_up",
            required_resource_keys={self.run_resources.ledger_key, self._step_io},
        )
        def tidy_up(context: dg.HookContext) -> None:
            # Without a ledger the outputs are the only copy of the outcomes.
            policy = self.run_config.read(context.op_config).policy
            if not policy.keep_intermediates and self.run_resources.ledger(context).ledger is not None:
                removed = remove_intermediates(context, self._step_io)
                context.log.debug("%s step outputs that are no longer needed have been removed.", removed)

        return tidy_up

    def _account_for(
        self, context: dg.OpExecutionContext, manifest: Manifest, outcomes: Iterable[StoredBatch]
    ) -> Iterator["Accounted"]:
        """Yield what became of the records of each entry of the manifest; run those that are not done.

        Dagster runs this step also when mapped steps have never started: after an interrupted run that
        is re-executed "from failure" it passes over them and gives the collect op what is left. It
        passes over those, too, that ended in an earlier run with failed units, because to it they are
        successes; here the units that have no success are tried again. And where a trigger was retried,
        steps may have taken records that the last attempt has found otherwise.
        """
        stored = {batch.mapping_key: batch for batch in outcomes}
        unfinished: dict[int, dict[str, RecordState]] = {}
        for place, entry in enumerate(manifest.entries):
            batch = stored.get(entry.mapping_key)
            found = dict(zip(entry.record_keys, entry.origins, strict=True))
            ended = {
                record.record_key: record
                for record in (batch.load() if batch is not None else ())
                if found.get(record.record_key) == record.origin
                and (record.run_id == context.run_id or record.succeeded)
            }
            if batch is not None and len(ended) == len(found):
                yield Accounted(place, batch, [ended[key] for key in entry.record_keys])
            else:
                unfinished[place] = ended
        if not unfinished:
            return
        missing = [
            key
            for place, ended in unfinished.items()
            for key in manifest.entries[place].record_keys
            if key not in ended
        ]
        self._expect(context, manifest)
        context.log.warning(
            "%s of %s records unfinished, left so by an earlier run or found with other units by a retried "
            "trigger; running what is missing of them now: %s",
            len(missing),
            len(manifest.record_keys),
            ", ".join(map(repr, missing[:20])),
        )
        wanted = set(missing)
        before: Sequence[RecordState] = [
            record
            for place in unfinished
            for record in manifest.load(manifest.entries[place], context, self._step_io)
            if record.record_key in wanted
        ]
        advanced = before
        for index in range(len(self._stage_op_names())):
            advanced = self._steps.advance(context, index, advanced)
        ended_here = new_outcomes(before, advanced)
        log_step(context, ended_here, step_metadata(before, advanced, ended_here, is_last=True))
        done = {record.record_key: record for record in advanced}
        for place, ended in unfinished.items():
            entry = manifest.entries[place]
            records = tuple(ended.get(key) or done[key] for key in entry.record_keys)
            batch = StoredBatch(entry.mapping_key, partial(tuple, records))
            repaired = [record for record in records if record.record_key not in ended]
            yield Accounted(place, batch, records, repaired)

    def _expect(self, context: dg.OpExecutionContext, manifest: Manifest) -> None:
        """Tell the tally how many units there are; with several stages only their end shows that."""
        if len(self.stages) == 1:
            self.run_resources.unit_pool(context).tally(self.name).expect(manifest.units)

    def check_outcomes(self, context: dg.OpExecutionContext, policy: FanoutPolicy, fan_in: FanIn) -> None:
        """Refuse to materialise with more failures than *policy* allows.

        Raises:
            ToleranceExceededError: names record, unit and error of each failure.
        """
        check_tolerance(context, policy, fan_in)

    def value(self, fan_in: FanIn, frame: pd.DataFrame) -> Any:  # noqa: ARG002  # others need it
        """Return the asset's value, or a `MaterializeResult` with or without it."""
        return frame if self.aggregate is None else self.aggregate(frame)


def _arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> inspect.BoundArguments:
    """Return what of *given* the function takes, by position where it takes that only by position."""
    signature = inspect.signature(function)
    return inspect.BoundArguments(
        signature, OrderedDict((name, given[name]) for name in signature.parameters if name in given)
    )


def _with_parameters(function: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    """Return *function* with *names* in its signature, where Dagster looks for inputs."""
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # every function has it
    return function
