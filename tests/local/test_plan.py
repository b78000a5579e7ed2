"""The runs of `make run`: history, fits and predictions that join up without gap or overlap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.exceptions import ConfigurationError
from anomaly.groups import Group
from anomaly.local.plan import END_OF_DATA, FIRST_FIT, HISTORY, LAST_DAY, parse_until, runs_of

MakeGroup = Callable[..., Group]


def test_the_short_story_is_history_then_fit_then_the_blizzard(make_group: MakeGroup) -> None:
    group = make_group(timezone="America/New_York")
    history, fit, days = runs_of(group, parse_until(None))
    assert history.dag_id == days.dag_id == "anomaly.orders"
    assert history.params == {"start": "2013-01-01T00:00:00-05:00", "end": "2013-02-03T00:00:00-05:00"}
    assert (fit.dag_id, fit.params) == ("anomaly.orders.fit", {"until": "2013-02-03T00:00:00-05:00"})
    assert days.params == {"start": "2013-02-03T00:00:00-05:00", "end": "2013-02-12T00:00:00-05:00"}


@given(until=st.dates(FIRST_FIT, END_OF_DATA))
def test_the_ranges_join_up_to_the_end_of_the_last_day_and_fits_are_where_they_meet(until: date) -> None:
    group = Group.model_validate(
        {
            "name": "orders",
            "owner": "data",
            "source": {"connection": "source", "table": "events"},
            "interval": "1h",
            "timezone": "America/New_York",
            "variables": "all",
            "schedule": {"start": "2013-01-01T00:00:00-05:00"},
            "slack": {"channel": "#alerts"},
        }
    )
    runs = list(runs_of(group, until))
    ranges = [run.params for run in runs if "start" in run.params]
    fits = [run.params["until"] for run in runs if "until" in run.params]
    assert [r["start"] for r in ranges[1:]] == [r["end"] for r in ranges[:-1]] == fits
    assert datetime.fromisoformat(ranges[0]["start"]).date() == HISTORY
    assert datetime.fromisoformat(ranges[-1]["end"]).date() == until + timedelta(days=1)
    assert len({run.run_id for run in runs}) == len(runs)


def test_days_begin_on_the_groups_own_grid(make_group: MakeGroup) -> None:
    daily = make_group(timezone="America/New_York", interval="1d", incidents={"merge_gap": "1d"})
    for run in runs_of(daily, LAST_DAY):
        for moment in run.params.values():
            assert daily.floor(datetime.fromisoformat(moment)) == datetime.fromisoformat(moment)


def test_a_group_that_was_edited_is_run_again_and_an_equal_one_is_not(make_group: MakeGroup) -> None:
    def ids(group: Group) -> list[str]:
        return [run.run_id for run in runs_of(group, LAST_DAY)]

    assert ids(make_group()) == ids(make_group())
    assert not set(ids(make_group())) & set(ids(make_group(lateness="4h")))


@pytest.mark.parametrize("written", ["2013-02-02", "2014-01-01", "tomorrow", "2013-2-9"])
def test_a_day_that_the_sample_cannot_reach_is_refused(written: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a day"):
        parse_until(written)
