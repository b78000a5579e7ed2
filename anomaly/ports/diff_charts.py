"""What the page of a fit draws of its review: counts around an alert that only one of two fits would tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from anomaly.ports.reviews import DiffChart


class DiffCharts(Protocol):
    """PostgreSQL. Each write is one transaction; every method may raise `StoreUnavailableError`."""

    def save(self, fit_id: str, charts: Mapping[str, DiffChart]) -> None:
        """By name, `JudgedAlert.chart`; in the place of all that were there of this fit."""

    def names(self, fit_id: str) -> frozenset[str]:
        """Of those that are there."""

    def chart(self, fit_id: str, name: str) -> Mapping[str, Any] | None:
        """As plain numbers for JSON: ``appears`` (whether the challenger tells it, else the champion), ``span`` (start
        and end of the alert), ``step`` (of the grid) and ``variables``; moments and step in seconds.

        Each variable has ``name``, ``t`` (N starts, seconds since the epoch), ``observed`` (N), and per fit under
        ``champion`` and ``challenger`` either null or ``predicted``, ``lower``, ``upper`` (N), in events per interval
        with null where unknown, and ``anomalies`` (indices into ``t``).
        """
