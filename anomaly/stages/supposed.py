"""What a fit would have said of intervals, had it served them: judged by predict itself, and written nowhere.

In: a fit, a range that update has counted, and the store. Out: `Supposed`, with the anomalies and incidents of the
range. Predict runs as always; only its store is another: it is told that this fit serves all of the range, what it
writes stays in memory, and what later intervals see of earlier ones is what this fit said of them. Before the range,
they see what was judged in its time, which is the same for every fit that is supposed so.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from datetime import datetime
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from anomaly.detection.incidents import Anomaly, Incident, gather
from anomaly.groups import Group, TimeRange
from anomaly.groups.intervals import to_datetime64
from anomaly.ports import (
    ArtifactReader,
    DataChecks,
    Fit,
    ForecasterLoader,
    Predictions,
    Remembered,
    StandIn,
    Store,
    Variable,
)
from anomaly.ports.labels import Adjustment, Labels
from anomaly.stages.labelled import factors_at
from anomaly.stages.predict import predict

_NUMBERS = ("observed", "predicted", "lower", "upper", "felt")
"""What later intervals and charts read; the other numbers are not kept, so that 5,000 variables fit into memory."""
_KIND = "S16"


class _Unchecked:
    """Port `DataChecks` where nothing is stored that would have to be right."""

    def predictions(self, group: Group, predictions: Predictions, within: TimeRange) -> None:
        pass


class _SupposedStore:
    """Port `Store`, as far as predict uses it, in which one fit serves all of a range."""

    def __init__(self, store: Store, fit: Fit, within: TimeRange, adjustments: Sequence[Adjustment]) -> None:
        self._store = store
        self._factors = cache(lambda moment: factors_at(adjustments, moment))
        self._fit = replace(fit, serves_from=within.start, state="promoted")
        self._within = within
        fitted = store.fitted(fit.id)
        self._allowed = {f.variable.id: f.tail_probability for f in fitted}
        self._row = {f.variable.id: row for row, f in enumerate(fitted)}
        self._month_days = {f.variable.id: f.month_days for f in fitted}
        shape = (len(fitted), len(within))
        self.numbers: dict[str, NDArray[np.float64]] = {name: np.full(shape, np.nan) for name in _NUMBERS}
        self.kinds = np.zeros(shape, dtype=_KIND)
        self.anomalies: list[Anomaly] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def champions(self, group: Group, within: TimeRange) -> Sequence[Fit]:  # noqa: ARG002
        return (self._fit,)

    def exclusively(self, group: Group, stage: str) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()  # nobody else writes here

    def predicted_until(self, group: Group) -> datetime | None:  # noqa: ARG002
        return None

    def write_predictions(self, group: Group, predictions: Predictions) -> int:  # noqa: ARG002
        rows = np.array([self._row[v.id] for v in predictions.variables], dtype=np.int64)
        begin = _index(predictions.starts[0], self._within)
        columns = np.arange(begin, begin + len(predictions.starts))
        inside = columns >= 0
        if not inside.any():
            return 0
        at = np.ix_(rows, columns[inside])
        for name, kept in self.numbers.items():
            kept[at] = getattr(predictions, name)[:, inside]
        self.kinds[at] = predictions.kinds[:, inside].astype(_KIND)
        found = np.argwhere((predictions.kinds != "") & inside & np.isfinite(predictions.predicted))
        self.anomalies += [self._anomaly(predictions, row, column) for row, column in found]
        return len(found)

    def _anomaly(self, p: Predictions, row: int, column: int) -> Anomaly:
        variable, first = p.variables[row], _index(p.starts[0], self._within)
        start = self._within.start + (first + int(column)) * self._within.step
        return Anomaly(
            variable=variable.name,
            start=start,
            kind=str(p.kinds[row, column]),
            observed=float(p.observed[row, column]),
            predicted=float(p.predicted[row, column]),
            residual=float(p.residuals[row, column]),
            tail_probability=float(p.tail_probabilities[row, column]),
            allowed=self._allowed.get(variable.id, 1.0) * self._factors(start).get(variable.name, 1.0),
            test=str(p.tests[row, column]),
        )

    def stand_ins(self, group: Group, variables: Sequence[Variable], within: TimeRange) -> Sequence[StandIn]:
        """Before the supposed range those that are stored, from there on those that were supposed."""
        found: list[StandIn] = []
        if within.start < self._within.start:
            before = TimeRange(within.start, min(within.end, self._within.start), within.step)
            found += self._store.stand_ins(group, variables, before)
        supposed = self.read(variables, within)
        stands_in = np.isfinite(supposed.felt) & (supposed.felt != supposed.observed)
        for row, column in np.argwhere(stands_in).tolist():
            days = self._month_days.get(variables[row].id)
            if days:
                found.append(StandIn(variables[row].id, within.start + column * within.step, days))
        return found

    def remembered(
        self, group: Group, variables: Sequence[Variable], within: TimeRange, *, whole_from: datetime
    ) -> Remembered:
        """Before the supposed range what is stored, from there on what was supposed."""
        supposed = self.read(variables, within)
        made = Remembered(supposed.observed, supposed.felt, supposed.predicted, supposed.kinds != "")
        if within.start < self._within.start:
            before = TimeRange(within.start, min(within.end, self._within.start), within.step)
            stored = self._store.remembered(group, variables, before, whole_from=whole_from)
            for name in (f.name for f in fields(Remembered)):
                getattr(made, name)[:, : len(before)] = getattr(stored, name)
        return made

    def read(self, variables: Sequence[Variable], within: TimeRange) -> Predictions:
        """What was supposed of a range; NaN and '' elsewhere. Residuals, tests and outlooks are not kept."""
        shape = (len(variables), len(within))
        numbers = {
            f.name: np.full(shape, np.nan)
            for f in fields(Predictions)
            if f.name not in {"fit_id", "variables", "starts", "kinds", "tests"}
        }
        kinds, tests = (np.full(shape, "", dtype="<U16") for _ in range(2))
        offset = (within.start - self._within.start) // within.step
        columns = np.arange(offset, offset + len(within))
        inside = np.flatnonzero((columns >= 0) & (columns < len(self._within)))
        for row, variable in enumerate(variables):
            at = self._row.get(variable.id)
            if at is None or not inside.size:
                continue
            for name, kept in self.numbers.items():
                numbers[name][row, inside] = kept[at, columns[inside]]
            kinds[row, inside] = self.kinds[at, columns[inside]].astype("<U16")
        return Predictions(
            fit_id=self._fit.id,
            variables=tuple(variables),
            starts=within.starts(),
            kinds=kinds,
            tests=tests,
            **numbers,
        )


class Supposed:
    """What a fit would have said of a range.

    Args:
        group: its policy is today's.
        fit: of this group, trained.
        within: that update has counted all of.
        labels: what people have said moves thresholds here as it does live.
    """

    def __init__(
        self,
        group: Group,
        fit: Fit,
        within: TimeRange,
        *,
        store: Store,
        artifacts: ArtifactReader,
        forecaster: ForecasterLoader,
        labels: Labels | None,
        now: datetime,
    ) -> None:
        self._group, self._within = group, within
        adjustments = () if labels is None else labels.adjustments(group)
        self._store = _SupposedStore(store, fit, within, adjustments)
        predict(
            group,
            within.start,
            within.end,
            store=cast("Store", self._store),
            checks=cast("DataChecks", _Unchecked()),
            artifacts=artifacts,
            forecaster=forecaster,
            now=now,
            labels=labels,
        )

    def incidents(self) -> tuple[Incident, ...]:
        """As alert would have gathered them."""
        return gather(
            self._group.name,
            self._store.anomalies,
            step=self._group.interval,
            merge_gap=self._group.incidents.merge_gap,
            min_anomalies=self._group.incidents.min_anomalies,
            min_duration=self._group.incidents.min_duration,
            repeat_window=self._group.incidents.repeat_window,
            until=self._within.end,
        )

    def read(self, variables: Sequence[Variable], within: TimeRange) -> Predictions:
        """What it said of some variables, for charts."""
        return self._store.read(variables, within)


def _index(start: np.datetime64, within: TimeRange) -> int:
    return int((start - to_datetime64(within.start)) // np.timedelta64(within.step))
