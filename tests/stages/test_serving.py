"""Who serves: promotion by policy and by people, rolling back, and an alias that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from anomaly.exceptions import ArtifactMissingError, NoSuchVersionError, RegistryUnavailableError
from anomaly.groups import TimeRange
from anomaly.groups.golden import Golden
from anomaly.ports import Fit, FittedVariable
from anomaly.ports.reviews import AlertDiff, Comparison, Replayed, Review, Verdict
from anomaly.stages.drifting import look_after, still_asked
from anomaly.stages.judging import judging as taking_turns
from anomaly.stages.serving import HandoverReport, follow, promote_version, reject_version, rollback
from tests.stages.conftest import HOUR, START
from tests.stages.watched import daily, fitted
from tests.stages.workplace import Workplace

HISTORY = 30 * 24
NOW = START + 60 * timedelta(days=1)
EVER = TimeRange(START, START + 999 * HOUR * 24, HOUR)


@pytest.fixture
def make_place(make_workplace: Callable[..., Workplace]) -> Callable[..., Workplace]:
    def make(**changes: Any) -> Workplace:
        place = make_workplace(candidates=["seasonal-naive"], lateness="3h", **changes)
        counts = daily(HISTORY + 20 * 24)
        place.count({"a": counts[0], "b": counts[1]})
        return place

    return make


@pytest.fixture
def place(make_place: Callable[..., Workplace]) -> Workplace:
    return make_place()


class Unreachable:
    """A registry that answers to questions and refuses to be changed."""

    def __init__(self, place: Workplace) -> None:
        self._registry = place.registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def promote(self, *_: object) -> None:
        raise RegistryUnavailableError("the MLflow server did not answer")


def registered(place: Workplace, hours: int, **changes: Any) -> Fit:
    """A registered fit without weights, as a train step would leave it."""
    fit = place.store.begin_fit(_fit(place, hours))
    records = [replace(fitted(v), **changes) for v in place.store.variables(place.group)]
    place.store.save_fitted(fit.id, records, [])
    place.register(fit)
    return place.saved(fit)


def _fit(place: Workplace, hours: int) -> Fit:
    history = TimeRange(START, START + hours * HOUR, HOUR)
    made = Fit(f"fit-{hours}", place.group.name, history, place.group.model_dump(mode="json"), 1, "trained")
    return replace(made, mlflow_run_id=place.registry.start_run(place.group, made))


def two_versions(place: Workplace) -> tuple[Fit, Fit]:
    """Both promoted; the second has judged a day."""
    first, second = registered(place, HISTORY), registered(place, HISTORY + 24)
    for fit, begin in ((first, HISTORY), (second, HISTORY + 24)):
        assert place.decide(fit).promoted
        _judged(place, fit, begin, begin + 24)
    return place.saved(first), place.saved(second)


def _judged(place: Workplace, fit: Fit, first: int, last: int) -> None:
    """Predictions of every hour, as predict writes them."""
    from anomaly.stages.predict import predict
    from tests.fakes import PassingChecks
    from tests.stages.watched import NoNetworks

    predict(
        place.group,
        START + first * HOUR,
        START + last * HOUR,
        store=place.store,
        checks=PassingChecks(),
        artifacts=NoNetworks(),
        forecaster=NoNetworks(),
        now=START + last * HOUR,
    )


def rolled_back(place: Workplace, registry: Any = None, to: int | None = None) -> HandoverReport:
    return rollback(
        place.group,
        to=to,
        why="it missed Friday",
        who="ada",
        store=place.store,
        reviews=place.reviews,
        registry=registry or place.registry,
        artifacts=place.artifacts,
        now=NOW,
    )


def serving(place: Workplace) -> list[tuple[str, int]]:
    """Fit and hour it serves from, in order."""
    return [
        (f.id, int((f.serves_from - START) / HOUR)) for f in place.store.champions(place.group, EVER) if f.serves_from
    ]


def test_a_rollback_serves_from_the_first_interval_that_is_not_judged(place: Workplace) -> None:
    first, second = two_versions(place)

    report = rolled_back(place)

    assert (report.model_version, report.before, report.changed) == (first.model_version, second.model_version, True)
    assert serving(place) == [(first.id, HISTORY), (second.id, HISTORY + 24), (first.id, HISTORY + 48)]
    assert place.store.champion(place.group).id == first.id  # type: ignore[union-attr]
    assert place.registry.champion_version(place.group) == first.model_version
    assert "ada" in place.registry.tags(place.group, second.model_version or 0)["rolled_back"]
    (latest,) = [s for s in place.reviews.servings(place.group) if s.via == "rollback"]
    assert (latest.who, latest.why, latest.told) == ("ada", "it missed Friday", True)


def test_after_a_rollback_past_intervals_keep_their_judge_and_the_next_get_the_older_one(place: Workplace) -> None:
    first, second = two_versions(place)
    before = _judges(place)

    rolled_back(place)
    _judged(place, first, HISTORY, HISTORY + 72)

    after = _judges(place)
    assert {hour: fit for hour, fit in after.items() if hour < HISTORY + 48} == before
    assert {fit for hour, fit in after.items() if hour >= HISTORY + 48} == {first.id}
    assert second.id in before.values()


def test_a_rollback_that_cannot_reach_the_registry_serves_and_is_completed_later(place: Workplace) -> None:
    first, second = two_versions(place)

    with pytest.raises(RegistryUnavailableError):
        rolled_back(place, Unreachable(place))

    assert place.store.champion(place.group).id == first.id  # type: ignore[union-attr]
    assert place.registry.champion_version(place.group) == second.model_version
    report = rolled_back(place)
    assert "complete now" in report.reason
    assert place.registry.champion_version(place.group) == first.model_version
    assert len(serving(place)) == 3


def test_an_unfinished_rollback_is_not_taken_for_an_alias_moved_by_hand(place: Workplace) -> None:
    first, _ = two_versions(place)
    with pytest.raises(RegistryUnavailableError):
        rolled_back(place, Unreachable(place))

    report = follow(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=NOW)

    assert not report.changed
    assert place.store.champion(place.group).id == first.id  # type: ignore[union-attr]
    assert place.registry.champion_version(place.group) == first.model_version


def test_a_rollback_before_the_champion_has_judged_anything_takes_its_place_at_once(place: Workplace) -> None:
    first, second = registered(place, HISTORY), registered(place, HISTORY + 24)
    assert place.decide(first).promoted
    assert place.decide(second).promoted

    rolled_back(place)

    within = TimeRange(START + (HISTORY + 24) * HOUR, START + (HISTORY + 30) * HOUR, HOUR)
    assert place.store.champions(place.group, within)[-1].id == first.id


@pytest.fixture
def overtaken(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What somebody else does just before the next decision has its turn."""
    first: list[Callable[[], object]] = []

    def judging(*given: Any) -> Any:
        if first:
            first.pop()()
        return taking_turns(*given)

    monkeypatch.setattr("anomaly.stages.serving.judging", judging)
    return first


