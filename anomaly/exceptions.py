"""Every exception this package raises on purpose, in one tree.

The one question a scheduler asks of an exception is whether trying again can help. The tree answers it:
everything below `TransientError` may succeed on a later try with nothing changed; everything below
`PermanentError` needs somebody to change something first. The retry policy of the Airflow tasks is made of
these two classes and nothing else.

Messages say what was found, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta


class AnomalyError(Exception):
    """The root. Never raised itself."""


class TransientError(AnomalyError):
    """The world was not ready. A retry, with nothing changed, may succeed."""


class PermanentError(AnomalyError):
    """A retry gives the same result until somebody changes configuration, data or code."""


class SourceUnavailableError(TransientError):
    """The source database refused the connection, dropped it, or ran past the statement timeout."""


class StoreUnavailableError(TransientError):
    """The metadata database refused the connection or dropped it."""


class RegistryUnavailableError(TransientError):
    """The MLflow server did not answer, or answered with a server-side failure."""


class ArtifactsUnavailableError(TransientError):
    """The artifact store (S3 or a folder) could not be reached."""


class ArtifactMissingError(ArtifactsUnavailableError):
    """The artifact store is there, but the file is not: it was deleted, or its volume is not mounted yet."""


class CountsNotReadyError(TransientError):
    """Only the latest intervals of a fit's history are not counted yet; update is probably at it."""


class SlackUnavailableError(TransientError):
    """Slack did not take the message: rate limit, time-out, or a server-side failure. The outbox keeps it.

    Args:
        retry_after: how long Slack asks to be left alone.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConfigurationError(PermanentError):
    """Something that people wrote down (a group's YAML, a connection, a setting) cannot be used as it is."""


class InvalidGroupsError(ConfigurationError):
    """One or more group files hold mistakes. All of them are listed, not just the first.

    Args:
        problems: one line per mistake, each with file, key, what was found and what was expected.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        noun = "mistake" if len(self.problems) == 1 else "mistakes"
        super().__init__(f"{len(self.problems)} {noun} in group files:\n" + "\n".join(f"  {p}" for p in self.problems))


class SourceSchemaError(ConfigurationError):
    """The source's table or column is missing, has the wrong type, or may not be read by this role."""


class InvalidRangeError(PermanentError):
    """A time range that is empty, reversed, without time zone, or not on the group's interval grid."""


class ExpectationFailedError(PermanentError):
    """A hard Great Expectations expectation failed. The message names the suite and the expectations.

    Args:
        suite: name of the suite, as in ``expectations/<suite>.json``.
        failures: one line per failed expectation, with what was observed.
    """

    def __init__(self, suite: str, failures: Sequence[str], *, where: str) -> None:
        self.suite = suite
        self.failures = tuple(failures)
        super().__init__(
            f"suite {suite!r} failed for {where}:\n"
            + "\n".join(f"  {f}" for f in self.failures)
            + "\nThe Data Docs page of this validation shows the values."
        )


class NotEnoughHistoryError(PermanentError):
    """The counts needed for a fit are not there: the range was never updated, or is too short."""


class IncompleteFitError(PermanentError):
    """A step of a fit was asked for before the steps that it builds on."""


class NoSuchVersionError(PermanentError):
    """A model version was named that is not there, or that cannot do what was asked of it."""


class IncompleteCountsError(PermanentError):
    """A stage was asked for intervals that update has not counted yet."""


class ArtifactCorruptedError(PermanentError):
    """A stored artifact's SHA-256 differs from the one in the metadata, so it is not loaded."""


class SlackRejectedError(PermanentError):
    """Slack said no for good: unknown channel, revoked token, malformed blocks."""


class UnknownIncidentError(PermanentError):
    """Somebody speaks of an incident that is not there, or was withdrawn."""


class LabelRefusedError(PermanentError):
    """What somebody said of an incident cannot be kept as it is: a reason, a name or a moment is missing or wrong.

    Args:
        problems: one line per mistake; of a file, each with the file and the line.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class MessageGoneError(SlackRejectedError):
    """Somebody deleted the message that was to be edited. A retry cannot edit it; a new message can be posted."""
