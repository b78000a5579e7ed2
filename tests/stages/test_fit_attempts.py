"""Attempts at a fit that overlap, come too early, or find the champion's files gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anomaly.adapters.postgres.store import PostgresStore
from anomaly.exceptions import (
    ArtifactMissingError,
    ArtifactsUnavailableError,
    CountsNotReadyError,
    NotEnoughHistoryError,
    PermanentError,
    TransientError,
)
from anomaly.groups import Group, TimeRange
from anomaly.ports import HistorySummary
from anomaly.stages import fit as stage
from tests.stages.conftest import HOUR, START
from tests.stages.workplace import DAY, FIRST_FIT, Workplace, wavy


class Meanwhile:
    """A real part; just before one of its methods is called first, something else happens."""

    def __init__(self, part: Any, method: str, happens: Callable[[], object]) -> None:
        self._part, self._method, self._happens = part, method, [happens]

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._happens:
            self._happens.pop()()
        return getattr(self._part, name)


def test_a_prepare_that_stalls_while_another_goes_on_resets_nothing(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(candidates=["seasonal-naive"])
    place.count({"wavy": wavy(FIRST_FIT)})
    checks: Any = Meanwhile(place.checks, "training_windows", lambda: place.all_steps(FIRST_FIT))

    late = replace(place, checks=checks).prepare(FIRST_FIT)

    assert late.state == "promoted"
    assert place.saved(late) == late
    assert place.store.champion(place.group) == late


def test_two_attempts_at_one_shard_at_once_leave_a_fit_that_can_be_registered(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace(candidates=["dense-16-mae"])
    place.count({"wavy": wavy(FIRST_FIT)})
    fit = place.prepare(FIRST_FIT)
    store: Any = Meanwhile(place.store, "save_fitted", lambda: place.train(fit))

    replace(place, store=store).train(fit)

    assert place.register(fit).model_version == 1


def test_an_attempt_at_a_shard_that_ends_after_the_registration_changes_nothing(
    make_workplace: Callable[..., Workplace],
) -> None:
    place = make_workplace(candidates=["dense-16-mae"])
    place.count({"wavy": wavy(FIRST_FIT)})
    fit = place.prepare(FIRST_FIT)
    registry: Any = Meanwhile(place.registry, "log_network", lambda: place.all_steps(FIRST_FIT))

    report = replace(place, registry=registry).train(fit)

    assert report.statuses == {"fitted": 1}
    (file,) = place.store.network_files(fit.id)
    version = place.registry.champion_version(place.group)
    assert version == 1
    place.artifacts.read(file.training_uri, sha256=file.training_sha256)
    place.artifacts.read(file.serving_uri, sha256=file.serving_sha256)
    with place.store._cursor() as cursor:
        cursor.execute("SELECT state FROM fits")
        assert cursor.fetchall() == [("promoted",)]


@pytest.mark.parametrize("form", ["training", "serving"])
def test_a_champion_whose_stored_network_was_deleted_is_replaced(
    make_workplace: Callable[..., Workplace], caplog: pytest.LogCaptureFixture, form: str
) -> None:
    place = make_workplace(candidates=["dense-16-mae"])
    place.count({"wavy": wavy(FIRST_FIT + DAY)})
    first = place.all_steps(FIRST_FIT)
    (file,) = place.store.network_files(first.id)
    uri, sha256 = {
        "training": (file.training_uri, file.training_sha256),
        "serving": (file.serving_uri, file.serving_sha256),
    }[form]
    Path(uri.removeprefix("file://")).unlink()
    with pytest.raises(ArtifactMissingError, match="is not there"):
        place.artifacts.read(uri, sha256=sha256)

    with caplog.at_level(logging.WARNING):
        second = place.all_steps(FIRST_FIT + DAY)

    assert second.state == "promoted"
    assert "champion" not in place.fitted(second)["wavy"].mae
    assert "the champion, version 1, does not compete" in caplog.text


def test_without_the_artifact_root_a_file_does_not_count_as_deleted(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace()

    with pytest.raises(ArtifactsUnavailableError, match="is mounted") as raised:
        place.artifacts.read(f"{place.artifacts.root}/x.onnx", sha256="")

    assert not isinstance(raised.value, ArtifactMissingError)


@pytest.mark.parametrize(("missing", "kind"), [(1, TransientError), (5, TransientError), (6, PermanentError)])
def test_only_the_latest_intervals_are_worth_waiting_for(
    make_workplace: Callable[..., Workplace], missing: int, kind: type[Exception]
) -> None:
    place = make_workplace(candidates=["seasonal-naive"], lateness="3h")
    place.count({"wavy": wavy(FIRST_FIT - missing)})

    with pytest.raises(kind, match=f"anomaly update {place.group.name} --start") as raised:
        place.prepare(FIRST_FIT)

    assert isinstance(raised.value, CountsNotReadyError | NotEnoughHistoryError)
    place.count({"wavy": wavy(missing)}, first=FIRST_FIT - missing)
    assert place.prepare(FIRST_FIT).state == "started"


def test_a_short_gap_within_the_history_is_not_waited_for(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(candidates=["seasonal-naive"])
    place.count({"wavy": wavy(FIRST_FIT - 3)})
    place.count({"wavy": wavy(1)}, first=FIRST_FIT - 1)

    with pytest.raises(NotEnoughHistoryError, match="which is part of the history"):
        place.prepare(FIRST_FIT)


def test_a_history_that_no_window_fits_into_says_how_much_is_needed(make_group: Callable[..., Group]) -> None:
    daily: dict[str, object] = {"interval": "1d", "incidents": {"merge_gap": "1d"}}
    until = START + 60 * DAY * HOUR
    short = make_group(**daily, history={"length": "30d", "minimum": "21d"})
    naive = make_group(**daily, history={"length": "30d", "minimum": "21d"}, candidates=["seasonal-naive"])

    with pytest.raises(NotEnoughHistoryError, match=r"history of 30 days.*need 71 days.*back 51 intervals, and 20 "):
        stage._history(short, until)
    assert len(stage._history(naive, until)) == 30
    assert len(stage._history(make_group(**daily, history={"length": "80d"}), START + 75 * DAY * HOUR)) == 75


def test_a_history_is_summarised_by_some_variables_at_a_time(
    make_workplace: Callable[..., Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_workplace()
    place.count({name: wavy(FIRST_FIT, seed=at) for at, name in enumerate("abcde")})
    history = TimeRange(START, START + FIRST_FIT * HOUR, HOUR)
    variables = place.store.variables(place.group)
    asked: list[int] = []

    class Watched(PostgresStore):
        def read_counts(self, group: Group, variables: Any, within: TimeRange) -> Any:
            asked.append(len(variables))
            return super().read_counts(group, variables, within)

    watched = Watched(place.store._arguments)
    whole = stage._summary(place.group, variables, history, watched)
    monkeypatch.setattr(stage, "SUMMARISED_AT_ONCE", 2)
    parts = stage._summary(place.group, variables, history, watched)

    assert asked == [5, 2, 2, 1]
    assert _plain(parts) == _plain(whole)
    counts = [wavy(FIRST_FIT, seed=at) for at in range(5)]
    assert whole.maximum.tolist() == [row.max() for row in counts]
    assert whole.distinct.tolist() == [len(set(row)) for row in counts]
    assert whole.missing.tolist() == [0] * 5


def test_a_group_is_never_split_into_more_shards_than_it_allows(
    make_workplace: Callable[..., Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "VARIABLES_PER_SHARD", 1)
    place = make_workplace(candidates=["seasonal-naive"], max_shards=2)
    place.count({name: wavy(FIRST_FIT, seed=at) for at, name in enumerate("abcd")})

    fit = place.all_steps(FIRST_FIT)

    assert fit.shards == 2
    assert list(place.fitted(fit)) == list("abcd")


def test_the_baseline_competes_where_it_is_not_named(make_workplace: Callable[..., Workplace]) -> None:
    place = make_workplace(candidates=["dense-16-mae"])
    place.count({"wavy": wavy(FIRST_FIT)})

    place.train(fit := place.prepare(FIRST_FIT))

    assert set(place.fitted(fit)["wavy"].mae) == {"dense-16-mae", "seasonal-naive", "chosen"}


def _plain(summary: HistorySummary) -> dict[str, object]:
    names = ("variables", "intervals", "missing", "distinct", "minimum", "maximum")
    return {name: list(getattr(summary, name)) for name in names}
