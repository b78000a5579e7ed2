"""The hourly story, update to predict to alert: hour by hour it ends where one run over the whole range ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.checks import GreatExpectationsChecks
from anomaly.adapters.postgres.source import PostgresSource
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit, Incident, Links
from anomaly.stages.alert import alert
from anomaly.stages.predict import predict
from anomaly.stages.update import update
from tests.fakes import PlainCharts, RecordedChannel
from tests.stages.conftest import HOUR, START, SourceTable
from tests.stages.watched import HISTORY, NoNetworks, daily, fitted

HOURS = 40


@dataclass
class Story:
    group: Group
    source: PostgresSource
    store: PostgresStore
    checks: GreatExpectationsChecks
    artifacts: Artifacts
    channel: RecordedChannel

    def count(self, first: int, last: int) -> None:
        start, end = _moment(first), _moment(last)
        update(self.group, start, end, source=self.source, store=self.store, checks=self.checks, now=end)

    def promote(self) -> None:
        history = TimeRange(START, _moment(HISTORY), HOUR)
        name = f"fit of {self.group.name}"
        self.store.save_fit(Fit(name, self.group.name, history, {}, 1, "promoted", "run", 1, history.end))
        self.store.save_fitted(name, [fitted(v, 3.5) for v in self.store.variables(self.group)], [])

    def run(self, first: int, last: int) -> None:
        self.count(first, last)
        start, end = _moment(first), _moment(last)
        none = NoNetworks()
        predict(self.group, start, end, store=self.store, checks=self.checks, artifacts=none, forecaster=none, now=end)
        alert(
            self.group,
            start,
            end,
            store=self.store,
            charts=PlainCharts(),
            chart_store=self.artifacts,
            channel=self.channel,
            links=Links(),
            now=end,
        )

    def incidents(self) -> list[Incident]:
        return list(self.store.incidents(self.group))


def _moment(hour: int) -> datetime:
    return START + hour * HOUR


def test_hour_by_hour_and_all_at_once_tell_the_same_story(
    make_group: Callable[..., Group],
    make_source: Callable[[Group], PostgresSource],
    source_table: SourceTable,
    store: PostgresStore,
    checks: GreatExpectationsChecks,
    tmp_path: Path,
) -> None:
    counts = daily(HISTORY + HOURS, variables=2).astype(int)
    counts[:, HISTORY + 4 : HISTORY + 10] = 0
    for name, row in zip("ab", counts, strict=True):
        source_table.write_all(name, row.tolist())

    def story(name: str) -> Story:
        group = make_group(name=name, variables=["a", "b"])
        told = Story(group, make_source(group), store, checks, Artifacts(str(tmp_path / name)), RecordedChannel())
        told.count(0, HISTORY)
        told.promote()
        return told

    live, at_once = story("live"), story("at_once")
    for hour in range(HISTORY, HISTORY + HOURS):
        live.run(hour, hour + 1)
    at_once.run(HISTORY, HISTORY + HOURS)

    (one,), (other,) = live.incidents(), at_once.incidents()
    assert (one.start, one.end, one.kind, one.resolved) == (other.start, other.end, other.kind, other.resolved)
    assert one.variables == other.variables
    assert {v.variable for v in one.variables} == {"a", "b"}
    assert len(live.channel.messages) == len(at_once.channel.messages) == 1
    within = TimeRange(_moment(HISTORY), _moment(HISTORY + HOURS), HOUR)
    both = [store.read_predictions(t.group, store.variables(t.group), within) for t in (live, at_once)]
    assert both[0] is not None
    assert both[1] is not None
    np.testing.assert_array_equal(both[0].predicted, both[1].predicted)
    np.testing.assert_array_equal(both[0].kinds, both[1].kinds)
