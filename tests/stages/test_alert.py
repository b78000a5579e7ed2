"""Alert: an incident is told once, whatever is run again, and later when Slack is down."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pytest

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.charts import MatplotlibCharts
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.exceptions import SlackRejectedError, SlackUnavailableError
from anomaly.groups import Group, TimeRange, VariableSelection
from anomaly.ports import Links, Predictions, Variable
from anomaly.stages.alert import AlertReport, alert, chart_data
from tests.fakes import PlainCharts, RecordedChannel
from tests.stages.conftest import HOUR, START
from tests.stages.watched import Watched, daily

DAYS = 20 * 24


@dataclass
class Told:
    """A group whose verdicts a test writes, and the channel that hears of them."""

    group: Group
    store: PostgresStore
    variables: tuple[Variable, ...]
    channel: RecordedChannel
    artifacts: Artifacts

    def judge(self, first: int, last: int, kinds: dict[tuple[int, int], str]) -> None:
        """Predictions for hours [first, last), anomalous where `kinds` says, by (variable, hour)."""
        shape = (len(self.variables), last - first)
        found = np.full(shape, "", dtype="<U16")
        for (row, hour), kind in kinds.items():
            if first <= hour < last:
                found[row, hour - first] = kind
        bad = found != ""
        within = TimeRange(START + first * HOUR, START + last * HOUR, HOUR)
        self.store.write_predictions(
            self.group,
            Predictions(
                fit_id="f1",
                variables=self.variables,
                starts=within.starts(),
                observed=np.where(bad, 0.0, 20.0),
                predicted=np.full(shape, 20.0),
                lower=np.full(shape, 10.0),
                upper=np.full(shape, 30.0),
                residuals=np.where(bad, -8.0, 0.0),
                tail_probabilities=np.where(bad, 1e-8, 0.5),
                felt=np.full(shape, 20.0),
                outlook=np.full(shape, 20.0),
                kinds=found,
                tests=np.full(shape, "single", dtype="<U16"),
            ),
        )

    def alert(self, first: int, last: int, *, now: datetime | None = None) -> AlertReport:
        return alert(
            self.group,
            START + first * HOUR,
            START + last * HOUR,
            store=self.store,
            charts=PlainCharts(),
            chart_store=self.artifacts,
            channel=self.channel,
            links=Links(),
            now=now or START + last * HOUR,
        )

    def live(self, first: int, last: int, kinds: dict[tuple[int, int], str]) -> None:
        for hour in range(first, last):
            self.judge(hour, hour + 1, kinds)
            self.alert(hour, hour + 1)


@pytest.fixture
def make_told(make_watched: Callable[..., Watched], tmp_path: object) -> Callable[..., Told]:
    def make(**changes: object) -> Told:
        watched = make_watched(daily(DAYS), incidents={"min_anomalies": 2}, **changes)
        watched.promote(f"f{len(changes)}" if changes else "f1", 24)
        return Told(
            watched.group,
            watched.store,
            watched.variables,
            RecordedChannel(),
            Artifacts(str(tmp_path), s3_endpoint=None),
        )

    return make


@pytest.fixture
def told(make_told: Callable[..., Told]) -> Told:
    return make_told()


OUTAGE = {(row, hour): "silent" for row in (0, 1) for hour in range(60, 66)}


def test_hours_of_anomalies_in_many_variables_are_one_message(told: Told) -> None:
    told.live(48, 100, OUTAGE)
    (incident,) = told.store.incidents(told.group)
    assert (incident.start, incident.end) == (START + 60 * HOUR, START + 66 * HOUR)
    assert incident.resolved
    assert [v.variable for v in incident.variables] == ["a", "b"]
    assert len(told.channel.messages) == 1
    assert told.channel.edits[-1].says_the_same_as(incident)
    assert incident.chart is not None
    assert incident.slack_ts == "1.0"


def test_live_and_backfilled_ranges_end_with_the_same_incidents(make_told: Callable[..., Told]) -> None:
    kinds = OUTAGE | {(0, 75): "surge", (1, 90): "drop", (0, 120): "drop", (1, 121): "drop"}
    live, backfilled = make_told(), make_told(name="copy")
    live.live(48, 150, kinds)
    backfilled.judge(48, 150, kinds)
    backfilled.alert(48, 150)

    def said(told: Told) -> list[tuple[object, ...]]:
        return [(i.kind, i.start, i.end, i.resolved, i.variables) for i in told.store.incidents(told.group)]

    assert said(live) == said(backfilled)
    assert len(said(live)) == 2
    assert len(live.channel.messages) == len(backfilled.channel.messages) == 2


def test_nothing_is_posted_twice_whatever_is_run_again(told: Told) -> None:
    told.judge(48, 100, OUTAGE)
    first = told.alert(48, 100)
    for again in ((48, 100), (60, 62), (90, 100)):
        report = told.alert(*again)
        assert (report.opened, report.changed, report.posted, report.edited) == (0, 0, 0, 0)
    assert (first.opened, first.posted) == (1, 1)


def test_while_slack_is_down_the_outbox_keeps_the_message_and_the_next_run_delivers_it(told: Told) -> None:
    told.judge(48, 100, OUTAGE)
    told.channel.down = SlackUnavailableError("down")
    with pytest.raises(SlackUnavailableError):
        told.alert(48, 100)
    assert told.store.waiting(told.group) == 1
    told.channel.down = None
    report = told.alert(48, 100, now=START + 200 * HOUR)
    assert (report.posted, report.waiting) == (1, 0)


def test_a_message_that_slack_refuses_fails_the_task_and_is_kept(told: Told) -> None:
    told.judge(48, 100, OUTAGE)
    told.channel.down = SlackRejectedError("channel_not_found")
    with pytest.raises(SlackRejectedError, match="channel_not_found"):
        told.alert(48, 100)
    assert told.store.waiting(told.group) == 1


def test_a_single_odd_interval_is_no_incident(told: Told) -> None:
    told.judge(48, 100, {(0, 60): "drop"})
    report = told.alert(48, 100)
    assert (report.anomalies, report.opened) == (1, 0)


def test_late_rows_that_explain_an_incident_withdraw_it_and_edit_its_message(told: Told) -> None:
    told.judge(48, 62, OUTAGE)
    told.alert(61, 62)
    told.judge(48, 63, {})
    report = told.alert(62, 63)
    assert report.withdrawn == 1
    assert told.store.incidents(told.group) == ()
    assert told.channel.edits[-1].withdrawn


def test_an_incident_withdrawn_before_it_was_told_is_never_told(told: Told) -> None:
    told.judge(48, 62, OUTAGE)
    told.channel.down = SlackUnavailableError("down")
    with pytest.raises(SlackUnavailableError):
        told.alert(61, 62)
    told.channel.down = None
    told.judge(48, 63, {})
    told.alert(62, 63, now=START + 100 * HOUR)
    assert told.channel.messages == {}
    assert told.store.waiting(told.group) == 0


def test_two_incidents_that_grow_together_become_the_older_one(told: Told) -> None:
    apart = {(0, h): "drop" for h in (60, 61, 80, 81)}
    told.judge(48, 100, apart)
    told.alert(48, 100)
    first, second = told.store.incidents(told.group)
    told.judge(48, 100, apart | {(1, 70): "drop"})
    told.alert(48, 100)
    (one,) = told.store.incidents(told.group)
    assert one.id == first.id
    assert one.end == second.end
    assert len(told.channel.messages) == 2


def test_a_run_that_died_before_it_enqueued_is_made_up_for_by_the_next(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.judge(48, 100, OUTAGE)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(told.store, "enqueue", die)
        with pytest.raises(KeyboardInterrupt):
            told.alert(48, 100)
    assert len(told.store.incidents(told.group)) == 1
    assert told.alert(48, 100).posted == 1


def test_a_message_refused_for_weeks_stands_in_nobody_s_way(told: Told) -> None:
    told.judge(48, 100, OUTAGE)
    told.channel.down = SlackRejectedError("channel_not_found")
    now = START + 200 * HOUR
    for _ in range(60):
        with pytest.raises(SlackRejectedError):
            told.alert(48, 100, now=now)
        now += 7 * HOUR
    told.channel.down = None
    assert told.alert(48, 100, now=now).posted == 1


def test_changes_while_slack_is_down_are_told_in_one_message(told: Told) -> None:
    told.channel.down = SlackUnavailableError("down")
    for hour in range(60, 66):
        told.judge(48, hour + 1, OUTAGE)
        with contextlib.suppress(SlackUnavailableError):
            told.alert(hour, hour + 1)
    assert told.store.waiting(told.group) == 1
    told.channel.down = None
    report = told.alert(66, 67, now=START + 200 * HOUR)
    assert (report.posted, report.edited) == (1, 0)
    (incident,) = told.channel.messages.values()
    assert incident.end == START + 66 * HOUR


def test_an_edit_tells_what_changed_there_and_back_and_there_again(told: Told) -> None:
    more = OUTAGE | {(0, 70): "drop"}
    told.judge(48, 100, OUTAGE)
    told.alert(48, 100)
    for kinds in (more, OUTAGE, more):
        told.judge(48, 100, kinds)
        assert told.alert(48, 100).edited == 1
    assert told.channel.edits[-1].end == START + 71 * HOUR


def test_a_message_that_somebody_deleted_is_posted_anew_by_the_run_that_notices(told: Told) -> None:
    told.judge(48, 62, OUTAGE)
    told.alert(61, 62)
    told.channel.delete("1.0")
    told.judge(48, 63, OUTAGE)
    assert told.alert(62, 63).posted == 1
    assert told.alert(62, 63).posted == 0
    (incident,) = told.store.incidents(told.group)
    assert incident.slack_ts == "2.0"


def test_an_incident_that_was_open_when_the_scheduler_paused_is_resolved_afterwards(told: Told) -> None:
    told.judge(48, 66, OUTAGE)
    told.alert(65, 66)
    told.judge(66, 400, {})
    told.alert(399, 400)
    (incident,) = told.store.incidents(told.group)
    assert incident.resolved
    assert told.channel.edits[-1].resolved


def test_two_alerts_at_once_post_once(told: Told) -> None:
    told.judge(48, 100, OUTAGE)
    with ThreadPoolExecutor(2) as pool:
        reports = [done.result() for done in [pool.submit(told.alert, 48, 100) for _ in range(2)]]
    assert sum(r.opened for r in reports) == 1
    assert len(told.channel.messages) == 1


def test_the_chart_is_rebuilt_from_the_metadata_to_the_last_byte(told: Told) -> None:
    told.judge(48, 100, OUTAGE)
    told.alert(48, 100)
    (incident,) = told.store.incidents(told.group)
    charts = MatplotlibCharts()
    one, other = (charts.incident(chart_data(told.group, incident, told.store)) for _ in range(2))
    assert one == other
    assert one.startswith(b"\x89PNG")


def test_a_variable_that_the_group_no_longer_selects_keeps_its_place_in_the_charts_of_its_past(told: Told) -> None:
    told.judge(48, 100, OUTAGE)
    told.alert(48, 100)
    (incident,) = told.store.incidents(told.group)
    narrower = told.group.model_copy(update={"variables": VariableSelection(names=("another",))})
    names = [part.variable for part in chart_data(narrower, incident, told.store).variables]
    assert names == [part.variable for part in chart_data(told.group, incident, told.store).variables] != []


def test_a_chart_shows_days_before_the_incident_and_no_more_than_was_judged(told: Told) -> None:
    told.judge(48, 100, OUTAGE)
    told.alert(48, 100)
    (incident,) = told.store.incidents(told.group)
    data = chart_data(told.group, incident, told.store)
    part = data.variables[0]
    assert part.starts[0] == np.datetime64("2026-01-01T00:00:00")
    assert len(part.starts) == (incident.end + timedelta(days=1) - START) // HOUR
    assert part.anomalous.sum() == 6
