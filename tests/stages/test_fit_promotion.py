"""Who serves, and from when: what a challenger must not take away, and what is judged already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anomaly.adapters.serving import load_forecaster
from anomaly.exceptions import RegistryUnavailableError
from anomaly.groups import TimeRange
from anomaly.ports import Fit
from anomaly.stages.fit import promote
from anomaly.stages.judging import judging as taking_turns
from anomaly.stages.predict import predict
from tests.stages.conftest import HOUR, START
from tests.stages.workplace import DAY, FIRST_FIT, Workplace, regular

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def place(make_workplace: Callable[..., Workplace]) -> Workplace:
    made = make_workplace(candidates=["seasonal-naive"], lateness="3h")
    made.count({name: regular(FIRST_FIT + 2 * DAY, level=40 + at) for at, name in enumerate(NAMES)})
    return made


def test_a_challenger_that_judges_nothing_leaves_the_champion(place: Workplace) -> None:
    first = place.all_steps(FIRST_FIT)
    second = _trained_without_judging(place, FIRST_FIT + DAY, NAMES)

    report = place.promote(second)

    assert not report.promoted
    assert "does not judge 4 of the 4 variables that the champion judges, more than 5% (a: too short;" in report.reason
    assert place.saved(second).state == "rejected"
    assert place.store.champion(place.group) == first
    assert place.registry.champion_version(place.group) == first.model_version


def test_variables_that_left_the_selection_do_not_hold_a_challenger_back(
    place: Workplace, make_workplace: Callable[..., Workplace]
) -> None:
    place.all_steps(FIRST_FIT)
    smaller = make_workplace(candidates=["seasonal-naive"], lateness="3h", variables=["a", "b"])

    assert smaller.all_steps(FIRST_FIT + DAY).state == "promoted"


def test_a_challenger_in_another_transform_must_judge_as_much_too(
    place: Workplace, make_workplace: Callable[..., Workplace]
) -> None:
    place.all_steps(FIRST_FIT)
    changed = make_workplace(candidates=["seasonal-naive"], lateness="3h", transform="linear")
    second = _trained_without_judging(changed, FIRST_FIT + DAY, ("d",))

    assert "does not judge 1 of the 4 variables" in changed.promote(second).reason


def test_a_fit_serves_from_the_first_interval_that_is_not_judged_yet(place: Workplace) -> None:
    place.all_steps(FIRST_FIT)
    _predict(place, FIRST_FIT, FIRST_FIT + DAY + 5)

    second = place.all_steps(FIRST_FIT + DAY)

    assert second.serves_from == START + (FIRST_FIT + DAY + 5) * HOUR
    before = _verdicts(place, FIRST_FIT, FIRST_FIT + DAY + 5)
    _predict(place, FIRST_FIT + DAY + 5, FIRST_FIT + DAY + 9)
    _predict(place, FIRST_FIT, FIRST_FIT + DAY + 5)
    assert _verdicts(place, FIRST_FIT, FIRST_FIT + DAY + 5) == before
    assert {fit for fit, *_ in _verdicts(place, FIRST_FIT + DAY + 5, FIRST_FIT + DAY + 9)} == {second.id}
    assert place.store.champion(place.group) == second
    assert place.registry.champion_version(place.group) == second.model_version


def test_a_fit_at_the_moment_up_to_which_all_is_judged_serves_from_there(place: Workplace) -> None:
    place.all_steps(FIRST_FIT)
    _predict(place, FIRST_FIT, FIRST_FIT + DAY)

    assert place.all_steps(FIRST_FIT + DAY).serves_from == START + (FIRST_FIT + DAY) * HOUR


def test_a_fit_of_a_past_that_is_judged_already_does_not_replace_a_newer_one(place: Workplace) -> None:
    first = place.all_steps(FIRST_FIT)
    _predict(place, FIRST_FIT, FIRST_FIT + 2 * DAY)
    newest = place.all_steps(FIRST_FIT + 2 * DAY)

    past = place.prepare(FIRST_FIT + DAY)
    place.train(past)
    place.register(past)
    report = place.promote(past)

    assert not report.promoted
    assert f"version {newest.model_version} serves, which learned from" in report.reason
    assert place.store.champion(place.group) == newest
    ever = TimeRange(START, START + (FIRST_FIT + 9 * DAY) * HOUR, HOUR)
    assert [f.id for f in place.store.champions(place.group, ever)] == [first.id, newest.id]


def test_a_fit_of_a_past_that_nobody_judged_serves_it(place: Workplace) -> None:
    newest = place.all_steps(FIRST_FIT + DAY)
    _predict(place, FIRST_FIT + DAY, FIRST_FIT + 2 * DAY)

    past = place.all_steps(FIRST_FIT)

    assert (past.state, past.serves_from) == ("promoted", START + FIRST_FIT * HOUR)
    assert place.store.champion(place.group) == newest
    assert place.registry.champion_version(place.group) == newest.model_version


class Unreachable:
    """A registry that answers to questions and refuses to be changed."""

    def __init__(self, place: Workplace) -> None:
        self._registry = place.registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def promote(self, *_: object) -> None:
        raise RegistryUnavailableError("the MLflow server did not answer")


def test_the_store_comes_before_the_alias_also_where_nobody_reviews(place: Workplace) -> None:
    fit = place.prepare(FIRST_FIT)
    place.train(fit)
    place.register(fit)

    with pytest.raises(RegistryUnavailableError):
        promote(place.group, fit.id, store=place.store, registry=Unreachable(place))

    assert place.store.champion(place.group) == place.saved(fit)
    assert place.registry.champion_version(place.group) is None
    assert place.promote(fit).promoted
    assert place.registry.champion_version(place.group) == place.saved(fit).model_version


def test_the_alias_stays_with_who_serves_last(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """While this one waits for its turn, another fit is told to serve from later on."""
    past = place.prepare(FIRST_FIT)
    place.train(past)
    place.register(past)
    newest = place.prepare(FIRST_FIT + DAY)
    place.train(newest)
    place.register(newest)
    overtaken = [newest]

    def judging(*given: Any) -> Any:
        if overtaken:
            place.promote(overtaken.pop())
        return taking_turns(*given)

    monkeypatch.setattr("anomaly.stages.fit.judging", judging)
    place.promote(past)

    assert place.store.champion(place.group) == place.saved(newest)
    assert place.registry.champion_version(place.group) == place.saved(newest).model_version


def test_what_was_decided_stays_decided(place: Workplace) -> None:
    first = place.all_steps(FIRST_FIT)
    _predict(place, FIRST_FIT, FIRST_FIT + DAY)

    report = place.promote(first)

    assert (report.promoted, report.reason) == (True, "that was decided before")
    assert place.saved(first) == first


def _trained_without_judging(place: Workplace, hours: int, names: tuple[str, ...]) -> Fit:
    fit = place.prepare(hours)
    place.train(fit)
    unjudged = {
        "status": "new",
        "candidate": "",
        "distribution": "",
        "parameters": (),
        "mae": {},
        "choice": "too short",
        "lower": -np.inf,
        "upper": np.inf,
    }
    fitted = place.fitted(fit)
    place.store.save_fitted(fit.id, [replace(fitted[name], **unjudged) for name in names], [])  # type: ignore[arg-type]
    place.register(fit)
    return fit


def _predict(place: Workplace, first: int, last: int) -> None:
    predict(
        place.group,
        START + first * HOUR,
        START + last * HOUR,
        store=place.store,
        checks=place.checks,
        artifacts=place.artifacts,
        forecaster=load_forecaster,
        now=START,
    )


def _verdicts(place: Workplace, first: int, last: int) -> list[tuple[object, ...]]:
    with place.store._cursor() as cursor:
        cursor.execute(
            "SELECT fit_id, variable_id, interval_start, predicted, lower, upper, kind FROM predictions "
            "WHERE interval_start >= %s AND interval_start < %s ORDER BY variable_id, interval_start",
            (START + first * HOUR, START + last * HOUR),
        )
        return list(cursor.fetchall())
