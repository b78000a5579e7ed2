"""Fit on real parts: PostgreSQL, Great Expectations, MLflow, Keras, onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly.adapters.serving import load_forecaster
from anomaly.detection import training, transforms
from anomaly.detection.candidates import CANDIDATES
from anomaly.detection.evidence import Evidence
from anomaly.detection.thresholds import limit
from anomaly.detection.windows import WindowSpec
from anomaly.exceptions import ExpectationFailedError, IncompleteFitError, NotEnoughHistoryError
from anomaly.groups import TimeRange
from anomaly.ports import Fit, FittedVariable, Predictions
from anomaly.stages import fit as stage
from anomaly.stages.predict import judge, load_champion
from tests.stages.conftest import HOUR, START
from tests.stages.workplace import DAY, FIRST_FIT, Workplace, regular, wavy


def test_each_variable_gets_the_candidate_that_forecasts_it_best(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(FIRST_FIT), "regular": regular(FIRST_FIT)})

    fit = place.all_steps(FIRST_FIT)

    fitted = place.fitted(fit)
    assert fitted["wavy"].candidate == "dense-16-mae"
    assert fitted["regular"].candidate == "seasonal-naive"
    assert fitted["wavy"].mae["chosen"] == fitted["wavy"].mae["dense-16-mae"] < fitted["wavy"].mae["seasonal-naive"]
    assert "dense-16-mae has a test MAE of" in fitted["wavy"].choice


def test_a_first_fit_becomes_the_champion_from_the_end_of_its_history(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(FIRST_FIT)})

    fit = place.all_steps(FIRST_FIT)

    assert (fit.state, fit.serves_from) == ("promoted", START + FIRST_FIT * HOUR)
    assert place.registry.champion_version(place.group) == fit.model_version == 1
    assert place.store.champion(place.group) == fit


def test_the_stored_network_serves_the_residuals_that_the_thresholds_come_from(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace(candidates=["dense-16-mae"], transform="linear")
    counts = wavy(FIRST_FIT, seed=6)  # a seed that the baseline does not win
    place.count({"quiet": wavy(FIRST_FIT, level=5, seed=2), "wavy": counts})
    fit = place.all_steps(FIRST_FIT)

    (file,), fitted = place.store.network_files(fit.id), place.fitted(fit)["wavy"]
    network = load_forecaster(place.artifacts.read(file.serving_uri, sha256=file.serving_sha256))
    span = fitted.scaler_maximum - fitted.scaler_minimum
    scaled = ((counts - fitted.scaler_minimum) / span).astype(np.float32)
    at = FIRST_FIT - 1
    window = np.stack([scaled[at - 7 : at], scaled[[at - DAY * d for d in range(7, 0, -1)]]], axis=1)
    windows = np.zeros((file.variables, 1, 7, 2), np.float32)
    windows[fitted.position, 0] = window
    predicted = network.predict(windows)[fitted.position, 0] * span + fitted.scaler_minimum

    assert counts[at] - predicted == pytest.approx(fitted.residuals[-1], abs=1e-3)
    outside = (fitted.residuals < fitted.lower) | (fitted.residuals > fitted.upper)
    assert fitted.lower < 0 < fitted.upper
    assert outside.mean() < 0.02


def test_variables_that_cannot_be_fitted_get_their_stated_fallback(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    rare = np.zeros(FIRST_FIT)
    rare[::150] = 1
    place.count(
        {
            "wavy": wavy(FIRST_FIT),
            "dead": np.zeros(FIRST_FIT),
            "always three": np.full(FIRST_FIT, 3.0),
            'rare "\N{BIRD}"': rare,
        }
    )
    place.count({"young": wavy(10 * DAY)}, first=FIRST_FIT - 10 * DAY)

    report = place.train(fit := place.prepare(FIRST_FIT))

    fitted = place.fitted(fit)
    assert report.statuses == {"constant": 1, "dead": 1, "fitted": 1, "new": 1, "sparse": 1}
    dead, constant, sparse, new = (fitted[n] for n in ("dead", "always three", 'rare "\N{BIRD}"', "young"))
    assert dead.candidate == constant.candidate == sparse.candidate == "constant"
    assert constant.scaler_minimum == pytest.approx(2 * np.sqrt(3 + 3 / 8))
    assert constant.lower < 0 < constant.upper
    assert sparse.scaler_minimum == pytest.approx(2 * np.sqrt(rare.mean() + 3 / 8))
    for rarely_written in (dead, sparse):
        assert (rarely_written.lower, rarely_written.upper) == (-np.inf, np.inf)
        assert (rarely_written.distribution, rarely_written.parameters) == ("counts", (0.0, 0.02))
        assert 0 < _most(place, rarely_written) < 10
    assert (new.candidate, new.distribution, new.lower, new.upper) == ("", "", -np.inf, np.inf)
    assert "240 intervals of history; the policy asks for 504" in new.status_reason


def test_a_group_of_which_nothing_can_be_fitted_is_still_registered(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    place.count({"dead": np.zeros(FIRST_FIT)})

    fit = place.all_steps(FIRST_FIT)

    assert fit.state == "promoted"
    assert place.fitted(fit)["dead"].status == "dead"
    assert place.store.network_files(fit.id) == ()


def test_every_step_run_again_changes_nothing(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(FIRST_FIT)})
    first = place.all_steps(FIRST_FIT)
    before, files = place.fitted(first), place.store.network_files(first.id)

    again = place.all_steps(FIRST_FIT)

    assert again == first
    assert place.store.network_files(first.id) == files
    after = place.fitted(first)["wavy"]
    assert np.array_equal(after.residuals, before["wavy"].residuals)
    assert replace(after, residuals=before["wavy"].residuals) == before["wavy"]


def test_training_the_same_fit_from_scratch_gives_the_same_networks(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(candidates=["dense-16-mae"])
    place.count({"wavy": wavy(FIRST_FIT)})
    fit = place.prepare(FIRST_FIT)
    place.train(fit)
    before, (file,) = place.fitted(fit)["wavy"], place.store.network_files(fit.id)
    weights = training.read_training_form(place.artifacts.read(file.training_uri, sha256=file.training_sha256))

    with place.store._cursor() as cursor:
        cursor.execute("DELETE FROM fitted_variables")
    place.train(fit)

    (file,) = place.store.network_files(fit.id)
    again = training.read_training_form(place.artifacts.read(file.training_uri, sha256=file.training_sha256))
    assert all(np.array_equal(a, b) for a, b in zip(weights, again, strict=True))
    assert np.array_equal(place.fitted(fit)["wavy"].residuals, before.residuals)


def test_a_champion_that_is_as_good_keeps_its_network_scaler_and_seed(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(candidates=["dense-16-mae"], history={"length": "24d", "minimum": "21d"})
    later = FIRST_FIT + 4 * DAY
    counts = {name: wavy(later, seed=seed) for seed, name in enumerate("abc")}
    place.count({name: row[:FIRST_FIT] for name, row in counts.items()})
    first = place.all_steps(FIRST_FIT)
    place.count({name: row[FIRST_FIT:] for name, row in counts.items()}, first=FIRST_FIT)

    second = place.prepare(later)
    place.train(second)

    before, after = place.fitted(first), place.fitted(second)
    kept = [name for name in counts if after[name].choice.startswith("champion")]
    new = [name for name in counts if name not in kept]
    assert kept, "the seeds of this test were chosen so that the champion keeps at least one variable"
    assert all("champion" in after[name].mae for name in counts)
    old_weights, weights = _weights(place, first), _weights(place, second)
    for name in kept:
        a, b = before[name], after[name]
        assert (b.scaler_minimum, b.scaler_maximum, b.seed) == (a.scaler_minimum, a.scaler_maximum, a.seed)
        assert all(np.array_equal(w[b.position], o[a.position]) for w, o in zip(weights, old_weights, strict=True))
    for name in new:
        assert after[name].mae["dense-16-mae"] < after[name].mae["champion"]
    assert sorted(f.position for f in after.values()) == [0, 1, 2]


def test_a_challenger_that_is_worse_than_the_champion_is_rejected(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(FIRST_FIT + DAY)})
    first = place.all_steps(FIRST_FIT)
    second = place.prepare(FIRST_FIT + DAY)
    place.train(second)
    worse = [replace(f, mae={"champion": 1.0, "chosen": 1.03}) for f in place.store.fitted(second.id, residuals=True)]
    place.store.save_fitted(second.id, worse, [])
    place.register(second)

    report = place.promote(second)

    assert not report.promoted
    assert "its test errors are 1.030 times the champion's in the median over the variables" in report.reason
    assert place.saved(second).state == "rejected"
    assert place.store.champion(place.group) == first
    assert place.registry.champion_version(place.group) == 1


def test_a_champion_in_another_transform_does_not_compete(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(candidates=["dense-16-mae"])
    place.count({"wavy": wavy(FIRST_FIT + DAY)})
    place.all_steps(FIRST_FIT)
    changed = make_workplace(candidates=["dense-16-mae"], transform="linear")

    fit = changed.all_steps(FIRST_FIT + DAY)

    assert "champion" not in changed.fitted(fit)["wavy"].mae
    assert fit.state == "promoted"


def test_a_champion_whose_stored_network_is_damaged_is_replaced(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(candidates=["dense-16-mae"])
    place.count({"wavy": wavy(FIRST_FIT + DAY)})
    first = place.all_steps(FIRST_FIT)
    (file,) = place.store.network_files(first.id)
    place.artifacts.write(file.training_uri, b"not what was stored")

    second = place.all_steps(FIRST_FIT + DAY)

    assert second.state == "promoted"
    assert "champion" not in place.fitted(second)["wavy"].mae
    assert place.store.champion(place.group) == second


def test_a_champion_of_fewer_features_serves_on_and_is_compared_but_not_kept(
    make_workplace: Callable[..., Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_workplace(candidates=["departure-linear"])
    place.count({"wavy": wavy(FIRST_FIT + 2 * DAY)})
    today = CANDIDATES["departure-linear"]
    then = replace(today, window=lambda step: WindowSpec(today.window(step).columns[:5]))
    within = TimeRange(START + FIRST_FIT * HOUR, START + (FIRST_FIT + DAY) * HOUR, HOUR)

    def predicted() -> NDArray[np.float64]:
        place.predict(FIRST_FIT, FIRST_FIT + DAY)
        found = place.store.read_predictions(place.group, place.store.variables(place.group), within)
        assert found is not None
        return found.predicted

    with monkeypatch.context() as before_the_upgrade:
        before_the_upgrade.setitem(CANDIDATES, "departure-linear", then)
        first = place.all_steps(FIRST_FIT)
        served = predicted()
    serves_on = predicted()
    second = place.all_steps(FIRST_FIT + 2 * DAY)

    assert place.fitted(first)["wavy"].candidate == "departure-linear"
    assert np.isfinite(served).all()
    np.testing.assert_array_equal(serves_on, served)
    assert np.isfinite(place.fitted(second)["wavy"].mae["champion"])
    assert not place.fitted(second)["wavy"].choice.startswith("champion")
    (file,) = place.store.network_files(second.id)
    network = load_forecaster(place.artifacts.read(file.serving_uri, sha256=file.serving_sha256))
    assert network.features == today.window(HOUR).shape[1]


def test_a_fit_of_an_earlier_history_serves_its_time_and_leaves_the_latest_champion(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace(candidates=["seasonal-naive"])
    place.count({"wavy": wavy(FIRST_FIT + DAY)})
    latest = place.all_steps(FIRST_FIT + DAY)

    earlier = place.all_steps(FIRST_FIT)

    assert earlier.state == "promoted"
    assert place.store.champion(place.group) == latest
    assert place.registry.champion_version(place.group) == latest.model_version


def test_an_incident_in_the_history_does_not_teach_itself(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(candidates=["seasonal-naive"], transform="linear")
    counts = regular(FIRST_FIT)
    outage = slice(FIRST_FIT - 60, FIRST_FIT - 40)
    broken = counts.copy()
    broken[outage] = 0
    place.count({"regular": broken})
    _judged_anomalous(place, "regular", outage, observed=broken, predicted=counts)

    place.train(fit := place.prepare(FIRST_FIT))

    fitted = place.fitted(fit)["regular"]
    assert fitted.mae["chosen"] == pytest.approx(0, abs=1e-4)
    assert np.abs(fitted.residuals).max() < 1e-3
    with_windows = FIRST_FIT - 7 * DAY
    assert len(fitted.residuals) == pytest.approx(with_windows - 20, abs=5)


def test_a_large_group_is_trained_in_shards_and_gives_what_one_shard_gives(
    make_workplace: Callable[..., Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {name: wavy(FIRST_FIT, seed=seed) for seed, name in enumerate("abcd")}
    whole = make_workplace(candidates=["dense-16-mae"])
    whole.count(counts)
    together = whole.fitted(whole.all_steps(FIRST_FIT))
    monkeypatch.setattr(stage, "VARIABLES_PER_SHARD", 2)
    place = make_workplace(candidates=["dense-16-mae"], seed=whole.group.seed, description="in shards")

    fit = place.all_steps(FIRST_FIT)

    assert fit.shards == 2
    assert {f.slot for f in place.store.network_files(fit.id)} == {"0/dense-16-mae", "1/dense-16-mae"}
    for name, fitted in place.fitted(fit).items():
        assert fitted.residuals == pytest.approx(together[name].residuals, abs=1e-3)

    place.count({name: wavy(DAY, seed=9) * (name != "b") for name in counts}, first=FIRST_FIT)
    within = TimeRange(START + FIRST_FIT * HOUR, START + (FIRST_FIT + DAY) * HOUR, HOUR)
    ready = load_champion(place.group, fit, store=place.store, artifacts=place.artifacts, forecaster=load_forecaster)
    at_once = replace(ready, fit=replace(fit, shards=1))
    judged, whole_group = (judge(place.group, one, within, place.store, within.end) for one in (ready, at_once))
    assert (judged.kinds != "").any()
    for field in fields(judged):
        np.testing.assert_array_equal(getattr(judged, field.name), getattr(whole_group, field.name))


def test_a_gap_in_the_history_names_itself_and_the_command_that_fills_it(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(100)})
    place.count({"wavy": wavy(FIRST_FIT - 110)}, first=110)

    with pytest.raises(NotEnoughHistoryError, match=r"2026-01-05 04:00, 2026-01-05 14:00") as raised:
        place.prepare(FIRST_FIT)

    assert f"anomaly update {place.group.name} --start 2026-01-05T04:00:00+00:00" in str(raised.value)
    assert place.store.champion(place.group) is None


def test_a_history_shorter_than_the_policy_asks_for_is_refused(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(FIRST_FIT)})

    with pytest.raises(NotEnoughHistoryError, match=r"history of 20 days.*asks for 21 days"):
        place.prepare(20 * DAY)
    with pytest.raises(NotEnoughHistoryError, match=r"history of 0:00:00"):
        place.prepare(-DAY)


def test_a_group_without_any_event_says_so(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    within = TimeRange(START, START + FIRST_FIT * HOUR, HOUR)
    place.store.mark_updated(place.group, within, rows_read=0, events=0, at=START)

    with pytest.raises(NotEnoughHistoryError, match="has no variables in .*check the group's key 'variables'"):
        place.prepare(FIRST_FIT)


def test_counts_that_are_missing_although_update_was_there_fail_the_check(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace()
    counts = wavy(FIRST_FIT)
    counts[50] = np.nan
    place.count({"wavy": counts})

    with pytest.raises(ExpectationFailedError, match="training_windows"):
        place.prepare(FIRST_FIT)


def test_a_group_of_new_variables_alone_fails_by_the_named_expectation(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace()
    within = TimeRange(START, START + FIRST_FIT * HOUR, HOUR)
    place.store.mark_updated(place.group, within, rows_read=0, events=0, at=START)
    place.count({"young": wavy(48)}, first=FIRST_FIT - 48)

    with pytest.raises(ExpectationFailedError) as raised:
        place.prepare(FIRST_FIT)

    assert raised.value.suite == "training_windows"
    (failure,) = raised.value.failures
    assert failure.startswith("expect_column_max_to_be_between on 'intervals': found 48, min_value 504")


def test_registering_before_training_says_which_shards_are_missing(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(FIRST_FIT)})
    fit = place.prepare(FIRST_FIT)

    with pytest.raises(IncompleteFitError, match="1 shards, of which 0 are not trained; run train"):
        place.register(fit)
    with pytest.raises(IncompleteFitError, match="no model version; run register first"):
        place.promote(fit)
    with pytest.raises(IncompleteFitError, match="there is no fit unknown"):
        place.train(replace(fit, id="unknown"))


def test_another_configuration_is_another_fit(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(FIRST_FIT)})
    other = make_workplace(seed=7)

    assert place.prepare(FIRST_FIT).id == place.prepare(FIRST_FIT).id
    assert other.prepare(FIRST_FIT).id != place.prepare(FIRST_FIT).id


def test_the_moment_of_a_fit_is_floored_to_the_grid(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()
    place.count({"wavy": wavy(FIRST_FIT)})
    moment: datetime = START + FIRST_FIT * HOUR + timedelta(minutes=59)

    fit = stage.prepare(place.group, moment, store=place.store, checks=place.checks, registry=place.registry, now=START)

    assert fit.history.end == START + FIRST_FIT * HOUR


def _most(place: Workplace, fitted: FittedVariable) -> float:
    """The largest single count that is ordinary where the fallback's constant is expected."""
    evidence = Evidence([fitted.tests], step=HOUR, transform=place.group.transform)
    expected = transforms.inverse(np.array([[fitted.scaler_minimum]]), place.group.transform)
    _, high = evidence.bounds(expected, np.array([limit(fitted.tail_probability, place.group.threshold.direction)]))
    return float(high[0, 0])


