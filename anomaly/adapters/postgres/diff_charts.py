"""Counts around the alerts that only one of two fits would tell, kept for the page of a fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import psycopg2.extras

from anomaly.adapters.postgres.connecting import metadata_cursor
from anomaly.ports import Floats
from anomaly.ports.reviews import DiffChart, DiffVariable, Judged

_DIGITS = 5


class PostgresDiffCharts:
    """Implements `anomaly.ports.diff_charts.DiffCharts`.

    Args:
        arguments: libpq keyword arguments of a role that may read and write the metadata tables.
    """

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = dict(arguments)

    def save(self, fit_id: str, charts: Mapping[str, DiffChart]) -> None:
        rows = [(fit_id, name, psycopg2.extras.Json(as_numbers(chart))) for name, chart in charts.items()]
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("DELETE FROM diff_charts WHERE fit_id = %s", (fit_id,))
            psycopg2.extras.execute_values(cursor, "INSERT INTO diff_charts (fit_id, name, chart) VALUES %s", rows)

    def names(self, fit_id: str) -> frozenset[str]:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("SELECT name FROM diff_charts WHERE fit_id = %s", (fit_id,))
            return frozenset(name for (name,) in cursor.fetchall())

    def chart(self, fit_id: str, name: str) -> Mapping[str, Any] | None:
        with metadata_cursor(self._arguments) as cursor:
            cursor.execute("SELECT chart FROM diff_charts WHERE fit_id = %s AND name = %s", (fit_id, name))
            found = cursor.fetchone()
        return cast("Mapping[str, Any]", found[0]) if found else None


def as_numbers(chart: DiffChart) -> dict[str, Any]:
    """As `anomaly.ports.diff_charts.DiffCharts.chart` gives it back."""
    return {
        "appears": chart.appears,
        "span": [int(chart.alert.start.timestamp()), int(chart.alert.end.timestamp())],
        "step": int(chart.group.interval.total_seconds()),
        "variables": [_of_variable(variable) for variable in chart.variables],
    }


def _of_variable(one: DiffVariable) -> dict[str, Any]:
    return {
        "name": one.variable,
        "t": one.starts.astype("datetime64[s]").astype(np.int64).tolist(),
        "observed": _plain(one.observed),
        "champion": _of_fit(one.champion),
        "challenger": _of_fit(one.challenger),
    }


def _of_fit(said: Judged | None) -> dict[str, Any] | None:
    if said is None:
        return None
    return {
        "predicted": _plain(said.predicted),
        "lower": _plain(said.lower),
        "upper": _plain(said.upper),
        "anomalies": np.flatnonzero(said.anomalous).tolist(),
    }


def _plain(values: Floats) -> list[float | None]:
    """Five digits that matter, None for what is not finite: JSON has no such numbers."""
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]
