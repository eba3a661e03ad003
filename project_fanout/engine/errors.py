"""What this package raises; every class survives pickling because it takes one message."""


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


class LedgerError(FanoutError):
    """The ledger cannot be opened, read or written; the message names it and the remedy."""
