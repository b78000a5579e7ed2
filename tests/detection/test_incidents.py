"""Incidents: what belongs together is one, however the intervals arrive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.incidents import Anomaly, Incident, gather

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 1, tzinfo=UTC)


def _anomaly(hour: int, variable: str = "a", kind: str = "drop", tail: float = 1e-5) -> Anomaly:
    return Anomaly(variable, START + hour * HOUR, kind, observed=1, predicted=9, residual=-4, tail_probability=tail)


def _gather(anomalies: list[Anomaly], *, until: int = 1000, gap: int = 6, least: int = 1) -> tuple[Incident, ...]:
    return gather(
        "orders",
        anomalies,
        step=HOUR,
        merge_gap=gap * HOUR,
        min_anomalies=least,
        until=START + until * HOUR,
    )


ANOMALIES = st.lists(st.tuples(st.integers(0, 200), st.sampled_from("abc")), max_size=40, unique=True).map(
    lambda cells: [_anomaly(hour, variable) for hour, variable in cells]
)


def test_many_variables_at_once_are_one_incident_with_the_worst_first() -> None:
    (incident,) = _gather([_anomaly(3, "a"), _anomaly(4, "b", tail=1e-9), _anomaly(5, "a")])
    assert [v.variable for v in incident.variables] == ["b", "a"]
    assert (incident.start, incident.end) == (START + 3 * HOUR, START + 6 * HOUR)
    assert incident.tail_probability == 1e-9
    assert incident.return_period_hours == 100_000 * 365.25 * 24
    assert incident.variables[1].anomalies == 2
    assert incident.variables[1].expected == 18


def test_a_gap_up_to_the_merge_gap_is_bridged_and_a_longer_one_is_not() -> None:
    assert len(_gather([_anomaly(0), _anomaly(7)], gap=6)) == 1
    assert len(_gather([_anomaly(0), _anomaly(8)], gap=6)) == 2


def test_an_incident_is_resolved_once_the_merge_gap_has_passed() -> None:
    assert not _gather([_anomaly(0)], until=7, gap=6)[0].resolved
    assert _gather([_anomaly(0)], until=8, gap=6)[0].resolved


def test_fewer_anomalies_than_asked_for_make_no_incident() -> None:
    assert _gather([_anomaly(0), _anomaly(50), _anomaly(51)], least=2)[0].start == START + 50 * HOUR


def test_the_kind_is_silent_only_when_nothing_was_written_at_all() -> None:
    assert _gather([_anomaly(0, kind="silent")])[0].kind == "silent"
    assert _gather([_anomaly(0, kind="silent"), _anomaly(1, kind="drop")])[0].kind == "drop"
    assert _gather([_anomaly(0, kind="surge"), _anomaly(1, kind="surge"), _anomaly(2)])[0].kind == "surge"


@given(ANOMALIES, st.randoms())
def test_the_order_of_arrival_does_not_matter(anomalies: list[Anomaly], random: object) -> None:
    shuffled = list(anomalies)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert _gather(shuffled) == _gather(anomalies)


@given(ANOMALIES)
def test_every_anomaly_is_in_exactly_one_incident(anomalies: list[Anomaly]) -> None:
    incidents = _gather(anomalies)
    assert sum(v.anomalies for i in incidents for v in i.variables) == len(anomalies)
    for one, next_one in pairwise(incidents):
        assert next_one.start - one.end > 6 * HOUR


@given(ANOMALIES, st.integers(0, 200))
def test_incidents_that_have_ended_do_not_change_with_what_comes_later(anomalies: list[Anomaly], cut: int) -> None:
    early = _gather([a for a in anomalies if a.start < START + cut * HOUR], until=cut)
    final = {(i.start, i.end): i for i in _gather(anomalies)}
    for incident in early:
        if incident.resolved:
            assert final[incident.start, incident.end] == incident