def _promoted(place: Workplace, fit: Fit) -> HandoverReport:
    who: dict[str, Any] = {"store": place.store, "reviews": place.reviews, "registry": place.registry, "now": NOW}
    return promote_version(place.group, fit.model_version or 0, why="", who="ben", **who)


def test_whom_somebody_promotes_serves_also_when_another_hand_over_came_just_before(
    place: Workplace, overtaken: list[Callable[[], object]]
) -> None:
    first, _ = two_versions(place)
    third = registered(place, HISTORY + 96)
    overtaken.append(lambda: _promoted(place, third))

    report = _promoted(place, first)

    assert (report.changed, report.before) == (True, third.model_version)
    assert serving(place)[-2:] == [(third.id, HISTORY + 96), (first.id, HISTORY + 96)]
    assert place.store.champion(place.group).id == first.id  # type: ignore[union-attr]
    assert place.registry.champion_version(place.group) == first.model_version


def test_whom_two_promote_at_once_is_handed_over_to_once(
    place: Workplace, overtaken: list[Callable[[], object]]
) -> None:
    first, second = two_versions(place)
    overtaken.append(lambda: _promoted(place, first))

    report = _promoted(place, first)

    assert not report.changed
    assert serving(place) == [(first.id, HISTORY), (second.id, HISTORY + 24), (first.id, HISTORY + 48)]


