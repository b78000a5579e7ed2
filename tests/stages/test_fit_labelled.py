"""What people said of the history decides what a fit learns from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.serving import load_forecaster
from anomaly.groups import TimeRange
from anomaly.ports import Fit, FittedVariable, Predictions
from anomaly.ports.labels import Label, LabelWord
from anomaly.stages import fit as stage
from tests.stages.conftest import HOUR, START
from tests.stages.workplace import DAY, Workplace

HISTORY = 35 * DAY
SAID = (30 * DAY + 8, 30 * DAY + 20)
"""Hours, of the test period, that somebody labels."""


@pytest.fixture
def labels(metadata_database: dict[str, str]) -> PostgresLabels:
    return PostgresLabels(metadata_database)


def noisy(*, seed: int) -> NDArray[np.float64]:
    rate = 60 + 40 * np.sin(np.arange(HISTORY) / DAY * 2 * np.pi)
    return np.random.default_rng(seed).poisson(rate).astype(float)


def label(workplace: Workplace, word: LabelWord, *variables: str) -> Label:
    start, end = (START + hour * HOUR for hour in SAID)
    return Label(workplace.group.name, start, end, variables, word, "Ada", "csv", end + timedelta(days=1), "because")


def learned(workplace: Workplace, labels: PostgresLabels, *held: Label) -> dict[str, FittedVariable]:
    for each in held:
        labels.give(each)
    fit = workplace.prepare(HISTORY)
    stage.train(
        workplace.group,
        fit.id,
        0,
        store=workplace.store,
        registry=workplace.registry,
        artifacts=workplace.artifacts,
        forecaster=load_forecaster,
        labels=labels,
    )
    return workplace.fitted(fit)


def test_what_is_labelled_real_is_in_no_variables_residuals_and_widens_no_threshold(
    make_workplace: Callable[..., Workplace], labels: PostgresLabels
) -> None:
    workplace = make_workplace(candidates=["seasonal-naive"])
    quiet = noisy(seed=1)
    hit = quiet.copy()
    every_other = slice(SAID[0], SAID[1], 2)  # too scattered to be left out without a label
    hit[every_other] = np.round(hit[every_other] / 5)
    workplace.count({"a": hit, "b": hit, "quiet": quiet})
    found = learned(workplace, labels, label(workplace, "real", "a"))

    far = {name: float(np.abs(f.residuals).max()) for name, f in found.items()}
    assert far["a"] < 0.8 * far["b"]
    assert found["a"].residuals.size == found["b"].residuals.size - (SAID[1] - SAID[0])
    assert found["a"].lower > found["b"].lower
    assert found["a"].lower == pytest.approx(found["quiet"].lower, rel=0.1)


def test_an_interval_that_is_labelled_a_false_alarm_is_learned_from_although_it_was_anomalous(
    make_workplace: Callable[..., Workplace], labels: PostgresLabels
) -> None:
    workplace = make_workplace(candidates=["seasonal-naive"])
    counts = noisy(seed=2)
    counts[SAID[0] : SAID[1]] *= 2
    workplace.count({"a": counts, "b": counts})
    within = TimeRange(START, START + HISTORY * HOUR, HOUR)
    variables = workplace.store.variables(workplace.group)
    judged = np.tile(counts, (2, 1))
    felt, kinds = judged.copy(), np.full(judged.shape, "", dtype="<U16")
    felt[:, SAID[0] : SAID[1]], kinds[:, SAID[0] : SAID[1]] = 60.5, "surge"
    others = dict.fromkeys(("predicted", "lower", "upper", "residuals", "outlook"), judged)
    others["tail_probabilities"] = np.full(judged.shape, 1e-3)
    workplace.store.save_fit(Fit("f0", workplace.group.name, within, {}, 1, "promoted", serves_from=START))
    workplace.store.write_predictions(
        workplace.group,
        Predictions("f0", variables, within.starts(), judged, felt=felt, kinds=kinds, tests=kinds, **others),
    )
    found = learned(workplace, labels, label(workplace, "false_alarm", "a"))

    assert found["a"].residuals.size == found["b"].residuals.size + SAID[1] - SAID[0]
    assert found["a"].upper > found["b"].upper


def test_a_variable_of_which_everything_is_labelled_real_is_not_judged_and_stops_no_other(
    make_workplace: Callable[..., Workplace], labels: PostgresLabels
) -> None:
    workplace = make_workplace(candidates=["seasonal-naive"])
    workplace.count({"a": noisy(seed=3), "b": noisy(seed=4)})
    whole = Label(
        workplace.group.name, START, START + HISTORY * HOUR, ("a",), "real", "Ada", "csv", START + HISTORY * HOUR
    )
    found = learned(workplace, labels, whole)
    assert found["b"].status == "fitted"
    assert found["a"].tests == ()
