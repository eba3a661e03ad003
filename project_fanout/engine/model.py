"""The nouns of a fan-out: units, records, and what became of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, get_args

from project_fanout.common import LATER, quickly_pickled
from project_fanout.engine.errors import DamagedValueError, InvalidRecordError
from project_fanout.engine.values import Encoded, StoredValue, decode

if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar  # in typing only since Python 3.11 and 3.13

    from project_fanout.engine.plan import Plan

    _T = TypeVar("_T", default=Any)
else:
    from typing import TypeVar

    _T = TypeVar("_T")

Status = Literal["succeeded", "failed", "timed_out", "crashed"]
STATUSES: tuple[Status, ...] = get_args(Status)


def checked_key(key: object, what: str) -> str:
    """Return *key* as a plain `str` if it is non-empty text that can be stored, else raise `InvalidRecordError`."""
    if not isinstance(key, str) or not key:
        hint = "" if isinstance(key, str) else f" (this is {type(key).__name__}; write str(...) around it)"
        raise InvalidRecordError(f"{key!r} is not a {what} key: a key is any non-empty text{hint}.")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecordError(
            f"{key!r} is not a {what} key: position {error.start} is half of a surrogate pair, "
            "which no file or database can store. Decode the text that it comes from as UTF-8."
        ) from None
    # Of a subclass, such as that of an Enum or Dagster's for keys of several partitions, workers would have
    # to import the module, and rows from the ledger would differ from those that are new.
    return key if type(key) is str else str.__str__(key)


@dataclass(frozen=True, slots=True)
class Unit(Generic[_T]):
    """The smallest piece of expensive work.

    A stage that annotates its unit, `unit: Unit[Order]`, gets an `Order` for its payload: a dataclass, pydantic
    model, NamedTuple, TypedDict or Enum is made of the data that has travelled.

    Args:
        key: any non-empty text, unique within its record and stage.
        payload: what the stage function works on; any value of docs/values.md.

    Raises:
        InvalidRecordError: *key* is empty or not text.
    """

    key: str
    payload: _T = None  # type: ignore[assignment]  # without one it is a Unit[None]

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", checked_key(self.key, "unit"))


@dataclass(frozen=True, slots=True)
class Record:
    """A key and its units; becomes one mapped step.

    Args:
        key: any non-empty text, unique within the fan-out.
        units: the units of the first stage, in the order of the asset's rows.
        plan: stages, params and policy of its own, where the records of a fan-out differ; None for
            those of the asset.

    Raises:
        InvalidRecordError: *key* is empty or not text, or two units have the same key.
    """

    key: str
    units: Sequence[Unit] = ()
    plan: "Plan | None" = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", checked_key(self.key, "record"))
        object.__setattr__(self, "units", checked_units(self.units, f"record {self.key!r}"))


@dataclass(frozen=True, slots=True)
class Fanout:
    """What a stage returns to fan out further: these units go to the next stage.

    Args:
        units: any number of units, also none; their keys are unique within record and stage.

    Raises:
        InvalidRecordError: two units have the same key.
    """

    units: Sequence[Unit] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", checked_units(self.units, "a Fanout"))


def checked_units(units: object, owner: str) -> tuple[Unit, ...]:
    """Return *units* as a tuple of `Unit` with distinct keys, else raise `InvalidRecordError`."""
    try:
        checked: tuple[Any, ...] = tuple(units)  # type: ignore[arg-type]  # an error below says it
    except TypeError:
        raise InvalidRecordError(
            f"The units of {owner} are {units!r}: give a list of Unit(key, payload)."
        ) from None
    seen: set[str] = set()
    for unit in checked:
        if not isinstance(unit, Unit):
            raise InvalidRecordError(
                f"The units of {owner} hold {unit!r}, a {type(unit).__name__}: give Unit(key, payload)."
            )
        if unit.key in seen:
            raise InvalidRecordError(
                f"The units of {owner} hold the key {unit.key!r} twice: unit keys are unique within "
                "a record and stage. Put into the key what tells the two apart."
            )
        seen.add(unit.key)
    return checked


@dataclass(frozen=True, slots=True)
class UnitError:
    """Why a unit did not succeed, as text: the exception itself may not survive the way back.

    Args:
        type: name of the exception's class, e.g. `ValueError`.
        message: its message.
        traceback: formatted traceback from the worker, "" where there is none.
    """

    type: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True, slots=True)
class UnitFailure:
    """What a batch stage returns in the place of the result of a unit that has failed.

    Args:
        message: why.
    """

    message: str


class EarlierAttempt(NamedTuple):
    """An attempt of a unit after which there was another one.

    Args:
        status: how it ended.
        seconds: time in the worker.
        error: type and message of why.
    """

    status: Status
    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt of a unit ended, or the unit with its last attempt. A new figure of units is a field here.

    Args:
        status: succeeded | failed (raised) | timed_out (over its deadline) | crashed (its worker died, or
            ran into its memory limit).
        seconds: time in the worker; of a unit, of all attempts together.
        encoded: the stage's result, encoded, when it returned an ordinary one.
        fanout: key and encoded payload of each unit, when it returned a `Fanout`.
        error: why it did not succeed; None if it did.
        cpu_seconds: CPU time of the worker meanwhile, with its threads and the processes that it has started and
            waited for; of a unit, of all attempts together. None where others ran beside it in the worker.
        peak_mb: most memory that the worker had meanwhile, in MiB, its modules included; None as above, and where
            the system does not tell.
        worker: which worker of its pool ran it, "" where the pool has none.
        earlier: of a unit, the attempts before the last one, the first of them first.
    """

    status: Status
    seconds: float
    encoded: Encoded | None = None
    fanout: tuple[tuple[str, Encoded], ...] | None = None
    error: UnitError | None = None
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    worker: str = field(default="", metadata=LATER)
    earlier: tuple[EarlierAttempt, ...] = field(default=(), metadata=LATER)

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"

    def including(self, earlier: "Self | None") -> "Self":
        """Return how the unit ended with this attempt, where *earlier* is what its attempts before came to."""
        if earlier is None:
            return self
        cpu = [each.cpu_seconds for each in (earlier, self) if each.cpu_seconds is not None]
        peak = [each.peak_mb for each in (earlier, self) if each.peak_mb is not None]
        return replace(
            self,
            seconds=earlier.seconds + self.seconds,
            cpu_seconds=sum(cpu) if cpu else None,
            peak_mb=max(peak, default=None),
            earlier=(*earlier.earlier, earlier.as_earlier),
        )

    @property
    def as_earlier(self) -> EarlierAttempt:
        """The last attempt, as one that another has followed."""
        seconds = self.seconds - sum(each.seconds for each in self.earlier)
        return EarlierAttempt(self.status, seconds, str(self.error or ""))