def test_a_rollback_takes_back_whoever_serves_when_it_has_its_turn(
    place: Workplace, overtaken: list[Callable[[], object]]
) -> None:
    first, second = two_versions(place)
    third = registered(place, HISTORY + 96)
    overtaken.append(lambda: _promoted(place, third))

    report = rolled_back(place)

    assert (report.model_version, report.before) == (first.model_version, third.model_version)
    assert place.store.champion(place.group).id == first.id  # type: ignore[union-attr]
    assert place.registry.champion_version(place.group) == first.model_version
    assert "rolled_back" in place.registry.tags(place.group, third.model_version or 0)
    assert "rolled_back" not in place.registry.tags(place.group, second.model_version or 0)


def test_two_rollbacks_at_once_go_back_once(place: Workplace, overtaken: list[Callable[[], object]]) -> None:
    first, second = two_versions(place)
    overtaken.append(lambda: rolled_back(place))

    report = rolled_back(place)

    assert (report.changed, report.model_version) == (False, first.model_version)
    assert serving(place) == [(first.id, HISTORY), (second.id, HISTORY + 24), (first.id, HISTORY + 48)]


def test_a_version_without_an_older_one_that_served_is_not_rolled_back(place: Workplace) -> None:
    with pytest.raises(NoSuchVersionError, match="has no champion yet"):
        rolled_back(place)
    place.decide(registered(place, HISTORY))
    with pytest.raises(NoSuchVersionError, match="no version of .* older than the champion"):
        rolled_back(place)
    with pytest.raises(NoSuchVersionError, match="no fit of version 99"):
        rolled_back(place, to=99)


def test_a_rollback_to_networks_that_are_gone_changes_nothing(place: Workplace) -> None:
    first, second = two_versions(place)
    from anomaly.ports import NetworkFile

    gone = f"{place.artifacts.root}/nowhere"
    place.store.save_fitted(first.id, [], [NetworkFile("0/x", "x", 1, gone, "0" * 64, gone, "0" * 64)])

    with pytest.raises(ArtifactMissingError):
        rolled_back(place)

    assert place.store.champion(place.group).id == second.id  # type: ignore[union-attr]
    assert place.registry.champion_version(place.group) == second.model_version


def test_a_promotion_that_cannot_reach_the_registry_is_completed_by_its_retry(place: Workplace) -> None:
    fit = registered(place, HISTORY)
    reachable, place.registry = place.registry, Unreachable(place)  # type: ignore[assignment]
    with pytest.raises(RegistryUnavailableError):
        place.decide(fit)
    place.registry = reachable

    report = place.decide(fit)

    assert report.promoted
    assert place.registry.champion_version(place.group) == fit.model_version


def test_an_alias_on_a_version_that_nobody_has_reviewed_waits_for_the_review(place: Workplace) -> None:
    first, second = registered(place, HISTORY), registered(place, HISTORY + 24)
    place.decide(first)
    place.registry.promote(place.group, second.model_version or 0)

    waiting = follow(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=NOW)

    assert (waiting.changed, waiting.model_version) == (False, first.model_version)
    assert f"anomaly models promote {place.group.name} {second.model_version}" in waiting.reason
    assert place.reviews.verdict(second.id) is None
    assert place.registry.champion_version(place.group) == second.model_version
    place.reviews.save(_reviewed(second))
    report = follow(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=NOW)
    assert (report.changed, report.model_version) == (True, second.model_version)


def test_what_a_review_objects_and_who_rejected_it_is_kept_with_the_decision_to_move_the_alias(
    make_place: Callable[..., Workplace],
) -> None:
    place = make_place(promotion={"golden_false_alarms": "block"})
    first, second = registered(place, HISTORY), registered(place, HISTORY + 24)
    place.decide(first)
    alarm = Golden(start=START, end=START + HOUR, variables=("a",), word="false_alarm")
    place.reviews.save(_reviewed(second, Replayed(alarm, challenger=True, champion=False)))
    place.reviews.decide(Verdict(second.id, "rejected", "ada", "airflow", NOW, "too loud"))
    place.registry.promote(place.group, second.model_version or 0)

    report = follow(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=NOW)

    verdict = place.reviews.verdict(second.id)
    assert report.changed
    assert verdict is not None
    assert (verdict.word, verdict.via) == ("approved", "mlflow")
    assert "its review objects: it brings 1 known false alarm back" in verdict.why
    assert "ada rejected it (airflow) too loud" in verdict.why
    assert place.reviews.servings(place.group)[-1].why == verdict.why


