"""The command line. `app` is the whole; a command with a story of its own has a file of its own here."""

from anomaly.cli.app import PERMANENT, TEMPORARY, WRONG_GROUPS, app

__all__ = ["PERMANENT", "TEMPORARY", "WRONG_GROUPS", "app"]
