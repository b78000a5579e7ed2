"""Ranks from labels: the trees are scikit-learn's to the last digit, and nothing that was confirmed sinks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomaly.detection.incidents import Incident, IncidentVariable, rated
from anomaly.detection.ranking import (
    FEATURES,
    HALF_LIFE,
    LEAST_LABELS,
    TOLD_ANYWAY,
    Memory,
    Ranking,
    Said,
    Trees,
    auc,
    features,
    fit_trees,
    learn,
    ranked,
    remembered,
)

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONE = ZoneInfo("Europe/Berlin")


def incident(*names: str, hours: int = 5, start: datetime = START, decades: float = 1.0, lost: float = 0.9) -> Incident:
    end, rarest = start + hours * HOUR, 1e-5 * 10**-decades
    parts = tuple(
        IncidentVariable(name, "drop", start, end, hours, 100 * (1 - lost), 100.0, rarest, allowed=1e-5)
        for name in names
    )
    whole = Incident(
        "g", "drop", start, end, resolved=True, tail_probability=rarest, return_period_hours=1.0, variables=parts
    )
    return rated(whole)


def table(seed: int, rows: int = 120) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, len(FEATURES)))
    return x, x[:, 0] + x[:, 5] * (x[:, 3] > 0) + 0.3 * rng.normal(size=rows) > 0


def alone(x: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Incidents that never grew."""
    return list(x[:, None])


def test_an_incident_that_grew_says_as_much_as_one_that_did_not() -> None:
    """Whatever the number of its states: otherwise the long ones, which are mostly real, would be learned alone."""
    x, real = table(10)
    once = learn(alone(x), real, np.ones(len(x)), digest_below=0.2, seed=1)
    often = learn([np.repeat(row, 4, axis=0) for row in alone(x)], real, np.ones(len(x)), digest_below=0.2, seed=1)
    assert once is not None
    assert often is not None
    # Each leaf asks for five rows, which fewer incidents can give: alike, not equal.
    assert np.corrcoef(once.trees.rank(x), often.trees.rank(x))[0, 1] > 0.9
    assert often.labels == once.labels == len(x)


def test_the_bar_is_about_confirmed_incidents_that_were_low_in_all_their_states() -> None:
    """One that climbs out of the digest as it grows is not lost; one that never does is."""
    rng = np.random.default_rng(11)
    real = np.arange(200) % 2 == 0
    low = rng.normal(size=(200, len(FEATURES)))
    low[:, 0] = 0.0
    high = low.copy()
    high[:, 0] = np.where(real, 1.0, 0.0)
    climbing = [np.stack([a, b]) for a, b in zip(low, high, strict=True)]
    climbs = learn(climbing, real, np.ones(200), digest_below=0.9, seed=1)
    stays = learn(alone(low), real, np.ones(200), digest_below=0.9, seed=1)
    assert climbs is not None
    assert stays is not None
    assert climbs.lowest_real > 2 * stays.lowest_real


def test_a_ranking_knows_whether_it_was_learned_from_the_features_of_today() -> None:
    x, real = table(12)
    found = learn(alone(x), real, np.ones(len(x)), digest_below=0.2, seed=1)
    assert found is not None
    assert found.of_today
    assert not replace(found, trees=replace(found.trees, features=FEATURES[1:])).of_today


def test_the_trees_say_what_scikit_learn_says() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

    x, real = table(1)
    weights = np.where(real, 1.0, 0.5)
    theirs = HistGradientBoostingClassifier(
        learning_rate=0.1, max_iter=80, max_leaf_nodes=6, min_samples_leaf=5, l2_regularization=1.0,
        early_stopping=False, random_state=3,
    ).fit(x, real, sample_weight=weights)  # fmt: skip
    other = np.random.default_rng(2).normal(size=(500, len(FEATURES)))
    ours = fit_trees(x, real, weights, seed=3).rank(other)
    np.testing.assert_allclose(ours, theirs.predict_proba(other)[:, 1], rtol=1e-12)