def test_going_back_to_a_version_that_served_leaves_the_record_of_its_review(place: Workplace) -> None:
    first, _ = two_versions(place)
    place.reviews.decide(Verdict(first.id, "approved", "ada", "airflow", NOW, "looks right"))
    place.registry.promote(place.group, first.model_version or 0)

    assert follow(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=NOW).changed

    verdict = place.reviews.verdict(first.id)
    assert verdict is not None
    assert (verdict.who, verdict.why) == ("ada", "looks right")


def test_without_an_address_of_mlflow_it_is_said_what_to_set_and_drift_is_looked_for(
    drifted: tuple[Workplace, Fit],
) -> None:
    place, _ = drifted

    report = look_after(place.group, store=place.store, reviews=place.reviews, registry=None, now=NOW)

    assert "MLFLOW_TRACKING_URI is not set" in report.said
    assert report.checked


def test_an_alias_moved_by_hand_serves_from_the_next_interval(place: Workplace) -> None:
    first, second = two_versions(place)
    place.registry.promote(place.group, first.model_version or 0)

    report = look_after(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=NOW)

    assert (report.moved, report.model_version) == (True, first.model_version)
    assert serving(place)[-1] == (first.id, HISTORY + 48)
    assert place.reviews.servings(place.group)[-1].via == "mlflow"
    again = follow(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=NOW)
    assert not again.changed
    assert second.id in dict(serving(place))


def test_a_reviewed_group_waits_until_somebody_approves(make_place: Callable[..., Workplace]) -> None:
    place = make_place(promotion={"mode": "reviewed"})
    fit = registered(place, HISTORY)

    waiting = place.decide(fit)
    assert (waiting.promoted, waiting.waits, place.saved(fit).state) == (False, True, "registered")
    place.reviews.decide(Verdict(fit.id, "approved", "ada", "airflow", NOW, "looks right"))
    report = place.decide(fit)

    assert (report.promoted, report.reason) == (True, "ada approved it (airflow): looks right")
    assert place.reviews.servings(place.group)[-1].who == "ada"


def test_the_first_word_on_a_challenger_holds(make_place: Callable[..., Workplace]) -> None:
    place = make_place(promotion={"mode": "reviewed"})
    fit = registered(place, HISTORY)

    first = place.reviews.decide(Verdict(fit.id, "rejected", "ada", "airflow", NOW))
    second = place.reviews.decide(Verdict(fit.id, "approved", "ben", "mlflow", NOW))

    assert first == second
    assert not place.decide(fit).promoted
    assert place.saved(fit).state == "rejected"


@pytest.mark.parametrize("word", ["approved", "rejected"])
def test_a_tag_in_the_registry_is_a_verdict(make_place: Callable[..., Workplace], word: str) -> None:
    place = make_place(promotion={"mode": "reviewed"})
    fit = registered(place, HISTORY)
    place.registry.tag(place.group, fit.model_version or 0, {"review": word, "review.by": "cleo", "review.why": "seen"})

    report = place.decide(fit)

    assert report.promoted is (word == "approved")
    assert f"cleo {word} it (mlflow): seen" in report.reason


def test_the_alias_in_the_registry_approves_a_challenger(make_place: Callable[..., Workplace]) -> None:
    place = make_place(promotion={"mode": "reviewed"})
    fit = registered(place, HISTORY)
    place.registry.promote(place.group, fit.model_version or 0)

    assert place.decide(fit).promoted


