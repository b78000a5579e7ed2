"""Planning a backtest, and comparing what two policies would have said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from anomaly.detection.incidents import Incident, IncidentVariable
from anomaly.groups import Group
from anomaly.ports.labels import Label
from anomaly.stages.backtest import Alert, Outcome, Refit, confirmed, differences, plan, same_fits

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group()


def weekly(*days: int) -> tuple[Refit, ...]:
    return tuple(Refit(START + day * DAY + HOUR, START + day * DAY) for day in days)


def alert(day: float, *names: str, hours: int = 6, told: int | None = 1, number: int = 0, **changes: Any) -> Alert:
    start = START + day * DAY
    end = start + hours * HOUR
    parts = tuple(IncidentVariable(name, "drop", start, end, hours, 1.0, 9.0, 1e-9) for name in names)
    values: dict[str, Any] = {"kind": "drop", "severity": "low", "id": number or int(day * 100)} | changes
    incident = Incident("orders", start=start, end=end, resolved=True, tail_probability=1e-9,
                        return_period_hours=1e9, variables=parts, **values)  # fmt: skip
    return Alert(incident, None if told is None else start + told * HOUR)


def said(group: Group, *alerts: Alert) -> Outcome:
    return Outcome(group, group.range(START + 50 * DAY, START + 80 * DAY), (), tuple(alerts))


def label(day: float, word: Any, *names: str, number: int = 1) -> Label:
    start = START + day * DAY
    return Label("orders", start, start + 6 * HOUR, names, word, "ann", "page", start, id=number)


# --- plans --------------------------------------------------------------------------------------------------------


def test_a_replay_begins_with_the_last_fit_before_the_run_in(group: Group) -> None:
    within = group.range(START + 60 * DAY, START + 80 * DAY)
    found = plan(group, within, weekly(30, 37, 44, 51, 58, 65, 72, 79), run_in=14 * DAY)
    assert [r.until for r in found.refits] == [START + d * DAY for d in (44, 51, 58, 65, 72, 79)]


def test_without_enough_history_a_replay_begins_with_the_first_fit_that_has_it(group: Group) -> None:
    within = group.range(START, START + 30 * DAY)
    found = plan(group, within, weekly(7, 14, 21, 28))
    assert [r.until for r in found.refits] == [START + d * DAY for d in (21, 28)]


def test_parts_cover_everything_from_the_first_fit_to_the_end_once(group: Group) -> None:
    within = group.range(START + 60 * DAY, START + 80 * DAY)
    found = plan(group, within, weekly(44, 51, 58, 65, 72, 79))
    parts = [part for _, part in found.parts() if part is not None]
    assert parts[0].start == found.refits[0].until
    assert parts[-1].end == within.end
    assert all(one.end == other.start for one, other in pairwise(parts))
    assert found.intervals == sum(len(part) for part in parts)


def test_where_no_fit_is_scheduled_there_is_nothing_to_replay(group: Group) -> None:
    found = plan(group, group.range(START, START + 5 * DAY), ())
    assert found.refits == ()
    assert found.intervals == 0
    assert said(group).per_week == 0


# --- policies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"threshold": {"false_alerts_per_week": 3, "min_relative": 0.5}}, True),
        ({"incidents": {"min_anomalies": 9}}, True),
        ({"slack": {"channel": "#other", "quiet_hours": ["mon-sun 22:00-07:00"]}}, True),
        ({"incidents": {"merge_gap": "6h"}}, False),
        ({"candidates": ["seasonal-naive"]}, False),
        ({"history": {"length": "60d"}}, False),
    ],
)
def test_fits_are_shared_by_policies_that_do_not_change_what_is_learned(
    make_group: Callable[..., Group], *, changes: dict[str, Any], shared: bool
) -> None:
    assert same_fits(make_group(), make_group(**changes)) is shared


def test_alerts_that_overlap_and_share_a_variable_are_the_same_and_others_come_and_go(group: Group) -> None:
    before = said(group, alert(51, "a"), alert(53, "a"), alert(55, "a", "b", severity="high"))
    after = said(group, alert(51, "a"), alert(53, "c"), alert(55, "b", told=4))
    found = differences(before, after)
    assert [(d.how, bool(d.before), bool(d.after)) for d in found] == [
        ("stays", True, True),
        ("disappears", True, False),
        ("appears", False, True),
        ("changes", True, True),
    ]
    assert found[-1].what == ("low instead of high", "1 fewer", "told 3 h later")


def test_what_the_channel_does_not_hear_of_is_no_alert(group: Group) -> None:
    quiet = said(group, alert(51, "a", told=None))
    assert quiet.per_week == 0
    assert [d.how for d in differences(said(group, alert(51, "a")), quiet)] == ["disappears"]
    assert differences(quiet, quiet) == ()


def test_what_goes_to_the_digest_is_said_and_counts_as_heard(group: Group) -> None:
    listed = replace(alert(51, "a", told=None), listed_at=START + 52 * DAY)
    before, after = said(group, alert(51, "a")), said(group, listed)
    assert [(d.how, d.what) for d in differences(before, after)] == [("disappears", ("a digest names it",))]
    assert [(d.how, d.what) for d in differences(after, before)] == [("appears", ("a digest named it",))]
    assert confirmed(after, [label(51, "real", "a")]).lost == ()


def test_an_alert_is_matched_with_one_other_only(group: Group) -> None:
    long, parts = said(group, alert(51, "a", hours=48)), said(group, alert(51, "a"), alert(52, "a"))
    assert sorted(d.how for d in differences(long, parts)) == ["appears", "changes"]


# --- labels -------------------------------------------------------------------------------------------------------


def test_confirmed_incidents_are_kept_or_lost_by_what_the_channel_hears(group: Group) -> None:
    labels = [
        label(51, "real", "a", number=1),
        label(53, "real", "a", number=2),
        label(55, "false_alarm", "b", number=3),
    ]
    found = confirmed(said(group, alert(51, "a"), alert(53, "a", told=None), alert(55, "b"), alert(57, "c")), labels)
    assert [one.id for one in found.kept] == [1]
    assert [one.id for one in found.lost] == [2]
    assert found.words == {"real": 1, "expected": 0, "false_alarm": 1, "": 1}


def test_a_label_of_another_variable_says_nothing_of_an_alert(group: Group) -> None:
    found = confirmed(said(group, alert(51, "a")), [label(51, "real", "z")])
    assert found.labelled == {}
    assert len(found.lost) == 1