def test_a_ranking_is_the_same_after_a_trip_through_json() -> None:
    x, real = table(4)
    found = learn(alone(x), real, np.ones(len(x)), digest_below=0.2, seed=1)
    assert found is not None
    again = Ranking.from_json(json.loads(json.dumps(found.as_json())))
    np.testing.assert_array_equal(again.trees.rank(x), found.trees.rank(x))
    assert (again.bar, again.labels, again.real) == (found.bar, found.labels, found.real)


def test_too_few_labels_or_labels_that_all_say_the_same_teach_nothing() -> None:
    x, real = table(5)
    few = LEAST_LABELS - 1
    assert learn(alone(x[:few]), real[:few], np.ones(few), digest_below=0.2, seed=1) is None
    assert learn(alone(x), np.ones(len(x), dtype=bool), np.ones(len(x)), digest_below=0.2, seed=1) is None


def test_the_bar_stays_below_what_confirmed_incidents_were_ranked_in_their_time() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(200, len(FEATURES)))
    by_chance = learn(alone(x), rng.random(200) < 0.5, np.ones(200), digest_below=0.9, seed=1)
    plain = learn(alone(x), x[:, 0] > 0, np.ones(200), digest_below=0.2, seed=1)
    assert by_chance is not None
    assert plain is not None
    assert by_chance.bar <= 0.5 * by_chance.lowest_real < 0.2
    assert plain.bar == 0.2
    assert plain.auc > 0.95
    assert 0.3 < by_chance.auc < 0.7


def test_critical_incidents_are_never_sent_down_and_one_in_ten_of_the_others_is_told_anyway() -> None:
    none = np.zeros(1, dtype=np.int64)
    never = Trees(
        FEATURES, -9.0, roots=none, feature=none, threshold=np.zeros(1), left=none, right=none, value=np.zeros(1)
    )
    ranking = Ranking(never, 0.2, 40, 20, 0.5, 0.9)
    found = [ranked(ranking, incident("a", start=START + n * HOUR), Memory(), zone=ZONE, seed=7) for n in range(1000)]
    assert all(f.low for f in found)
    assert np.mean([f.told_anyway for f in found]) == pytest.approx(TOLD_ANYWAY, abs=0.03)
    assert not any(f.to_digest and f.told_anyway for f in found)
    critical = replace(incident("a"), severity="critical")
    assert not ranked(ranking, critical, Memory(), zone=ZONE, seed=7).low


def test_an_incident_that_grows_keeps_its_draw() -> None:
    x, real = table(8)
    found = learn(alone(x), real, np.ones(len(x)), digest_below=0.2, seed=1)
    assert found is not None
    always = replace(found, bar=1.1)
    for n in range(50):
        small, large = (incident("a", hours=hours, start=START + n * HOUR) for hours in (3, 30))
        drawn = [ranked(always, i, Memory(), zone=ZONE, seed=7).told_anyway for i in (small, large)]
        assert drawn[0] == drawn[1]


def test_what_was_said_of_a_variable_fades_and_what_is_said_later_is_not_known_before() -> None:
    said = [Said(START, ("a",), real=False), Said(START + 3 * HALF_LIFE, ("a",), real=True)]
    before = remembered(said, START)
    assert before.share("a", START) == (0.5, 0.0)
    soon, late = (remembered(said, START + t).share("a", START + t)[0] for t in (HOUR, 2 * HALF_LIFE))
    assert soon < late < 0.5
    assert remembered(said, START + 4 * HALF_LIFE).share("a", START + 4 * HALF_LIFE)[0] > 0.5


def test_features_are_named_finite_and_in_the_groups_zone() -> None:
    found = dict(zip(FEATURES, features(incident("a", "b"), Memory(), zone=ZONE).tolist(), strict=True))
    assert all(np.isfinite(list(found.values())))
    assert found["share lost"] == pytest.approx(-0.9)
    assert found["kind drop"] == found["test single"] == 1
    assert found["hour sin"] == pytest.approx(np.sin(2 * np.pi / 24))  # one o'clock in Berlin


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(pairs: list[tuple[float, bool]]) -> None:
    ranks, real = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    found = auc(ranks, real)
    if real.all() or not real.any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(1 - auc(ranks, ~real))
