"""Alert: who joins an incident, what it says of its tests, when it is told again, and hour by hour as at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.detection.causes import Shared
from anomaly.detection.incidents import DELIVERY
from anomaly.groups import Group, TimeRange
from anomaly.ports import Incident, Links, Predictions, Variable
from anomaly.stages.alert import AlertReport, alert
from tests.fakes import PlainCharts, RecordedChannel
from tests.stages.conftest import HOUR, START
from tests.stages.watched import Watched

HOURS = 30 * 24
NAMES = tuple(f"{what}.{n}" for what in ("dep", "arr") for n in range(8))


@dataclass(frozen=True)
class Cell:
    """What was found in one interval of one variable; without a kind it is rare, but no anomaly."""

    kind: str = "drop"
    observed: float = 5.0
    tail: float = 1e-8
    test: str = "single"


@dataclass
class Judged:
    """A group whose verdicts a test writes."""

    group: Group
    store: PostgresStore
    variables: tuple[Variable, ...]
    artifacts: Artifacts
    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    channel: RecordedChannel = field(default_factory=RecordedChannel)

    def judge(self, first: int, last: int) -> None:
        """Predictions for hours [first, last): 20 expected and observed where no cell says otherwise."""
        shape = (len(self.variables), last - first)
        within = TimeRange(START + first * HOUR, START + last * HOUR, HOUR)
        observed, tails = np.full(shape, 20.0), np.full(shape, 0.5)
        kinds, tests = np.full(shape, "", dtype="<U16"), np.full(shape, "single", dtype="<U16")
        row = {v.name: at for at, v in enumerate(self.variables)}
        found = {(row[name], hour): cell for (name, hour), cell in self.cells.items() if first <= hour < last}
        for (at, hour), cell in found.items():
            observed[at, hour - first], tails[at, hour - first] = cell.observed, cell.tail
            kinds[at, hour - first], tests[at, hour - first] = cell.kind, cell.test
        self.store.write_predictions(
            self.group,
            Predictions(
                fit_id=f"fit of {self.group.name}",
                variables=self.variables,
                starts=within.starts(),
                observed=observed,
                predicted=np.full(shape, 20.0),
                lower=np.full(shape, 10.0),
                upper=np.full(shape, 30.0),
                residuals=observed - 20.0,
                tail_probabilities=tails,
                felt=observed,
                outlook=np.full(shape, 20.0),
                kinds=kinds,
                tests=tests,
            ),
        )

    def alert(self, first: int, last: int) -> AlertReport:
        return alert(
            self.group,
            START + first * HOUR,
            START + last * HOUR,
            store=self.store,
            charts=PlainCharts(),
            chart_store=self.artifacts,
            channel=self.channel,
            links=Links(),
            now=START + last * HOUR,
        )

    def at_once(self, first: int, last: int) -> AlertReport:
        self.judge(first, last)
        return self.alert(first, last)

    def hour_by_hour(self, first: int, last: int) -> None:
        for hour in range(first, last):
            self.judge(hour, hour + 1)
            self.alert(hour, hour + 1)

    def incidents(self) -> tuple[Incident, ...]:
        return self.store.incidents(self.group)

    def said(self) -> list[object]:
        """All that messages say of the incidents."""
        delivery: dict[str, Any] = dict.fromkeys(DELIVERY)
        return [replace(incident, group="", **delivery) for incident in self.incidents()]


@pytest.fixture
def make_judged(make_watched: Callable[..., Watched], tmp_path: object) -> Callable[..., Judged]:
    def make(cells: Mapping[tuple[str, int], Cell] | None = None, **changes: object) -> Judged:
        counts = np.full((len(NAMES), HOURS), 20.0)
        for (name, hour), cell in (cells or {}).items():
            counts[NAMES.index(name), hour] = cell.observed
        order = sorted(range(len(NAMES)), key=NAMES.__getitem__)
        watched = make_watched(counts[order], names=[NAMES[at] for at in order], **changes)
        watched.promote(f"fit of {watched.group.name}", 24)
        artifacts = Artifacts(str(tmp_path), s3_endpoint=None)
        return Judged(watched.group, watched.store, watched.variables, artifacts, dict(cells or {}))

    return make


def _departures(own: int, weak: int, hours: range, *, tail: float = 2e-4) -> dict[tuple[str, int], Cell]:
    """Departures that drop: some by themselves, some only together with the others."""
    cells = {(f"dep.{n}", h): Cell() for n in range(own) for h in hours}
    return cells | {(f"dep.{n}", h): Cell("", 12.0, tail) for n in range(own, own + weak) for h in hours}


def test_weaker_variables_join_and_what_all_share_is_told(make_judged: Callable[..., Judged]) -> None:
    judged = make_judged(_departures(4, 3, range(60, 63)))
    judged.at_once(48, 100)
    (incident,) = judged.incidents()
    assert [v.test for v in incident.variables] == ["single"] * 4 + ["together"] * 3
    assert {v.kind for v in incident.variables} == {"drop"}
    assert incident.shared == (Shared("prefix", "dep.", 7, 8, 0, 8, "arr."),)
    assert len(judged.channel.messages) == 1


def test_weak_variables_alone_open_nothing(make_judged: Callable[..., Judged]) -> None:
    judged = make_judged(_departures(0, 8, range(60, 63)))
    report = judged.at_once(48, 100)
    assert (report.anomalies, report.opened) == (0, 0)


def test_a_departure_found_by_sums_is_told_over_all_that_was_summed(make_judged: Callable[..., Judged]) -> None:
    slow = {("dep.0", h): Cell("", 15.0, 0.05) for h in range(60, 84)}
    slow |= {("dep.0", h): Cell("drop", 15.0, 1e-7, "sum-24") for h in (83, 84)}
    judged = make_judged(slow)
    judged.at_once(48, 120)
    (incident,) = judged.incidents()
    (part,) = incident.variables
    assert (part.observed, part.expected, part.anomalies) == (25 * 15.0, 25 * 20.0, 2)
    assert part.stretch == timedelta(hours=24)
    assert incident.start == START + 83 * HOUR


def test_a_silence_is_told_with_what_is_usual_and_a_frozen_count_with_how_long_it_has_been(
    make_judged: Callable[..., Judged],
) -> None:
    nothing = {("dep.0", h): Cell("", 0.0, 0.3) for h in range(24, 200) if h % 3 and h < 190}
    nothing |= {("dep.0", h): Cell("silent" if h > 196 else "", 0.0, 1e-6, "silence") for h in range(190, 200)}
    frozen = {("arr.0", h): Cell("frozen" if h > 303 else "", 7.0, 1e-6, "frozen") for h in range(300, 306)}
    judged = make_judged(nothing | frozen)
    judged.at_once(48, 400)
    silent, same = judged.incidents()
    assert silent.variables[0].stretch == timedelta(hours=10)
    assert silent.variables[0].usual == timedelta(hours=2)
    assert (same.kind, same.variables[0].stretch) == ("frozen", timedelta(hours=6))


def test_a_variable_that_trips_every_day_is_told_twice_and_again_when_it_is_clear(
    make_judged: Callable[..., Judged],
) -> None:
    daily = {("dep.0", 60 + 24 * day + h): Cell(tail=5e-5) for day in range(5) for h in range(3)}
    judged = make_judged(daily | {("dep.0", 190 + h): Cell(tail=1e-9) for h in range(3)})
    judged.at_once(48, 300)
    assert [i.start for i in judged.incidents()] == [START + hour * HOUR for hour in (60, 84, 190)]


def test_an_incident_that_gets_clearly_worse_gets_one_more_notice(make_judged: Callable[..., Judged]) -> None:
    first = {("dep.0", h): Cell("drop", 14.0, 1e-5) for h in range(56, 64)}
    more = {(name, h): Cell("drop", 1.0, 1e-9) for name in NAMES[1:6] for h in range(64, 67)}
    judged = make_judged(first | more)
    judged.judge(48, 64)
    judged.alert(48, 64)
    (told,) = judged.incidents()
    assert (told.told_severity, told.told_variables, told.clearly_worse) == (told.severity, 1, False)
    judged.judge(64, 65)
    assert judged.alert(64, 65).worse == 1
    (worse,) = judged.incidents()
    assert worse.told_variables == len(worse.variables) == 6
    (notice,) = judged.channel.replies.values()
    assert notice.broadcast
    assert len(notice.news.joined) == 5
    judged.judge(65, 66)
    assert judged.alert(65, 66).worse == 0
    assert len(judged.channel.messages) == 1


def test_hour_by_hour_and_at_once_say_the_same_of_everything(make_judged: Callable[..., Judged]) -> None:
    random = np.random.default_rng(4)
    cells = _departures(4, 3, range(52, 56))
    cells |= {("arr.1", h): Cell("drop", 15.0, 1e-7, "sum-6") for h in range(66, 69)}
    cells |= {("dep.7", hour): Cell(tail=5e-5, test="sum-3") for hour in (74, 80, 86)}
    cells |= {("arr.2", h): Cell("silent", 0.0, 1e-6, "silence") for h in range(92, 95)}
    for at, hour in zip(random.integers(0, 16, 25), random.integers(48, 100, 25), strict=True):
        kind, tail = str(random.choice(["", "drop", "surge"])), 10.0 ** -random.integers(2, 9)
        cells.setdefault((NAMES[at], int(hour)), Cell(kind, 30.0, float(tail)))
    rules = {"merge_gap": "2h", "repeat_window": "24h", "min_duration": "2h"}
    live, once = (make_judged(cells, name=name, incidents=rules) for name in ("live", "once"))
    live.hour_by_hour(48, 104)
    once.at_once(48, 104)
    assert live.said() == once.said()
    assert len(live.said()) >= 3
    assert once.at_once(48, 104).edited == 0