def _weights(place: Workplace, fit: Fit) -> training.Weights:
    (file,) = place.store.network_files(fit.id)
    return training.read_training_form(place.artifacts.read(file.training_uri, sha256=file.training_sha256))


def _judged_anomalous(
    place: Workplace, name: str, hours: slice, *, observed: NDArray[np.float64], predicted: NDArray[np.float64]
) -> None:
    """Predictions of an earlier champion in the store, all anomalous."""
    (variable,) = [v for v in place.store.variables(place.group) if v.name == name]
    start = START + hours.start * HOUR
    history = TimeRange(START, start, HOUR)
    place.store.save_fit(Fit("earlier", place.group.name, history, {}, 1, "rejected", "run", 1, start))
    seen, expected = observed[None, hours], predicted[None, hours]
    place.store.write_predictions(
        place.group,
        Predictions(
            fit_id="earlier",
            variables=(variable,),
            starts=TimeRange(start, START + hours.stop * HOUR, HOUR).starts(),
            observed=seen,
            predicted=expected,
            lower=expected - 1,
            upper=expected + 1,
            residuals=seen - expected,
            tail_probabilities=np.full(seen.shape, 1e-6),
            felt=expected,
            outlook=expected,
            kinds=np.full(seen.shape, "drop"),
            tests=np.full(seen.shape, "single"),
        ),
    )
