"""Incidents, their outbox and what is rare, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from anomaly.adapters.postgres.store import PostgresStore
from anomaly.detection.causes import Shared
from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit, Incident, IncidentVariable, OutboxEntry, Predictions, Said, Variable
from tests.stages.watched import fitted

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 1, tzinfo=UTC)
DAY = TimeRange(START, START + 24 * HOUR, HOUR)


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group()


@pytest.fixture
def store(metadata_database: dict[str, str]) -> PostgresStore:
    return PostgresStore(metadata_database)


def _incident(**changes: object) -> Incident:
    part = IncidentVariable(
        variable="a.b",
        kind="silent",
        start=START,
        end=START + 3 * HOUR,
        anomalies=3,
        observed=0.0,
        expected=30.0,
        tail_probability=1e-7,
        allowed=1e-5,
        test="silence",
        stretch=9 * HOUR,
        usual=2 * HOUR,
    )
    whole = Incident(
        group="orders",
        kind="silent",
        start=START,
        end=START + 3 * HOUR,
        resolved=False,
        tail_probability=1e-7,
        return_period_hours=1e7,
        variables=(part, replace(part, variable="a.c", stretch=None, usual=None, test="single")),
        severity="high",
        shared=(Shared("prefix", "a.", 2, 2, 0, 5, "b."), Shared("type", "numeric", 2, 7)),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def _predicted(store: PostgresStore, group: Group) -> tuple[Variable, ...]:
    """Three variables over a day: b is judged in its first twelve hours only, a is rare at 5 and anomalous at 6."""
    store.save_fit(Fit("f1", group.name, DAY, {}, 1, "promoted", serves_from=START))
    variables = store.enrol(group, {"a": "numeric", "b": "date", "c": None}, first_interval=START)
    store.save_fitted("f1", [fitted(v, tail_probability=1e-4) for v in variables[:2]], [])
    shape = (3, 24)
    tails, kinds = np.full(shape, 0.5), np.full(shape, "", dtype="<U16")
    tails[0, 5:7] = 0.004, 1e-6
    kinds[0, 6] = "drop"
    tails[2, 6] = 0.01
    predicted = np.full(shape, 20.0)
    predicted[1, 12:] = np.nan
    made = Predictions(
        fit_id="f1",
        variables=variables,
        starts=DAY.starts(),
        observed=np.full(shape, 7.0),
        predicted=predicted,
        lower=np.full(shape, 10.0),
        upper=np.full(shape, 30.0),
        residuals=np.full(shape, -3.0),
        tail_probabilities=tails,
        felt=np.full(shape, 7.0),
        outlook=np.full(shape, 7.0),
        kinds=kinds,
        tests=np.full(shape, "sum-3", dtype="<U16"),
    )
    store.write_predictions(group, made)
    return variables


def _deliver(store: PostgresStore, group: Group) -> OutboxEntry:
    with store.due(group, at=START) as (entry,):
        store.delivered(entry, channel="C1", ts="1.0", permalink=None, chart=None, told="digest", at=START)
        return entry


def test_an_incident_comes_back_with_all_that_is_known_of_it(store: PostgresStore, group: Group) -> None:
    (saved,) = store.save_incidents(group, [_incident()])
    assert store.incidents(group) == (saved,)
    assert replace(saved, id=None) == _incident()
    (changed,) = store.save_incidents(group, [replace(saved, severity="critical", shared=())])
    assert store.incidents(group) == (changed,)


def test_an_anomaly_comes_with_its_test_and_the_probability_that_its_threshold_allows(
    store: PostgresStore, group: Group
) -> None:
    _predicted(store, group)
    (anomaly,) = store.anomalies(group, DAY)
    assert (anomaly.variable, anomaly.allowed, anomaly.test) == ("a", 1e-4, "sum-3")


def test_what_is_rare_is_read_of_the_intervals_asked_for_and_of_who_was_judged_in_them(
    store: PostgresStore, group: Group
) -> None:
    _predicted(store, group)
    rare = store.rare(group, [START + 5 * HOUR, START + 6 * HOUR], at_most=0.01)
    assert rare.judged == {"a": "numeric", "b": "date", "c": None}
    found = [(a.variable, (a.start - START) // HOUR, a.kind, a.tail_probability, a.allowed) for a in rare.anomalies]
    assert found == [("a", 5, "", 0.004, 1e-4), ("a", 6, "drop", 1e-6, 1e-4), ("c", 6, "", 0.01, 1.0)]
    late = store.rare(group, [START + 20 * HOUR], at_most=0.01)
    assert (late.judged, late.anomalies) == ({"a": "numeric", "c": None}, ())


def test_what_the_channel_was_told_last_is_known_from_posts_and_notices_but_not_from_edits(
    store: PostgresStore, group: Group
) -> None:
    (saved,) = store.save_incidents(group, [_incident()])
    assert saved.id is not None
    store.enqueue(saved.id, "post")
    _deliver(store, group)
    (told,) = store.incidents(group)
    assert (told.told_severity, told.told_variables, told.told_tail_probability) == ("high", 2, 1e-7)

    store.save_incidents(group, [replace(told, severity="critical")])
    store.enqueue(saved.id, "update")
    _deliver(store, group)
    (edited,) = store.incidents(group)
    assert edited.told_severity == "high"
    store.enqueue(saved.id, "notice")
    _deliver(store, group)
    (noticed,) = store.incidents(group)
    assert noticed.told_severity == "critical"


def _said(**changes: object) -> Said:
    return replace(Said("high", ("a.b", "a.c"), 1e-7, resolved=False, withdrawn=False), **changes)  # type: ignore[arg-type]


def test_an_edit_and_a_reply_wait_side_by_side_and_a_waiting_post_tells_it_all(
    store: PostgresStore, group: Group
) -> None:
    (saved,) = store.save_incidents(group, [_incident()])
    assert saved.id is not None
    assert store.enqueue(saved.id, "post")
    assert not store.enqueue(saved.id, "reply", said=_said())
    assert _deliver(store, group).action == "post"
    assert store.enqueue(saved.id, "update")
    assert store.enqueue(saved.id, "reply", said=_said())
    for action in ("update", "reply", "notice", "pointer"):
        assert not store.enqueue(saved.id, action, said=_said())
    with store.due(group, at=START) as entries:
        assert [entry.action for entry in entries] == ["update", "reply"]
        assert len({entry.key for entry in entries}) == 2


def test_what_a_waiting_reply_says_does_not_change(store: PostgresStore, group: Group) -> None:
    (saved,) = store.save_incidents(group, [_incident()])
    assert saved.id is not None
    store.enqueue(saved.id, "reply", said=_said(severity="critical"))
    store.enqueue(saved.id, "reply", said=_said(resolved=True))
    assert _deliver(store, group).said == _said(severity="critical")
    assert store.incidents(group)[0].thread == _said(severity="critical")


def test_keys_name_the_incident_by_its_group_and_start(store: PostgresStore, group: Group) -> None:
    first, second = store.save_incidents(group, [_incident(), _incident(start=START + HOUR)])
    assert first.id is not None
    assert second.id is not None
    store.enqueue(second.id, "post")
    store.enqueue(first.id, "post")
    with store.due(group, at=START) as entries:
        assert [entry.key for entry in entries] == ["orders-20260201T0100Z-post-0", "orders-20260201T0000Z-post-0"]


def test_what_may_have_to_be_told_is_found_without_anything_new(store: PostgresStore, group: Group) -> None:
    over = _incident(resolved=True)
    going_on, waits, untold, kept, told, gone = store.save_incidents(
        group, [_incident(), *(replace(over, start=START - n * HOUR) for n in range(5))]
    )
    for incident, place in ((waits, "waiting"), (kept, "digest")):
        store.place(incident.id or 0, place, reason="", at=START)  # type: ignore[arg-type]
    for incident in (told, gone):
        store.enqueue(incident.id or 0, "post")
        with store.due(group, at=START) as (entry,):
            where = {"channel": "C1", "ts": "1.0", "permalink": None, "chart": None, "told": ""}
            store.delivered(entry, at=START, said=_said(resolved=True), **where)  # type: ignore[arg-type]
    store.save_incidents(group, [], withdrawn=[gone.id or 0])
    assert {i.id for i in store.unsettled(group)} == {going_on.id, waits.id, untold.id, gone.id}


def test_an_incident_told_before_severities_were_is_measured_from_its_next_delivery(
    store: PostgresStore, group: Group, metadata_database: dict[str, str]
) -> None:
    import psycopg2

    (saved,) = store.save_incidents(group, [_incident()])
    assert saved.id is not None
    with psycopg2.connect(**metadata_database) as link, link.cursor() as cursor:
        cursor.execute("UPDATE incidents SET slack_ts = '1.0', channel = 'C1', told = 'old'")
    link.close()
    (old,) = store.incidents(group)
    assert not old.clearly_worse
    store.enqueue(saved.id, "update")
    _deliver(store, group)
    assert store.incidents(group)[0].told_severity == "high"


def test_an_incident_told_before_there_were_threads_has_one_that_said_what_its_message_says(
    store: PostgresStore, group: Group, metadata_database: dict[str, str]
) -> None:
    from anomaly.adapters.postgres.migrate import migrate
    from tests.adapters.test_store import _downgrade

    told, untold = store.save_incidents(group, [_incident(), _incident(start=START + 9 * HOUR, end=START + 10 * HOUR)])
    store.enqueue(told.id or 0, "post")
    _deliver(store, group)
    store.enqueue(told.id or 0, "update")
    _downgrade(metadata_database, "0006")
    migrate(metadata_database)

    before, other = store.incidents(group)
    assert before.thread == _said()
    assert (other.id, other.thread) == (untold.id, None)
    assert _deliver(store, group).action == "update"
