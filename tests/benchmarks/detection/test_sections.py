"""Sections put measures and workloads together without mixing up rows, and write what JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks import ranking_bench
from tests.benchmarks.detection import data
from tests.benchmarks.detection.__main__ import SECTIONS, _read
from tests.benchmarks.detection.injected_bench import SLICES, Slice, evaluate
from tests.benchmarks.detection.reporting import plain, spread


@pytest.fixture(scope="module")
def load() -> data.Workload:
    return data.simulated_workload(data.TUNING_SEED, 12)


def perfect(load: data.Workload) -> np.ndarray:
    """Scores that are 1 in the first interval of every incident and nowhere else."""
    scores = np.zeros(load.clean.shape)
    for one in load.truth:
        scores[one.row, one.start] = 1
    return scores


@pytest.mark.parametrize("part", [part for part in SLICES if part.source == "simulated"], ids=lambda part: part.name)
def test_perfect_scores_find_everything_at_once_in_every_slice(load: data.Workload, part: Slice) -> None:
    rows = np.flatnonzero(part.chosen(load))
    found = evaluate(perfect(load), load, rows)
    assert len(found.curve.kinds) == sum(one.row in rows for one in load.truth) > 0
    for at in found.points.values():
        assert at.recall == 1
        assert at.median_delay == 0
    assert found.average_precision > 0.3  # a day in the middle of a long incident has no alarm of its own


def test_scores_of_other_rows_do_not_count(load: data.Workload) -> None:
    scores = perfect(load)
    rows = np.array([3, 7, 8])
    others = np.setdiff1d(np.arange(len(scores)), rows)
    noisy = scores.copy()
    noisy[others] = np.random.default_rng(0).random((len(others), scores.shape[1])) * 9
    assert evaluate(noisy, load, rows).points[5].recall == evaluate(scores, load, rows).points[5].recall == 1


def test_scores_without_any_information_find_next_to_nothing(load: data.Workload) -> None:
    scores = np.random.default_rng(1).random(load.clean.shape)
    assert evaluate(scores, load, np.arange(len(scores))).points[5].recall < 0.2


def test_what_is_not_finite_becomes_null_in_json() -> None:
    text = json.dumps(plain({1: np.float64("nan"), "b": [np.inf, np.int64(3), np.float32(0.5)], "c": (True, "x")}))
    assert json.loads(text) == {"1": None, "b": [None, 3, 0.5], "c": [True, "x"]}


def test_a_spread_needs_more_than_one_seed() -> None:
    assert spread([0.5]) == "0.50"
    assert spread([0.5, float("nan"), 0.7]) == "0.60 ±0.14"
    assert spread([float("nan")]) == "-"


def test_prophet_runs_only_when_asked_for() -> None:
    assert "prophet" not in _read([])[0]
    assert _read(["prophet"]) == (["prophet"], data.REPORTING_SEEDS)
    assert _read(["peers", "--seeds", "tuning"]) == (["peers"], (data.TUNING_SEED,))


@pytest.mark.parametrize("arguments", [["peer"], ["--seeds", "few"]])
def test_what_is_not_known_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _read(arguments)
    told = capsys.readouterr().err
    assert arguments[-1] in told
    assert next(iter(SECTIONS)) in told or "tuning" in told


@pytest.mark.parametrize(
    ("asked", "run"),
    [((data.TUNING_SEED,), ranking_bench.TUNING), (data.REPORTING_SEEDS, ranking_bench.REPORTED), ((7, 8), (7, 8))],
)
def test_ranking_takes_its_own_seeds_where_the_others_tune_and_report(
    asked: tuple[int, ...], run: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gained = ranking_bench.Gained(200, 100, 90, 0, 5, auc=0.9, labels=250, mended=0.7)
    hiding = replace(gained, real_in_digest=1)
    monkeypatch.setattr(ranking_bench, "live", lambda seed: hiding if seed == run[-1] else gained)
    section = ranking_bench.ranking_benchmark(asked)
    assert section.written["seeds"] == list(run)
    assert len(section.written["by_seed"]) == len(run)
    (goal,) = section.goals
    assert (goal.value, goal.reached) == (1, False)
    (table,) = section.tables
    assert table.row_count == len(run) + 1


def test_ranking_belongs_to_a_whole_run() -> None:
    assert "ranking" in _read([])[0]
