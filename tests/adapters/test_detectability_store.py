"""The detectability map in PostgreSQL, on a real server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from anomaly.adapters.postgres.detectability import PostgresDetectability
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit
from anomaly.ports.detectability import Noticed, VariableDetectability
from tests.conftest import Arguments

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def group(make_group: Callable[..., Group], metadata_database: Arguments) -> Group:
    group = make_group()
    store = PostgresStore(metadata_database)
    for name in ("one", "two"):
        store.save_fit(Fit(name, group.name, TimeRange(AT - 24 * HOUR, AT, HOUR), {}, 1, "promoted", "run", 1, AT))
    return group


@pytest.fixture
def kept(metadata_database: Arguments) -> PostgresDetectability:
    return PostgresDetectability(metadata_database)


def measured(name: str, *, events: float = 100.0, blind: str = "", fit_id: str = "one") -> VariableDetectability:
    changes = (
        Noticed("drop", 0, None, None, 0.25),
        Noticed("drop", 1, 0.4, timedelta(hours=3), 1.0),
        Noticed("frozen", 0, 6.0, timedelta(hours=6), 1.0),
    )
    return VariableDetectability(name, fit_id, AT, 7, events, blind, changes)


def test_what_was_saved_is_read_back_equal(group: Group, kept: PostgresDetectability) -> None:
    unjudged = VariableDetectability("c", "one", AT, 0, 0.0, "no test judges it", ())
    rows = (measured("a"), measured("b"), unjudged)
    kept.save(group, "one", rows)
    assert kept.of_group(group) == rows
    assert kept.of_variable(group, "b") == rows[1]
    assert kept.of_variable(group, "c") == unjudged


def test_saving_again_replaces_the_whole_group(group: Group, kept: PostgresDetectability) -> None:
    kept.save(group, "one", [measured("a"), measured("gone")])
    kept.save(group, "two", [measured("a", fit_id="two")])
    assert [(r.variable, r.fit_id) for r in kept.of_group(group)] == [("a", "two")]
    assert kept.of_variable(group, "gone") is None


def test_blind_variables_come_with_the_most_written_first_and_no_more_than_asked_for(
    group: Group, kept: PostgresDetectability
) -> None:
    kept.save(
        group,
        "one",
        [measured("sees"), measured("quiet", events=1, blind="rare"), measured("busy", events=9, blind="noisy"),
         measured("middle", events=3, blind="noisy")],
    )  # fmt: skip
    assert [r.variable for r in kept.blind(group, limit=2)] == ["busy", "middle"]
    assert [r.variable for r in kept.blind(group, limit=9)] == ["busy", "middle", "quiet"]


def test_another_groups_variables_of_the_same_name_are_apart(
    group: Group, kept: PostgresDetectability, make_group: Callable[..., Group], metadata_database: Arguments
) -> None:
    other = make_group(name="other")
    PostgresStore(metadata_database).save_fit(
        Fit("three", "other", TimeRange(AT - 24 * HOUR, AT, HOUR), {}, 1, "promoted", "run", 1, AT)
    )
    kept.save(group, "one", [measured("a")])
    kept.save(other, "three", [measured("a", events=7, fit_id="three")])
    kept.save(other, "three", [])
    assert kept.of_group(other) == ()
    assert [r.variable for r in kept.of_group(group)] == ["a"]


@pytest.mark.parametrize(
    ("sizes", "typical"),
    [((0.4, None, 0.2), 0.4), ((None, None, 0.2), None), ((), None)],
)
def test_a_typical_smallest_change_is_that_of_the_median_hour(
    sizes: tuple[float | None, ...], typical: float | None
) -> None:
    changes = tuple(Noticed("drop", hour, size, HOUR, 1.0) for hour, size in enumerate(sizes))
    assert VariableDetectability("a", "one", AT, 7, 1.0, "", changes).typical("drop") == typical
