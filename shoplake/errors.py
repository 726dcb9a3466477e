"""Errors meant for the person who sees them, and the exit code that each one means.

A message says what happened and where, what was seen and what is allowed, and the next command to run.
"""

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3


class ShoplakeError(Exception):
    """A failure that a person can act on; shells print it without a traceback."""

    exit_code = EXIT_FAILURE


class ConfigError(ShoplakeError):
    """A setting, a flag or the installation is wrong: nothing was started."""

    exit_code = EXIT_USAGE


class ContractError(ShoplakeError):
    """Data or a schema breaks the event contract or a table's contract."""


class SourceError(ShoplakeError):
    """A file, a topic or a broker cannot be read or written."""


class StorageError(ShoplakeError):
    """Cloud Storage does not answer, or not as it should; at the next try it may."""


class WarehouseError(ShoplakeError):
    """A query or a publication failed in the warehouse."""


class QueryRefusedError(WarehouseError):
    """A statement that the warehouse does not run: its text or a parameter is wrong, and nothing was run.

    `line` is where in the statement's text, from 1, if that is known.
    """

    exit_code = EXIT_USAGE

    def __init__(self, message: str, line: int | None = None) -> None:
        """Make it."""
        super().__init__(message)
        self.line = line


class ForecastError(ShoplakeError):
    """A forecast cannot be made: too little history, or a model that does not fit."""


class AuditError(ShoplakeError):
    """The audit log is not as it was written, so nothing is added to it, and nothing done that it would tell of.

    `python utils/verify_audit.py` says what is wrong with it.
    """


class DeploymentError(ShoplakeError):
    """A command of a deployment failed; the message has it with its last lines."""


class LockError(ShoplakeError):
    """Another process holds a lock; the message names it."""


class GateRefusedError(ShoplakeError):
    """A quality gate looked and said no: the ledger does not balance, or a model is not good enough."""

    exit_code = EXIT_REFUSED
