"""What this package raises; every class survives pickling because it passes on what it is made of."""


class FanoutError(Exception):
    """Base of every error that this package raises on purpose."""


class FanoutDefinitionError(FanoutError):
    """A fan-out is declared wrongly: a stage, param, policy or asset argument. Raised when it is built."""


class InvalidRecordError(FanoutError):
    """A record, a unit, its key or its payload is not acceptable. Raised before the unit runs."""


class InvalidParamsError(FanoutError):
    """Run config names an unknown param, lacks a required one, or gives one a value of the wrong type."""


class TooManyRecordsError(FanoutError):
    """The trigger found more records than `max_records` allows. Raised before the first unit runs."""


class NoRecordsError(FanoutError):
    """The trigger found no record and `on_empty` is `fail`."""


class NoPartitionError(FanoutError):
    """The asset is partitioned, and its run names no partition. Raised before records are looked for."""


class ToleranceExceededError(FanoutError):
    """More units failed than `max_failed_ratio` allows; the message names record, unit and error."""


class PoolClosedError(FanoutError):
    """A unit was handed to a pool that has been closed."""


class PoolLostError(FanoutError):
    """The cluster that a pool runs its units on is gone; the message names it and the remedy.

    It ends the step, and no unit: none has an outcome or an attempt less because of it.
    """


class FinalError(FanoutError):
    """Raised by a stage where another attempt would end the same way: the unit is not tried again."""


class RetryAfter(FanoutError):  # noqa: N818  # a request, not an error
    """Raised by a stage that has been told to come back later: tried again then, and no attempt is lost.

    Ten times at most; then the unit has failed.

    Args:
        seconds: how long to wait, 0 or more.
        message: why, for the log and for the last failure.
    """

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(seconds, message)
        self.seconds = max(0.0, float(seconds))
        self.message = message

    def __str__(self) -> str:
        return self.message or f"asked to be tried again after {self.seconds:g} s"


class SetupError(FanoutError):
    """What a stage gets once per worker could not be set up; the message names it and what went wrong."""


class UnsupportedValueError(FinalError):
    """A payload or result has a part that cannot travel; the message says where, of what type, and what to write."""


class InvalidBatchError(FinalError):
    """A batch stage has not returned one result per unit; the message says what it has returned."""


class InvalidPayloadError(InvalidRecordError, FinalError):
    """A unit's payload is not what its stage asks for with `unit: Unit[...]`; the message names field and reason."""


class DamagedValueError(FanoutError):
    """A stored value is gone, cut off or changed. Reading it never runs code."""


class LedgerError(FanoutError):
    """The ledger cannot be opened, read or written; the message names it and the remedy."""


#: Names of the errors that every unit of a stage would have.
NOT_OF_THE_UNIT = (UnsupportedValueError.__name__, SetupError.__name__)
