"""Labels, snoozes and adjustments on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.groups import Group, TimeRange
from anomaly.ports import Incident, IncidentVariable
from anomaly.ports.labels import Adjustment, Label, Snooze

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group()


@pytest.fixture
def labels(metadata_database: dict[str, str]) -> PostgresLabels:
    return PostgresLabels(metadata_database)


@pytest.fixture
def incident_id(group: Group, metadata_database: dict[str, str]) -> int:
    part = IncidentVariable("a", "drop", START, START + 3 * HOUR, 3, 1.0, 30.0, 1e-7)
    incident = Incident(
        group.name,
        "drop",
        START,
        START + 3 * HOUR,
        resolved=True,
        tail_probability=1e-7,
        return_period_hours=1e7,
        variables=(part,),
    )
    (saved,) = PostgresStore(metadata_database).save_incidents(group, [incident])
    assert saved.id is not None
    return saved.id


def _label(**changes: object) -> Label:
    whole = Label(
        group="orders",
        start=START,
        end=START + 3 * HOUR,
        variables=("b", "a"),
        own=("b",),
        word="false_alarm",
        author="Ada",
        via="slack",
        given_at=START + 5 * HOUR,
        reason="a test; with 'quotes'",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_a_label_is_read_as_it_was_given(group: Group, labels: PostgresLabels, incident_id: int) -> None:
    given = labels.give(_label(incident_id=incident_id))
    assert given.id is not None
    assert labels.labels(group) == (given,)
    assert labels.of_incidents([incident_id, incident_id + 1]) == {incident_id: given}
    assert replace(given, id=None) == _label(incident_id=incident_id)


def test_another_label_of_the_incident_takes_the_place_of_the_first(
    group: Group, labels: PostgresLabels, incident_id: int
) -> None:
    labels.give(_label(incident_id=incident_id))
    second = labels.give(_label(incident_id=incident_id, word="real", given_at=START + 6 * HOUR))
    assert labels.labels(group) == (second,)


def test_the_same_label_again_changes_nothing(group: Group, labels: PostgresLabels, incident_id: int) -> None:
    first = labels.give(_label(incident_id=incident_id))
    assert labels.give(_label(incident_id=incident_id, given_at=START + 9 * HOUR)) == first
    loose = labels.give(_label())
    assert labels.give(_label(given_at=START + 9 * HOUR)) == loose
    assert labels.labels(group) == (first, loose)


def test_a_label_that_was_given_earlier_does_not_replace_a_later_one(
    group: Group, labels: PostgresLabels, incident_id: int
) -> None:
    late = labels.give(_label(incident_id=incident_id, given_at=START + 6 * HOUR))
    assert labels.give(_label(incident_id=incident_id, word="real", given_at=START)) == late


def test_labels_given_at_the_same_moment_by_many_leave_exactly_one(
    group: Group, labels: PostgresLabels, incident_id: int
) -> None:
    people = [
        Thread(target=labels.give, args=(_label(incident_id=incident_id, author=f"person {n}"),)) for n in range(6)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(labels.labels(group)) == 1


def test_a_label_that_was_taken_back_holds_no_more_and_can_be_given_again(
    group: Group, labels: PostgresLabels, incident_id: int
) -> None:
    first = labels.give(_label(incident_id=incident_id))
    labels.take_back(first, at=START + 6 * HOUR)
    assert labels.labels(group) == ()
    labels.give(_label(incident_id=incident_id))
    assert labels.labels(group) == ()  # the same request, replayed
    again = labels.give(_label(incident_id=incident_id, given_at=START + 7 * HOUR))
    assert again.id != first.id
    assert labels.of_incidents([incident_id]) == {incident_id: again}


def test_labels_of_a_range_are_those_that_overlap_it(group: Group, labels: PostgresLabels) -> None:
    given = labels.give(_label())
    labels.give(_label(group="payments"))
    assert labels.labels(group, TimeRange(START - HOUR, START, HOUR)) == ()
    assert labels.labels(group, TimeRange(START + 2 * HOUR, START + 3 * HOUR, HOUR)) == (given,)
    assert labels.labels(group, TimeRange(START + 3 * HOUR, START + 4 * HOUR, HOUR)) == ()


def test_a_snooze_holds_from_its_start_until_its_end(group: Group, labels: PostgresLabels) -> None:
    long = labels.snooze(Snooze("orders", None, START, START + 8 * HOUR, "Ada", "page", START, "migration"))
    short = labels.snooze(Snooze("orders", "a", START, START + 2 * HOUR, "Ada", "slack", START))
    assert labels.snoozes(group, at=START - HOUR) == ()
    assert labels.snoozes(group, at=START) == (short, long)
    assert labels.snoozes(group, at=START + 2 * HOUR) == (long,)
    assert labels.snooze(replace(long, id=None, start=START + HOUR, given_at=START + HOUR)) == long


def test_a_snooze_can_be_ended_early_and_before_it_begins(group: Group, labels: PostgresLabels) -> None:
    begun = labels.snooze(Snooze("orders", "a", START, START + 8 * HOUR, "Ada", "page", START))
    ahead = labels.snooze(Snooze("orders", "b", START + 4 * HOUR, START + 8 * HOUR, "Ada", "page", START))
    for each in (begun, ahead):
        labels.end_snooze(each, at=START + 2 * HOUR)
    assert [s.variable for s in labels.snoozes(group, at=START + HOUR)] == ["a"]
    assert labels.snoozes(group, at=START + 5 * HOUR) == ()


def test_adjustments_are_upserted_by_variable_and_moment(group: Group, labels: PostgresLabels) -> None:
    label = labels.give(_label())
    first = Adjustment("orders", "a", START, 1 / 3, "Ada called it a false alarm", label.id)
    other = Adjustment("orders", "a", START + HOUR, 1.0, "taken back")
    labels.adjust([other, first])
    labels.adjust([replace(first, factor=1 / 9)])
    labels.adjust([Adjustment("payments", "a", START, 0.5, "")])
    assert labels.adjustments(group) == (replace(first, factor=1 / 9), other)
