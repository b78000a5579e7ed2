"""Incidents injected into counts, with the truth. (The interface; the kinds follow.)"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("zero", "drop", "surge", "duplicates", "spike", "drift", "frozen", "delay", "wrong-day", "type-missing")


@dataclass(frozen=True, slots=True)
class Injected:
    """The truth of one incident."""

    row: int
    variable: str
    kind: str
    start: int
    """Index of its first interval."""
    end: int
    """Index after its last interval. A delay's silence and its catch-up both belong to it."""
    magnitude: float
    """How bad; what the number means depends on the kind."""
