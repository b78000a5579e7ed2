"""Labels count: for thresholds, for what was told, for training. On a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.detection.incidents import Incident, gather
from anomaly.exceptions import LabelRefusedError, UnknownIncidentError
from anomaly.groups import TimeRange
from anomaly.ports.labels import Adjustment, LabelWord
from anomaly.stages import label as stage
from anomaly.stages.labelled import factors_at, since
from tests.fakes import PassingChecks
from tests.stages.conftest import HOUR, START, rows_in
from tests.stages.watched import HISTORY, WEEK, Watched

NOW = START + (HISTORY + WEEK) * HOUR
JUDGED = WEEK
BLIPS = (30, 60, 90, 120)
"""Hours after the history in which variable `a` has a third more than expected, and `b` nothing unusual."""
OUTAGE = slice(148, 156)


@pytest.fixture
def labels(metadata_database: dict[str, str]) -> PostgresLabels:
    return PostgresLabels(metadata_database)


@pytest.fixture
def watched(make_watched: Callable[..., Watched], labels: PostgresLabels) -> Watched:
    """A week with four small blips of one variable, and an outage of both."""
    counts = np.full((2, HISTORY + JUDGED), 100.0)
    for at, blip in enumerate(BLIPS):
        counts[0, HISTORY + blip] = 147.0 + 2 * at
    counts[:, HISTORY + OUTAGE.start : HISTORY + OUTAGE.stop] = 0
    made = make_watched(counts, incidents={"merge_gap": "2h", "min_anomalies": 1, "repeat_window": "0h"})
    made.checks, made.labels = PassingChecks(), labels
    made.promote("f1", HISTORY, threshold=4.2)
    made.predict(HISTORY, HISTORY + JUDGED)
    return made


@pytest.fixture
def incidents(watched: Watched, store: PostgresStore) -> tuple[Incident, ...]:
    return gathered(watched, store)


def gathered(watched: Watched, store: PostgresStore) -> tuple[Incident, ...]:
    """What alert would save of the week."""
    group = watched.group
    within = TimeRange(START + HISTORY * HOUR, NOW, HOUR)
    found = gather(
        group.name,
        store.anomalies(group, within),
        step=HOUR,
        merge_gap=group.incidents.merge_gap,
        min_anomalies=1,
        until=within.end,
    )
    return store.save_incidents(group, found)


def give(
    watched: Watched,
    incident: Incident,
    word: LabelWord,
    labels: PostgresLabels,
    *,
    reason: str = "",
    author: str = "Ada",
    after: timedelta = timedelta(0),
) -> stage.Label:
    assert incident.id is not None
    return stage.give(
        watched.group,
        incident.id,
        word,
        reason=reason,
        author=author,
        via="cli",
        store=watched.store,
        labels=labels,
        now=NOW + after,
    )


def effect(watched: Watched, incident: Incident, word: LabelWord, labels: PostgresLabels) -> stage.Effect:
    assert incident.id is not None
    return stage.effect_of(watched.group, incident.id, word, store=watched.store, labels=labels, now=NOW)


def test_the_week_has_an_incident_for_each_blip_and_one_for_the_outage(incidents: tuple[Incident, ...]) -> None:
    assert [[v.variable for v in i.variables] for i in incidents] == [["a"], ["a"], ["a"], ["a"], ["a", "b"]]


def test_a_false_alarm_moves_its_variables_threshold_from_the_first_interval_that_is_not_judged(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels
) -> None:
    given = give(watched, incidents[0], "false_alarm", labels)
    (adjustment,) = labels.adjustments(watched.group)
    assert (adjustment.variable, adjustment.serves_from) == ("a", NOW)
    assert adjustment.factor == pytest.approx(1 / 3)
    assert adjustment.label_id == given.id
    assert f"Ada called incident {incidents[0].id} a false alarm" in adjustment.reason


def test_the_effect_that_was_announced_is_the_one_that_comes(
    watched: Watched,
    incidents: tuple[Incident, ...],
    labels: PostgresLabels,
    store: PostgresStore,
) -> None:
    announced = effect(watched, incidents[0], "false_alarm", labels)
    give(watched, incidents[0], "false_alarm", labels)
    # The same week again, in which the adjustment serves from the beginning.
    (adjustment,) = labels.adjustments(watched.group)
    labels.adjust([replace(adjustment, serves_from=START + HISTORY * HOUR)])
    watched.predict(HISTORY, HISTORY + JUDGED)
    after = gathered(watched, store)
    assert 0 < announced.removed < len(BLIPS)
    assert len(after) == len(incidents) - announced.removed
    assert str(announced) == f"removes {announced.removed} of the last 90 days' alerts, loses 0 confirmed"
    assert announced.factors["a"] == pytest.approx((1.0, 1 / 3))


def test_giving_and_taking_back_leave_earlier_verdicts_as_they_were(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels
) -> None:
    before = watched.predictions(HISTORY, HISTORY + JUDGED)
    give(watched, incidents[0], "false_alarm", labels)
    watched.predict(HISTORY, HISTORY + JUDGED)
    again = watched.predictions(HISTORY, HISTORY + JUDGED)
    for name in ("predicted", "tail_probabilities", "lower", "upper", "felt", "kinds"):
        np.testing.assert_array_equal(getattr(before, name), getattr(again, name))


def test_intervals_after_the_label_are_judged_by_the_wider_threshold_in_parts_or_at_once(
    make_watched: Callable[..., Watched], labels: PostgresLabels
) -> None:
    from anomaly.ports.labels import Adjustment

    counts = np.full((2, HISTORY + 48), 100.0)
    counts[0, HISTORY + 10] = counts[0, HISTORY + 30] = 152.0
    found = []
    for name, hours in (("orders", 4), ("copy", 48)):
        watched = make_watched(counts, name=name)
        watched.checks, watched.labels = PassingChecks(), labels
        watched.promote(f"fit of {name}", HISTORY, threshold=4.2)
        labels.adjust([Adjustment(name, "a", START + (HISTORY + 20) * HOUR, 0.01, "")])
        for first in range(HISTORY, HISTORY + 48, hours):
            watched.predict(first, first + hours)
        found.append(watched.predictions(HISTORY, HISTORY + 48))
    one, other = found
    for name in ("predicted", "tail_probabilities", "lower", "upper", "felt", "kinds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (one.kinds[0, 10], one.kinds[0, 30]) == ("surge", "")
    assert one.upper[0, 30] > one.upper[0, 10]
    assert one.upper[1, 30] == one.upper[1, 10]


def test_what_an_anomaly_was_allowed_is_the_probability_that_it_was_judged_by(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels, store: PostgresStore
) -> None:
    within = TimeRange(START + HISTORY * HOUR, NOW, HOUR)
    before = {(a.variable, a.start): a.allowed for a in store.anomalies(watched.group, within)}
    give(watched, incidents[0], "false_alarm", labels)
    assert {(a.variable, a.start): a.allowed for a in store.anomalies(watched.group, within)} == before
    (adjustment,) = labels.adjustments(watched.group)
    labels.adjust([replace(adjustment, serves_from=START)])
    after = {(a.variable, a.start): a.allowed for a in store.anomalies(watched.group, within)}
    assert {key: value / before[key] for key, value in after.items()} == pytest.approx(
        {(name, at): 1 / 3 if name == "a" else 1.0 for name, at in before}
    )


def test_a_label_that_is_undone_before_its_adjustment_serves_never_comes_back(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels
) -> None:
    """As when labels are imported into an empty installation, whose past is judged afterwards."""
    later = NOW + 48 * HOUR
    labels.adjust([Adjustment("orders", "a", later, 1 / 3, "imported")])
    give(watched, incidents[0], "real", labels)
    assert factors_at(labels.adjustments(watched.group), later + HOUR) == {}


def test_another_word_undoes_what_the_first_led_to(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels
) -> None:
    give(watched, incidents[0], "false_alarm", labels)
    give(watched, incidents[0], "real", labels, after=HOUR)
    assert factors_at(labels.adjustments(watched.group), NOW) == {}
    assert [held.word for held in labels.labels(watched.group)] == ["real"]


def test_a_label_that_is_taken_back_leaves_thresholds_as_if_it_had_never_been(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels
) -> None:
    give(watched, incidents[0], "false_alarm", labels)
    give(watched, incidents[1], "false_alarm", labels)
    for incident in incidents[:2]:
        assert incident.id is not None
        back = stage.take_back(
            watched.group, incident.id, author="Ada", store=watched.store, labels=labels, now=NOW + HOUR
        )
        assert back is not None
    assert factors_at(labels.adjustments(watched.group), NOW) == {}
    assert incidents[2].id is not None
    nothing = stage.take_back(watched.group, incidents[2].id, author="Ada", store=watched.store, labels=labels, now=NOW)
    assert nothing is None


def test_saying_the_same_again_changes_nothing(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels, metadata_database: dict[str, str]
) -> None:
    first = give(watched, incidents[0], "false_alarm", labels)
    before = rows_in(metadata_database, "SELECT * FROM adjustments")
    assert give(watched, incidents[0], "false_alarm", labels, after=HOUR) == first
    assert rows_in(metadata_database, "SELECT * FROM adjustments") == before


def test_the_message_of_a_labelled_incident_is_edited_if_it_has_one(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels, store: PostgresStore
) -> None:
    give(watched, incidents[0], "false_alarm", labels)
    assert store.waiting(watched.group) == 0
    assert incidents[1].id is not None
    store.enqueue(incidents[1].id, "post")
    with store.due(watched.group, at=NOW) as (entry,):
        store.delivered(entry, channel="C1", ts="1.0", permalink=None, chart=None, told="old", at=NOW)
    give(watched, incidents[1], "false_alarm", labels)
    with store.due(watched.group, at=NOW + timedelta(days=1)) as (entry,):
        assert (entry.action, entry.incident.id) == ("update", incidents[1].id)


def test_a_false_alarm_that_would_lose_a_confirmed_incident_says_so(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels
) -> None:
    give(watched, incidents[0], "real", labels)
    said = effect(watched, incidents[1], "false_alarm", labels)
    assert (said.confirmed, said.lost) == (1, 1)
    assert str(said).endswith("loses 1 confirmed")


def test_a_confirmed_outage_is_lost_by_no_number_of_false_alarms(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels
) -> None:
    give(watched, incidents[-1], "real", labels)
    for incident in incidents[:-2]:
        give(watched, incident, "false_alarm", labels)
    said = effect(watched, incidents[-2], "false_alarm", labels)
    assert (said.confirmed, said.lost) == (1, 0)


def test_a_real_incident_brings_back_what_false_alarms_had_removed(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels
) -> None:
    give(watched, incidents[0], "false_alarm", labels)
    said = effect(watched, incidents[-1], "real", labels)
    assert said.added > 0
    assert str(said).startswith(f"brings back {said.added} of the last 90 days' alerts")
    hours = OUTAGE.stop - OUTAGE.start
    assert said.masked == 2 * hours


def test_variables_that_only_joined_an_incident_keep_their_thresholds(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels, store: PostgresStore
) -> None:
    joined = replace(
        incidents[0],
        variables=(*incidents[0].variables, replace(incidents[0].variables[0], variable="b", test="together")),
    )
    store.save_incidents(watched.group, [joined])
    given = give(watched, joined, "false_alarm", labels)
    assert given.variables == ("a", "b")
    assert set(factors_at(labels.adjustments(watched.group), NOW)) == {"a"}


def test_a_silence_that_was_noticed_late_is_labelled_from_its_beginning(incidents: tuple[Incident, ...]) -> None:
    part = replace(incidents[-1].variables[0], test="silence", stretch=20 * HOUR)
    late = replace(incidents[-1], variables=(part,))
    assert since(late, HOUR) == part.end - 20 * HOUR
    assert since(incidents[-1], HOUR) == incidents[-1].start


def test_what_is_incomplete_or_unknown_is_refused_with_what_to_do(
    watched: Watched, incidents: tuple[Incident, ...], labels: PostgresLabels, store: PostgresStore
) -> None:
    with pytest.raises(LabelRefusedError, match="needs a reason"):
        give(watched, incidents[0], "expected", labels, reason="  ")
    with pytest.raises(LabelRefusedError, match="nobody's name"):
        give(watched, incidents[0], "real", labels, author=" ")
    with pytest.raises(UnknownIncidentError, match="no incident 999"):
        give(watched, replace(incidents[0], id=999), "real", labels)
    assert incidents[0].id is not None
    store.save_incidents(watched.group, [], withdrawn=[incidents[0].id])
    with pytest.raises(UnknownIncidentError, match="withdrawn"):
        give(watched, incidents[0], "real", labels)
    assert labels.labels(watched.group) == ()


def test_a_snooze_needs_a_moment_ahead_and_a_variable_that_is_watched(watched: Watched, labels: PostgresLabels) -> None:
    def snooze(variable: str | None, hours: int) -> stage.Snooze:
        until = NOW + hours * HOUR
        return stage.snooze(
            watched.group, variable, until, reason="", author="Ada", via="slack", labels=labels, now=NOW
        )

    kept = snooze(None, 4)
    assert labels.snoozes(watched.group, at=NOW) == (kept,)
    with pytest.raises(LabelRefusedError, match="after now"):
        snooze(None, 0)
    with pytest.raises(LabelRefusedError, match="within a year"):
        snooze(None, 24 * 400)
    watched.group = watched.group.model_copy(update={"variables": type(watched.group.variables)(names=("a", "b"))})
    with pytest.raises(LabelRefusedError, match="does not watch a variable 'z'"):
        snooze("z", 1)
