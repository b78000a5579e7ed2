"""What a review finds before a challenger serves: alerts that differ, and golden incidents that would be lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomaly.groups.golden import Golden
from anomaly.ports import Fit, FittedVariable
from anomaly.ports.reviews import Verdict
from anomaly.stages.records import measure_of
from tests.stages.conftest import HOUR, START
from tests.stages.workplace import DAY, FIRST_FIT, Workplace, regular, wavy

NAMES = ("a", "b", "c", "d")
OUTAGE = FIRST_FIT + 6
"""Hour at which `a` and `b` are silent for half a day: after the first fit, before the second."""
SECOND_FIT = FIRST_FIT + 2 * DAY
UNTIL = SECOND_FIT + 2 * DAY


@pytest.fixture
def make_place(make_workplace: Callable[..., Workplace]) -> Callable[..., Workplace]:
    def make(**changes: Any) -> Workplace:
        settings = {"candidates": ["seasonal-naive"], "lateness": "3h"} | changes
        place = make_workplace(**settings)
        counts = {name: regular(UNTIL, level=40 + at) for at, name in enumerate(NAMES)}
        for name in ("a", "b"):
            counts[name][OUTAGE : OUTAGE + 12] = 0
        place.count(counts)
        return place

    return make


@pytest.fixture
def place(make_place: Callable[..., Workplace]) -> Workplace:
    return make_place()


@pytest.fixture
def served(place: Workplace) -> Workplace:
    """The first fit has judged everything up to the second."""
    place.decide(place.reviewed(FIRST_FIT))
    place.predict(FIRST_FIT, SECOND_FIT)
    return place


def outage(word: str = "real", hours: int = 12) -> Golden:
    return Golden.model_validate(
        {
            "start": START + OUTAGE * HOUR,
            "end": START + (OUTAGE + hours) * HOUR,
            "variables": ["a", "b"],
            "word": word,
            "reason": "the loader stood still",
        }
    )


def test_the_first_fit_is_reviewed_with_the_alerts_that_it_would_have_told(place: Workplace) -> None:
    known = _trained(place, FIRST_FIT)
    fit = _fit_of(place, SECOND_FIT, known, reason="on schedule")

    review = place.reviews.review(fit.id)

    assert review is not None
    assert (review.champion, review.alerts.champion) == (None, None)
    assert [(a.start, set(a.variables)) for a in review.alerts.appearing] == [(START + OUTAGE * HOUR, {"a", "b"})]
    assert review.alerts.appearing[0].chart == "appears-1.png"
    drawn = place.diff_charts.chart(fit.id, "appears-1.png")
    assert drawn is not None
    alert = review.alerts.appearing[0]
    assert (drawn["appears"], drawn["span"]) == (True, [alert.start.timestamp(), alert.end.timestamp()])
    assert [one["name"] for one in drawn["variables"]] == list(alert.variables)
    for one in drawn["variables"]:
        assert one["champion"] is None
        odd = {one["t"][at] for at in one["challenger"]["anomalies"]}
        assert {at for at in one["t"] if alert.start.timestamp() <= at < alert.end.timestamp()} & odd
    assert fit.reason == "on schedule"


def test_alerts_are_compared_from_when_windows_are_full(place: Workplace) -> None:
    """A seasonal-naive forecast looks a week and three hours back: what it says of the first days says nothing."""
    reviews = place.reviews.review(place.reviewed(FIRST_FIT).id), place.reviews.review(place.reviewed(SECOND_FIT).id)

    assert [(r.alerts.start, r.alerts.end) for r in reviews if r is not None] == [
        (START + (7 * DAY + 3) * HOUR, START + FIRST_FIT * HOUR),
        (START + (7 * DAY + 3) * HOUR, START + SECOND_FIT * HOUR),
    ]


def test_a_challenger_that_judges_alike_changes_no_alert(served: Workplace) -> None:
    second = served.reviewed(SECOND_FIT)

    review = served.reviews.review(second.id)

    assert review is not None
    first = served.store.champion(served.group)
    assert first is not None
    assert (review.champion, review.champion_version) == (first.id, first.model_version)
    assert (review.alerts.champion, review.alerts.challenger, review.alerts.kept) == (1, 1, 1)
    assert (review.alerts.appearing, review.alerts.disappearing) == ((), ())
    assert served.decide(second).promoted


def test_what_a_review_judges_is_written_nowhere(served: Workplace) -> None:
    before = _stored(served)

    served.reviewed(SECOND_FIT)

    assert before
    assert _stored(served) == before


def test_a_review_of_the_champion_judges_as_live_runs_did(place: Workplace) -> None:
    """The same verdicts to the last bit, hour by hour and in one review."""
    fit = place.reviewed(FIRST_FIT)
    place.decide(fit)
    for hour in range(FIRST_FIT, FIRST_FIT + 6):
        place.predict(hour, hour + 1)
    live = _stored(place)

    from anomaly.adapters.serving import load_forecaster
    from anomaly.groups import TimeRange
    from anomaly.stages.supposed import Supposed

    within = TimeRange(START + FIRST_FIT * HOUR, START + (FIRST_FIT + 6) * HOUR, HOUR)
    supposed = Supposed(
        place.group,
        fit,
        within,
        store=place.store,
        artifacts=place.artifacts,
        forecaster=load_forecaster,
        labels=None,
        now=START,
    )
    variables = place.store.variables(place.group)
    again = supposed.read(variables, within)

    assert live == [
        (v.id, within.start + column * HOUR, again.predicted[row, column], again.felt[row, column])
        for row, v in enumerate(variables)
        for column in range(6)
    ]


def test_an_alert_that_the_challenger_no_longer_tells_disappears(served: Workplace) -> None:
    second = _deaf(served, SECOND_FIT)

    review = served.reviews.review(second.id)

    assert review is not None
    assert [set(a.variables) for a in review.alerts.disappearing] == [{"a", "b"}]
    assert (review.alerts.challenger, review.alerts.kept) == (0, 0)


def test_a_challenger_that_loses_a_confirmed_incident_is_not_promoted(served: Workplace) -> None:
    first = served.store.champion(served.group)
    second = _deaf(served, SECOND_FIT, golden=[outage()])

    report = served.decide(second)

    assert not report.promoted
    assert "it loses 1 confirmed incident of the golden file" in report.reason
    assert served.saved(second).state == "rejected"
    assert served.store.champion(served.group) == first
    assert served.registry.tags(served.group, second.model_version or 0)["golden_lost"] == "1"


def test_a_confirmed_incident_that_the_champion_misses_too_blocks_nobody(served: Workplace) -> None:
    never = outage().model_copy(update={"variables": ("c",)})

    second = served.reviewed(SECOND_FIT, golden=[never])

    review = served.reviews.review(second.id)
    assert review is not None
    assert [(g.champion, g.challenger, g.lost) for g in review.golden] == [(False, False, False)]
    assert served.decide(second).promoted


def test_a_first_fit_serves_though_it_misses_a_confirmed_incident_and_says_so(place: Workplace) -> None:
    fit = place.reviewed(FIRST_FIT, golden=[outage().model_copy(update={"variables": ("c",)})])

    report = place.decide(fit)

    review = place.reviews.review(fit.id)
    assert review is not None
    assert [(g.champion, g.lost, g.missed) for g in review.golden] == [(None, False, True)]
    assert report.promoted
    assert "it does not find 1 confirmed incident of the golden file" in report.reason
    assert "it does not find 1 confirmed" in place.reviews.servings(place.group)[-1].why


def test_a_first_fit_that_misses_a_confirmed_incident_shows_it_to_who_reviews_it(
    make_place: Callable[..., Workplace],
) -> None:
    place = make_place(promotion={"mode": "reviewed"})
    fit = place.reviewed(FIRST_FIT, golden=[outage().model_copy(update={"variables": ("c",)})])

    waiting = place.decide(fit)
    version = place.registry._client.get_model_version(f"anomaly.{place.group.name}", str(fit.model_version))

    assert waiting.waits
    assert "it does not find 1 confirmed incident" in waiting.reason
    assert "1 confirmed not found" in str(version.description)
    place.reviews.decide(Verdict(fit.id, "approved", "ada", "airflow", START))
    assert place.decide(fit).promoted


@pytest.fixture
def damaged(make_workplace: Callable[..., Workplace]) -> Workplace:
    """A champion serves whose network is gone; known false alarms that come back block."""
    place = make_workplace(
        candidates=["dense-16-mae"], lateness="3h", promotion={"golden_false_alarms": "block", "lost_variables": 1.0}
    )
    counts = wavy(UNTIL, level=60)
    counts[OUTAGE : OUTAGE + 12] = 0
    place.count({"a": counts})
    first = place.reviewed(FIRST_FIT)
    assert place.decide(first).promoted
    place.predict(FIRST_FIT, SECOND_FIT)
    for file in place.store.network_files(first.id):
        Path(file.serving_uri.removeprefix("file://")).unlink()
    return place


def test_a_challenger_that_misses_a_confirmed_incident_does_not_replace_a_champion_that_cannot_be_replayed(
    damaged: Workplace,
) -> None:
    first = damaged.store.champion(damaged.group)
    assert first is not None
    second = damaged.reviewed(SECOND_FIT, golden=[outage().model_copy(update={"variables": ("c",)})])

    report = damaged.decide(second)

    review = damaged.reviews.review(second.id)
    assert review is not None
    assert (review.champion, review.champion_version, review.unplayed) == (first.id, first.model_version, True)
    assert not report.promoted
    assert "it does not find 1 confirmed incident" in report.reason
    assert f"the champion, version {first.model_version}, would is unknown: it could not be replayed" in report.reason
    assert "there is no champion" not in report.reason
    assert damaged.store.champion(damaged.group) == first


def test_who_approves_a_challenger_beside_a_champion_that_cannot_be_replayed_overrules_what_is_not_known(
    damaged: Workplace,
) -> None:
    second = damaged.reviewed(SECOND_FIT, golden=[outage().model_copy(update={"variables": ("c",)})])
    damaged.reviews.decide(Verdict(second.id, "approved", "ada", "airflow", START))

    assert damaged.decide(second).promoted


def test_a_known_false_alarm_blocks_beside_a_champion_that_cannot_be_replayed(damaged: Workplace) -> None:
    second = damaged.reviewed(SECOND_FIT, golden=[outage("false_alarm").model_copy(update={"variables": ("a",)})])

    report = damaged.decide(second)

    assert not report.promoted
    assert "it brings 1 known false alarm back" in report.reason


def test_a_challenger_that_finds_all_replaces_a_champion_that_cannot_be_replayed(damaged: Workplace) -> None:
    second = damaged.reviewed(SECOND_FIT, golden=[outage().model_copy(update={"variables": ("a",)})])

    assert damaged.decide(second).promoted


def test_each_fit_is_loaded_once_however_many_golden_incidents_lie_outside_the_compared_weeks(
    make_workplace: Callable[..., Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_workplace(candidates=["dense-16-mae"], lateness="3h", promotion={"compare": "1d"})
    place.count({"a": wavy(UNTIL, level=60)})
    first = place.reviewed(FIRST_FIT)
    assert place.decide(first).promoted
    second = place.prepare(SECOND_FIT)
    place.train(second)
    place.register(second)
    files = [file.serving_uri for fit in (first, second) for file in place.store.network_files(fit.id)]
    read: list[str] = []
    original = type(place.artifacts).read

    def noted(artifacts: Any, uri: str, *, sha256: str) -> bytes:
        read.append(uri)
        return original(artifacts, uri, sha256=sha256)

    monkeypatch.setattr(type(place.artifacts), "read", noted)
    earlier = [
        outage().model_copy(update={"start": START + day * DAY * HOUR, "end": START + (day * DAY + 6) * HOUR})
        for day in (15, 18, 20)
    ]
    place.review(place.saved(second), golden=earlier)

    review = place.reviews.review(second.id)
    assert review is not None
    assert [g.champion is None or g.challenger is None for g in review.golden] == [False] * 3
    assert len(files) == 2
    assert sorted(read) == sorted(files)


def test_a_golden_incident_before_the_compared_weeks_is_replayed_on_its_own(
    make_place: Callable[..., Workplace],
) -> None:
    place = make_place(promotion={"compare": "1d"})
    fit = _fit_of(place, SECOND_FIT, _trained(place, FIRST_FIT), golden=[outage()])

    review = place.reviews.review(fit.id)

    assert review is not None
    assert review.alerts.start >= review.golden[0].golden.end
    assert review.golden[0].challenger is True


def test_a_golden_incident_without_counts_is_unknown_and_blocks_nobody(place: Workplace) -> None:
    later = Golden.model_validate(
        {"start": START + 90 * DAY * HOUR, "end": START + 91 * DAY * HOUR, "variables": ["a"], "word": "real"}
    )
    fit = place.reviewed(FIRST_FIT, golden=[later])

    review = place.reviews.review(fit.id)

    assert review is not None
    assert (review.golden[0].challenger, review.golden[0].lost) == (None, False)
    assert place.decide(fit).promoted


def test_a_known_false_alarm_blocks_no_first_fit(make_place: Callable[..., Workplace]) -> None:
    place = make_place(promotion={"golden_false_alarms": "block"})
    fit = _fit_of(place, SECOND_FIT, _trained(place, FIRST_FIT), golden=[outage("false_alarm")])

    report = place.decide(fit)

    assert report.promoted
    assert "it brings 1 known false alarm back" in report.reason


@pytest.mark.parametrize(("policy", "promoted"), [("report", True), ("block", False)])
def test_a_known_false_alarm_that_comes_back_blocks_only_if_the_policy_says_so(
    make_place: Callable[..., Workplace],
    policy: str,
    promoted: bool,  # noqa: FBT001
) -> None:
    place = make_place(promotion={"golden_false_alarms": policy})
    known = _trained(place, FIRST_FIT)
    assert place.decide(_deaf(place, FIRST_FIT + DAY)).promoted
    fit = _fit_of(place, SECOND_FIT, known, golden=[outage("false_alarm")])

    report = place.decide(fit)

    review = place.reviews.review(fit.id)
    assert review is not None
    assert review.golden[0].back
    assert report.promoted is promoted


def test_the_versions_page_is_a_whole_review(served: Workplace) -> None:
    place = served
    fit = place.reviewed(SECOND_FIT, golden=[outage()], reason="on drift: a and b")

    version = place.registry._client.get_model_version(f"anomaly.{place.group.name}", str(fit.model_version))

    assert version.description is not None
    assert fit.mlflow_run_id is not None
    for words in (
        "Nothing speaks against it",
        "on drift: a and b",
        "1 confirmed, **0 lost**",
        "0 appear, 0 disappear",
        "seasonal naive",
        "Known limits",
        "false alerts a week",
    ):
        assert words in version.description
    assert version.tags["alerts_appear"] == "0"
    folder = place.registry._client.get_run(fit.mlflow_run_id).info.artifact_uri
    files = {name: _content(place, f"{folder}/review/{name}") for name in ("review.html", "review.json")}
    assert b"data:image/png;base64" in files["review.html"]
    assert b'"kept": 1' in files["review.json"]


def test_errors_of_rare_and_of_other_variables_are_never_in_one_median(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace(candidates=["seasonal-naive", "seasonal-rate"], lateness="3h")
    rng = np.random.default_rng(1)
    rare = {f"rare_{n}": rng.poisson(0.05, UNTIL).astype(float) for n in range(2)}
    place.count({"a": regular(UNTIL), **rare})
    fit = place.reviewed(FIRST_FIT)

    review = place.reviews.review(fit.id)

    assert review is not None
    fitted = place.fitted(fit)
    assert {side.measure: side.variables for side in review.comparison.sides} == {"MAE": 1, "Poisson deviance": 2}
    assert {n: measure_of(f) for n, f in fitted.items()}["rare_0"] == "Poisson deviance"
    assert fit.mlflow_run_id is not None
    logged = place.registry._client.get_run(fit.mlflow_run_id).data.metrics
    assert logged["median_mae/chosen"] == pytest.approx(fitted["a"].mae["chosen"])
    both = [fitted[name].mae["chosen"] for name in rare]
    assert logged["median_deviance/chosen"] == pytest.approx(float(np.median(both)))


def _deaf(place: Workplace, hours: int, *, golden: list[Golden] | None = None) -> Fit:
    """A fit whose thresholds nothing reaches."""
    known = _trained(place, FIRST_FIT - DAY)
    return _fit_of(place, hours, [replace(f, tail_probability=1e-280) for f in known], golden=golden)


def _trained(place: Workplace, hours: int) -> list[FittedVariable]:
    """What a fit that nobody registers learns."""
    fit = place.prepare(hours)
    place.train(fit)
    return list(place.fitted(fit).values())


def _fit_of(
    place: Workplace,
    hours: int,
    fitted: list[FittedVariable],
    *,
    golden: list[Golden] | None = None,
    reason: str = "",
) -> Fit:
    """A registered and reviewed fit that has learned just this."""
    fit = place.prepare(hours, reason=reason)
    place.store.save_fitted(fit.id, fitted, [])
    place.register(fit)
    place.review(fit, golden=golden or [])
    return place.saved(fit)


def _content(place: Workplace, uri: str) -> bytes:
    return Path(uri.removeprefix("file://")).read_bytes()


def _stored(place: Workplace) -> list[tuple[object, ...]]:
    with place.store._cursor() as cursor:
        cursor.execute(
            "SELECT variable_id, interval_start, predicted, felt FROM predictions ORDER BY variable_id, interval_start"
        )
        return list(cursor.fetchall())
