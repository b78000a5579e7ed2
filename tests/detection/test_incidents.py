"""Incidents: what belongs together is one, however the intervals arrive."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.detection.incidents import GROWN, Anomaly, Incident, gather, grown, joined, rated, severity_points

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 1, tzinfo=UTC)


def _anomaly(
    hour: int,
    variable: str = "a",
    kind: str = "drop",
    tail: float = 1e-5,
    *,
    allowed: float = 1.0,
    test: str = "single",
) -> Anomaly:
    return Anomaly(
        variable,
        START + hour * HOUR,
        kind,
        observed=1,
        predicted=9,
        residual=-4,
        tail_probability=tail,
        allowed=allowed,
        test=test,
    )


def _gather(
    anomalies: list[Anomaly],
    *,
    until: int = 1000,
    gap: int = 6,
    least: int = 1,
    duration: int = 0,
    repeat: int = 0,
    since: int | None = None,
) -> tuple[Incident, ...]:
    return gather(
        "orders",
        anomalies,
        step=HOUR,
        merge_gap=gap * HOUR,
        min_anomalies=least,
        min_duration=duration * HOUR,
        repeat_window=repeat * HOUR,
        since=None if since is None else START + since * HOUR,
        until=START + until * HOUR,
    )


ANOMALIES = st.dictionaries(
    st.tuples(st.integers(0, 200), st.sampled_from("abc")),
    st.tuples(
        st.sampled_from(["drop", "silent", "surge", "frozen"]),
        st.sampled_from([1e-5, 1e-6, 1e-9]),
        st.sampled_from(["single", "sum-3", "sum-24", "frozen", "together"]),
    ),
    max_size=40,
).map(
    lambda cells: [
        _anomaly(hour, variable, kind, tail, allowed=1e-5, test=test)
        for (hour, variable), (kind, tail, test) in cells.items()
    ]
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
    assert _gather(shuffled, least=3, duration=2, repeat=100) == _gather(anomalies, least=3, duration=2, repeat=100)


@given(ANOMALIES)
def test_every_anomaly_is_in_exactly_one_incident(anomalies: list[Anomaly]) -> None:
    incidents = _gather(anomalies)
    assert sum(v.anomalies for i in incidents for v in i.variables) == len(anomalies)
    for one, next_one in pairwise(incidents):
        assert next_one.start - one.end > 6 * HOUR


@given(ANOMALIES, st.integers(0, 200))
def test_incidents_that_have_ended_do_not_change_with_what_comes_later(anomalies: list[Anomaly], cut: int) -> None:
    early = _gather([a for a in anomalies if a.start < START + cut * HOUR], until=cut, least=3, duration=2, repeat=100)
    final = {(i.start, i.end): i for i in _gather(anomalies, least=3, duration=2, repeat=100)}
    for incident in early:
        if incident.resolved:
            assert final[incident.start, incident.end] == incident


@given(ANOMALIES)
def test_an_incident_grows_through_what_was_gathered_as_its_anomalies_came_in(anomalies: list[Anomaly]) -> None:
    whole = _gather(anomalies, least=3, duration=2, repeat=100)
    found = grown(
        "orders", anomalies, step=HOUR, merge_gap=6 * HOUR, min_anomalies=3, min_duration=2 * HOUR,
        repeat_window=100 * HOUR, of={i.start for i in whole},
    )  # fmt: skip
    assert {start: states[-1] for start, states in found.items()} == {
        i.start: replace(i, resolved=False) for i in whole
    }
    for start, states in found.items():
        for state in states:
            known = [a for a in anomalies if a.start < state.end]
            then = _gather(known, until=0, least=3, duration=2, repeat=100)
            assert state == next(i for i in then if i.start == start)
        # The first is when it opened, and each of the others but the last has lasted twice as long as the one before.
        assert not any(
            i.start == start
            for i in _gather([a for a in anomalies if a.start < states[0].end - HOUR], least=3, duration=2, repeat=100)
        )
        for one, other in pairwise(states[:-1]):
            assert other.end - start >= GROWN * (one.end - start)


def test_only_incidents_that_are_asked_for_are_followed() -> None:
    anomalies = [_anomaly(0), _anomaly(100), _anomaly(101)]
    found = grown(
        "orders", anomalies, step=HOUR, merge_gap=6 * HOUR, min_anomalies=1, of=[START + 100 * HOUR, START + 7 * HOUR]
    )
    assert {start: len(states) for start, states in found.items()} == {START + 100 * HOUR: 2}


@given(ANOMALIES, st.integers(0, 200))
def test_what_happened_before_the_repeat_window_changes_nothing(anomalies: list[Anomaly], at: int) -> None:
    incidents = _gather(anomalies, least=3, repeat=48)
    begin = START + at * HOUR
    # As alert looks back: not into the middle of an incident, and a repeat window further.
    if any(i.start < begin < i.end + 7 * HOUR for i in _gather(anomalies)):
        return
    chains = [i for i in _gather(anomalies) if i.end > begin - 48 * HOUR]
    oldest = min((i.start for i in chains), default=begin)
    near = [a for a in anomalies if a.start >= oldest]
    assert _gather(near, least=3, repeat=48, since=at) == tuple(i for i in incidents if i.start >= begin)


def test_what_is_over_too_soon_makes_no_incident() -> None:
    assert _gather([_anomaly(0), _anomaly(1)], duration=3) == ()
    assert len(_gather([_anomaly(0), _anomaly(2)], duration=3)) == 1


def test_an_anomaly_found_over_a_day_stands_for_all_of_its_hours() -> None:
    assert _gather([_anomaly(30)], least=3, duration=3) == ()
    assert len(_gather([_anomaly(30, test="sum-3")], least=3, duration=3)) == 1
    assert _gather([_anomaly(30, test="sum-3"), _anomaly(31, test="sum-3")], least=5) == ()
    assert len(_gather([_anomaly(30, test="sum-3"), _anomaly(31, test="sum-3")], least=4)) == 1


@pytest.mark.parametrize("test", ["frozen", "silence", "level"])
def test_what_says_itself_that_it_has_lasted_is_always_enough(test: str) -> None:
    assert len(_gather([_anomaly(30, test=test)], least=50, duration=50)) == 1


def _days(*days: float, tail: float) -> list[Anomaly]:
    """An anomaly of the same variable each of these days, of an allowed probability of 1e-5."""
    return [_anomaly(int(24 * day), tail=tail, allowed=1e-5) for day in days]


def test_a_variable_that_repeats_must_be_clearer_each_time_and_is_trusted_again_after_a_while() -> None:
    week = 7 * 24
    assert [i.start.day for i in _gather(_days(0, 1, 2, tail=1e-5), repeat=week)] == [1, 2]
    assert [i.start.day for i in _gather(_days(0, 1, 2, 12, tail=1e-5), repeat=week)] == [1, 2, 13]
    assert [i.start.day for i in _gather(_days(0, 1, 2, tail=1e-6), repeat=week)] == [1, 2, 3]
    assert [i.start.day for i in _gather(_days(0, 1, 2, tail=1e-5), repeat=0)] == [1, 2, 3]


def test_a_drop_does_not_repeat_a_surge_nor_a_frozen_value_either_of_them() -> None:
    week = 7 * 24
    three = _days(0, 1, 2, tail=1e-5)
    assert [a.kind for a in three] == ["drop"] * 3
    for kinds in ("surge surge drop", "drop surge silent", "silent drop frozen", "drop drop surge"):
        changed = [replace(a, kind=kind) for a, kind in zip(three, kinds.split(), strict=True)]
        assert len(_gather(changed, repeat=week)) == 3, kinds
    for kinds in ("silent drop drop", "drop silent shift", "frozen frozen frozen"):
        changed = [replace(a, kind=kind, observed=1, predicted=9) for a, kind in zip(three, kinds.split(), strict=True)]
        assert len(_gather(changed, repeat=week)) == 2, kinds


def test_nothing_is_so_frequent_that_an_outage_is_not_told() -> None:
    often = _days(*(n / 2 for n in range(20)), tail=1e-5)
    outage = _days(10, tail=1e-8)
    assert [i.start for i in _gather(often + outage, repeat=7 * 24)][-1] == outage[0].start


def test_another_variable_s_incidents_raise_nothing_and_an_open_incident_takes_in_what_is_below() -> None:
    repeated = _days(0, 1, 2, tail=1e-5)
    fresh = replace(repeated[2], variable="b")
    *_, incident = _gather([*repeated, fresh], repeat=7 * 24)
    assert {v.variable for v in incident.variables} == {"a", "b"}


def _incident(
    kind: str = "drop",
    *,
    lost: float = 0.1,
    variables: int = 1,
    hours: int = 1,
    tail: float = 1e-5,
    allowed: float = 1e-5,
) -> Incident:
    anomalies = [
        replace(_anomaly(h, f"v{n}", kind, tail, allowed=allowed), observed=100 * (1 - lost), predicted=100)
        for n in range(variables)
        for h in range(hours)
    ]
    (found,) = _gather(anomalies)
    return found


@pytest.mark.parametrize(
    ("incident", "severity"),
    [
        (_incident("surge", lost=-0.1), "low"),
        (_incident("surge", lost=-1.0, variables=2), "low"),
        (_incident("surge", lost=-1.0, variables=5), "high"),
        (_incident("drop", lost=0.3, hours=6), "low"),
        (_incident("drop", lost=0.3, hours=6, tail=1e-6), "high"),
        (_incident("silent", lost=1.0), "high"),
        (_incident("silent", lost=1.0, variables=5, hours=6, tail=1e-6), "critical"),
        (_incident("drop", lost=0.6, variables=14, hours=24, tail=1e-6), "critical"),
        (_incident("frozen", lost=0.0, hours=24, tail=1e-8), "high"),
    ],
)
def test_severity_follows_the_table(incident: Incident, severity: str) -> None:
    assert incident.severity == severity


@given(
    st.sampled_from(["surge", "shift", "drop", "frozen", "silent"]),
    st.floats(0, 1),
    st.integers(1, 8),
    st.integers(1, 30),
    st.sampled_from([1e-5, 1e-6, 1e-8]),
)
def test_more_of_anything_is_never_less_severe(kind: str, lost: float, variables: int, hours: int, tail: float) -> None:
    levels = ("low", "high", "critical")
    base = levels.index(_incident(kind, lost=lost, variables=variables, hours=hours, tail=tail).severity)
    for more in (
        _incident(kind, lost=min(1.0, lost + 0.3), variables=variables, hours=hours, tail=tail),
        _incident(kind, lost=lost, variables=variables + 3, hours=hours, tail=tail),
        _incident(kind, lost=lost, variables=variables, hours=hours + 20, tail=tail),
        _incident(kind, lost=lost, variables=variables, hours=hours, tail=tail / 100),
    ):
        assert levels.index(more.severity) >= base


def test_what_joins_counts_among_the_variables_and_leaves_kind_and_time_alone() -> None:
    incident = _incident("drop", variables=4)
    grown = joined(incident, [_anomaly(0, "weak", tail=0.003, test="together")], HOUR)
    assert grown.variables[-1].variable == "weak"
    assert (grown.kind, grown.start, grown.end, grown.tail_probability) == (
        incident.kind,
        incident.start,
        incident.end,
        incident.tail_probability,
    )
    assert grown.severity == rated(grown).severity


def test_the_group_s_total_counts_as_many_and_its_events_only_once() -> None:
    alone = [replace(a, variable="(total)") for a in (_anomaly(0), _anomaly(1))]
    (total,) = _gather(alone)
    (variable,) = _gather([_anomaly(0), _anomaly(1)])
    (both,) = _gather([*alone, _anomaly(0), _anomaly(1)])
    assert severity_points(total) == severity_points(variable) + 2 == severity_points(both)
    assert [v.variable for v in both.departed] == ["a"]
    assert [v.variable for v in total.departed] == ["(total)"]


def _told(incident: Incident) -> Incident:
    return replace(
        incident,
        resolved=False,
        told_severity=incident.severity,
        told_variables=len(incident.variables),
        told_tail_probability=incident.tail_probability,
    )


def test_only_clearly_worse_is_worth_another_notice() -> None:
    told = _told(_incident("drop", lost=0.3, variables=4))
    assert not told.clearly_worse
    assert not replace(told, variables=told.variables + told.variables[:3]).clearly_worse
    assert replace(told, variables=told.variables * 2).clearly_worse
    assert not replace(told, tail_probability=1e-7).clearly_worse
    assert replace(told, tail_probability=1e-8).clearly_worse
    assert replace(told, severity="critical").clearly_worse
    few = _told(_incident("drop", variables=1))
    assert not replace(few, variables=few.variables * 3).clearly_worse
    assert replace(few, variables=few.variables * 4).clearly_worse


def test_what_is_over_or_was_never_told_is_not_worse() -> None:
    worse = replace(_told(_incident("drop", lost=0.3)), tail_probability=1e-12)
    assert worse.clearly_worse
    assert not replace(worse, resolved=True).clearly_worse
    assert not replace(worse, withdrawn=True).clearly_worse
    assert not replace(worse, told_severity=None).clearly_worse