@pytest.mark.parametrize("decided", [False, True])
def test_the_alias_on_a_challenger_that_loses_a_confirmed_incident_is_taken_back(
    make_place: Callable[..., Workplace], *, decided: bool
) -> None:
    place = make_place(promotion={"mode": "reviewed"})
    first, second = registered(place, HISTORY), registered(place, HISTORY + 24)
    place.reviews.decide(Verdict(first.id, "approved", "ada", "airflow", NOW))
    assert place.decide(first).promoted
    place.reviews.save(_losing(second))
    place.registry.promote(place.group, second.model_version or 0)
    if decided:
        assert not place.decide(second).promoted

    report = follow(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=NOW)

    assert (report.changed, report.model_version) == (False, first.model_version)
    assert "loses 1 confirmed incident" in report.reason
    assert place.store.champion(place.group).id == first.id  # type: ignore[union-attr]
    assert place.registry.champion_version(place.group) == first.model_version
    assert "taken back" in place.registry.tags(place.group, second.model_version or 0)["decision"]


def _losing(fit: Fit) -> Review:
    """A review that finds a confirmed incident lost."""
    storm = Golden(start=START, end=START + HOUR, variables=("a",), word="real")
    return _reviewed(fit, Replayed(storm, challenger=False, champion=True))


def _reviewed(fit: Fit, *golden: Replayed) -> Review:
    nothing = AlertDiff(fit.history.start, fit.history.end, 0, 0, 0, (), (), fit.history.end)
    return Review(fit.id, fit.group, None, None, NOW, Comparison((), None, (), ()), nothing, golden)


def test_a_rollback_to_a_very_old_version_is_told_to_the_registry_too(place: Workplace) -> None:
    first, second = two_versions(place)
    for number in range(101):
        place.store.begin_fit(replace(second, id=f"later-{number}", state="rejected", model_version=None))

    rolled_back(place, to=first.model_version)

    assert place.registry.champion_version(place.group) == first.model_version


def test_a_challenger_that_nobody_approves_in_time_is_rejected(make_place: Callable[..., Workplace]) -> None:
    place = make_place(promotion={"mode": "reviewed"})
    fit = registered(place, HISTORY)

    report = place.decide(fit, last_call=True)

    assert "nobody approved it in time" in report.reason
    assert place.saved(fit).state == "rejected"


def test_a_rejected_version_serves_when_somebody_promotes_it_by_its_number(place: Workplace) -> None:
    first, second = registered(place, HISTORY), registered(place, HISTORY + 24)
    place.decide(first)
    who = {"store": place.store, "reviews": place.reviews, "registry": place.registry, "now": NOW}
    version = second.model_version or 0
    reject_version(place.group, version, why="deaf", who="ada", **who)  # type: ignore[arg-type]
    assert not place.decide(second).promoted

    report = promote_version(place.group, version, why="not deaf", who="ben", **who)  # type: ignore[arg-type]

    assert (report.changed, place.saved(second).state) == (True, "promoted")
    assert place.registry.champion_version(place.group) == version
    with pytest.raises(NoSuchVersionError, match="is the champion"):
        reject_version(place.group, version, why="", who="ada", **who)  # type: ignore[arg-type]


def test_drift_is_looked_for_once_a_day_and_asks_for_a_fit_once_in_a_while(
    make_place: Callable[..., Workplace],
) -> None:
    place = make_place(retraining={"window": "7d", "at_most_every": "7d"})
    fit = registered(place, HISTORY, residuals=np.random.default_rng(5).normal(3, 1, 336).astype(np.float32))
    place.decide(fit)
    _judged(place, fit, HISTORY, HISTORY + 9 * 24)

    first = _looked(place)
    place.store.begin_fit(_fit(place, HISTORY + 9 * 24))
    second = _looked(place)
    _judged(place, fit, HISTORY + 9 * 24, HISTORY + 10 * 24)
    third = _looked(place)

    assert (first.checked, first.drifted, first.asks_for_fit) == (True, 2, True)
    assert "the residuals of 2 of 2 variables have drifted" in first.said
    assert (second.checked, second.asks_for_fit) == (False, False)
    assert (third.checked, third.drifted, third.asks_for_fit) == (True, 2, False)


@pytest.fixture
def drifted(make_place: Callable[..., Workplace]) -> tuple[Workplace, Fit]:
    place = make_place(retraining={"window": "7d", "at_most_every": "7d"})
    fit = registered(place, HISTORY, residuals=np.random.default_rng(5).normal(3, 1, 336).astype(np.float32))
    place.decide(fit)
    _judged(place, fit, HISTORY, HISTORY + 9 * 24)
    return place, fit