@quickly_pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOutcome(Ended):
    """What became of one unit: made once, by the runner, and the same in the ledger and in the asset's table.

    Args:
        record_key: the record that the unit belongs to.
        unit_key: the unit's key.
        stage: name of the stage in which it ended.
        stage_index: that stage's place, 0 for the first.
        attempts: how often it was started.
        ended_at: when it ended, in seconds since 1970 (UTC).
        waited: seconds from when its step had it until it was first started.
    """

    record_key: str
    unit_key: str
    stage: str
    stage_index: int = 0
    attempts: int
    ended_at: float = 0.0
    waited: float = field(default=0.0, metadata=LATER)

    @classmethod
    def of(cls, ended: Ended, **identity: Any) -> "UnitOutcome":
        """Return the outcome of the unit with this *identity* that has *ended* for good."""
        return cls(**dict(zip(_ENDED, _ended(ended), strict=True)), **identity)

    @property
    def stored(self) -> list[StoredValue]:
        """The values of it that are files."""
        values = [self.encoded, *(payload for _, payload in self.fanout or ())]
        return [value for value in values if isinstance(value, StoredValue)]

    @property
    def result(self) -> Any:
        """What the stage returned; None unless it succeeded."""
        return self.decoded(decode)

    def decoded(self, how: Callable[[Encoded], Any]) -> Any:
        """Return the result as *how* decodes it; None unless it succeeded.

        Raises:
            DamagedValueError: names the unit.
        """
        try:
            return None if self.encoded is None else how(self.encoded)
        except DamagedValueError as error:
            raise DamagedValueError(
                f"The result of unit {self.unit_key!r} of record {self.record_key!r}: {error}"
            ) from error


_ENDED = tuple(field.name for field in fields(Ended))
_ended = attrgetter(*_ENDED)


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """What became of one record.

    Args:
        record_key: the record's key.
        units: one outcome per unit of the last stage, and one per unit that ended in an earlier
            stage without success, in the order of the asset's rows.
    """

    record_key: str
    units: tuple[UnitOutcome, ...]

    @property
    def failed(self) -> tuple[UnitOutcome, ...]:
        return tuple(unit for unit in self.units if not unit.succeeded)