def test_a_fit_that_nobody_passed_on_is_asked_for_again_by_the_next_try_until_one_has_begun(
    drifted: tuple[Workplace, Fit],
) -> None:
    place, _ = drifted

    first, tried_again = _looked(place), _looked(place)

    assert (tried_again.checked, tried_again.asks_for_fit) == (False, True)
    assert (tried_again.until, tried_again.drifted) == (first.until, first.drifted)
    assert "no fit has begun since" in tried_again.said
    assert len(place.reviews.drift_checks(place.group)) == 1
    place.store.begin_fit(_fit(place, HISTORY + 9 * 24))
    assert not _looked(place).asks_for_fit


def test_runs_that_judge_nothing_new_do_not_ask_for_the_same_fit_for_ever(drifted: tuple[Workplace, Fit]) -> None:
    place, fit = drifted
    _looked(place)

    soon, later = (_looked(place, now=NOW + timedelta(minutes=minutes)) for minutes in (30, 90))
    _judged(place, fit, HISTORY + 9 * 24, HISTORY + 10 * 24)
    next_day = _looked(place, now=NOW + timedelta(hours=24))

    assert [report.asks_for_fit for report in (soon, later, next_day)] == [True, False, True]


def test_a_fit_that_nobody_passed_on_is_asked_for_again_the_next_day(drifted: tuple[Workplace, Fit]) -> None:
    place, fit = drifted
    _looked(place)
    _judged(place, fit, HISTORY + 9 * 24, HISTORY + 10 * 24)

    report = _looked(place)

    assert (report.checked, report.asks_for_fit) == (True, True)


def test_a_fit_that_drift_asks_for_twice_begins_once(drifted: tuple[Workplace, Fit]) -> None:
    place, _ = drifted
    asked = datetime.fromisoformat(_looked(place).until)
    until = START + (HISTORY + 9 * 24) * HOUR

    assert asked == until
    assert still_asked(place.group, asked, until, reviews=place.reviews) == ""
    begun = place.store.begin_fit(_fit(place, HISTORY + 9 * 24))
    assert still_asked(place.group, asked, until, reviews=place.reviews) == ""  # its own earlier try
    later = still_asked(place.group, asked, until + HOUR, reviews=place.reviews)
    assert f"fit {begun.id} has begun already" in later


def test_residuals_that_stay_as_they_were_ask_for_nothing(make_place: Callable[..., Workplace]) -> None:
    place = make_place(retraining={"window": "7d"})
    fit = registered(place, HISTORY)
    place.decide(fit)
    _judged(place, fit, HISTORY, HISTORY + 9 * 24)
    known = {f.variable.name: f for f in place.store.fitted(fit.id, residuals=True)}
    variables = place.store.variables(place.group)
    found = place.store.read_predictions(
        place.group, variables, TimeRange(START + HISTORY * HOUR, START + (HISTORY + 168) * HOUR, HOUR)
    )
    assert found is not None
    own: list[FittedVariable] = [
        replace(known[v.name], residuals=found.residuals[row].astype(np.float32)) for row, v in enumerate(variables)
    ]
    place.store.save_fitted(fit.id, own, [])

    report = _looked(place)

    assert (report.checked, report.variables, report.drifted, report.asks_for_fit) == (True, 2, 0, False)


def test_a_registry_that_does_not_answer_is_no_reason_to_fail(place: Workplace) -> None:
    two_versions(place)
    rolled = Unreachable(place)
    with pytest.raises(RegistryUnavailableError):
        rolled_back(place, rolled)

    report = look_after(place.group, store=place.store, reviews=place.reviews, registry=rolled, now=NOW)

    assert "the registry did not answer" in report.said


def _looked(place: Workplace, now: datetime = NOW) -> Any:
    return look_after(place.group, store=place.store, reviews=place.reviews, registry=place.registry, now=now)


def _judges(place: Workplace) -> dict[int, str]:
    with place.store._cursor() as cursor:
        cursor.execute("SELECT DISTINCT interval_start, fit_id FROM predictions")
        return {int((start - START) / HOUR): fit for start, fit in cursor.fetchall()}
