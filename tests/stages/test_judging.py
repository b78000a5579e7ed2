"""An interval's verdict is what running it again gives, whoever labels or hands over while it is judged.

On a real PostgreSQL: every call of a store is a connection of its own, and where one waits for another, a thread of its
own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg2
import pytest

from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.reviews import PostgresReviews
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.exceptions import StoreUnavailableError
from anomaly.groups import Group, TimeRange
from anomaly.ports import Fit, Predictions
from anomaly.ports.labels import Label
from anomaly.ports.reviews import Serving
from anomaly.stages.fit import promote
from anomaly.stages.judging import judging
from anomaly.stages.label import move_thresholds
from anomaly.stages.serving import promote_version, rollback
from tests.fakes import PassingChecks
from tests.stages.conftest import HOUR, START
from tests.stages.watched import HISTORY, NoNetworks, Watched, fitted, judged_singly

JUDGED = 48
NAMES = ("kinds", "lower", "upper", "tail_probabilities", "felt", "predicted")
Meanwhile = Callable[[], object]


@dataclass
class Interrupted(PassingChecks):
    """Port `DataChecks`: judging is done and nothing is written yet, when something else happens, once."""

    meanwhile: list[Meanwhile] = field(default_factory=list)

    def predictions(self, group: Group, predictions: Predictions, within: TimeRange) -> None:
        super().predictions(group, predictions, within)
        if self.meanwhile:
            self.meanwhile.pop(0)()


class Registry:
    """As much of port `ModelRegistry` as handing over asks for."""

    def promote(self, *_: object) -> None: ...

    def tag(self, *_: object) -> None: ...


@pytest.fixture
def labels(metadata_database: dict[str, str]) -> PostgresLabels:
    return PostgresLabels(metadata_database)


@pytest.fixture
def reviews(metadata_database: dict[str, str]) -> PostgresReviews:
    return PostgresReviews(metadata_database)


@pytest.fixture
def watched(make_watched: Callable[..., Watched], labels: PostgresLabels) -> Watched:
    """Every hour is a little out of the ordinary: judged by the thresholds that are, not by others."""
    counts = np.full((2, HISTORY + JUDGED), 100.0)
    counts[0, HISTORY::2] = 147.0
    made = make_watched(counts)
    made.labels = labels
    made.promote("f1", HISTORY, threshold=4.2)
    made.checks = Interrupted()
    return made


def false_alarm(watched: Watched, labels: PostgresLabels, at: int = HISTORY) -> None:
    """Somebody calls an hour of variable `a` a false alarm, now."""
    start = START + at * HOUR
    labels.give(Label(watched.group.name, start, start + HOUR, ("a",), "false_alarm", "Ada", "cli", start))
    move_thresholds(watched.group, store=watched.store, labels=labels, now=start)


def again(watched: Watched, first: int, last: int) -> tuple[Predictions, Predictions]:
    """What is stored of some hours, and what is stored after they were judged again."""
    before = watched.predictions(first, last)
    watched.predict(first, last)
    return before, watched.predictions(first, last)


def assert_alike(found: tuple[Predictions, Predictions]) -> None:
    for name in NAMES:
        one, other = (getattr(each, name) for each in found)
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_what_a_label_says_while_an_interval_is_judged_counts_in_it_or_only_after_it(
    watched: Watched, labels: PostgresLabels
) -> None:
    watched.predict(HISTORY, HISTORY + 4)
    watched.checks = Interrupted(meanwhile=[lambda: false_alarm(watched, labels)])

    watched.predict(HISTORY + 4, HISTORY + 8)

    assert_alike(again(watched, HISTORY, HISTORY + 8))


def test_a_label_given_between_two_pieces_of_a_long_range_counts_in_the_second(
    watched: Watched, labels: PostgresLabels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly.stages.predict.CELLS_AT_ONCE", 2 * 12)
    watched.predict(HISTORY, HISTORY + 4)
    watched.checks = Interrupted(meanwhile=[lambda: None, lambda: false_alarm(watched, labels)])

    watched.predict(HISTORY + 4, HISTORY + JUDGED)

    (adjustment,) = labels.adjustments(watched.group)
    assert START + (HISTORY + 4) * HOUR < adjustment.serves_from < START + (HISTORY + JUDGED) * HOUR
    assert_alike(again(watched, HISTORY, HISTORY + JUDGED))


def second_version(watched: Watched) -> None:
    """A fit that knows of less, and has not served."""
    history = TimeRange(START, START + HISTORY * HOUR, HOUR)
    watched.store.save_fit(Fit("f2", watched.group.name, history, {}, 1, "registered", "run", 2))
    watched.store.save_fitted("f2", [fitted(v, 9.0, tests=judged_singly(9.0)) for v in watched.variables], [])


@pytest.mark.parametrize("how", ["by number", "by policy", "by policy without reviews", "by a rollback"])
def test_who_serves_may_change_while_an_interval_is_judged(
    watched: Watched, reviews: PostgresReviews, how: str
) -> None:
    second_version(watched)
    stores: dict[str, Any] = {"store": watched.store, "registry": Registry(), "now": START}
    if how == "by a rollback":
        begin = START + HISTORY * HOUR
        reviews.told(reviews.serve(Serving(watched.group.name, "f2", begin, "", "ada", "cli", START)))
        watched.store.save_fit(_third(watched))
        reviews.told(reviews.serve(Serving(watched.group.name, "f3", begin, "", "ada", "cli", START)))
    watched.predict(HISTORY, HISTORY + 4)

    def hand_over() -> None:
        who = {"why": "", "who": "ada", "reviews": reviews, **stores}
        if how == "by number":
            promote_version(watched.group, 2, **who)
        elif how == "by a rollback":
            rollback(watched.group, to=2, artifacts=NoNetworks(), **who)
        else:
            promote(watched.group, "f2", **stores, reviews=None if "without" in how else reviews)

    watched.checks = Interrupted(meanwhile=[hand_over])
    watched.predict(HISTORY + 4, HISTORY + 8)

    within = TimeRange(START + (HISTORY + 4) * HOUR, START + (HISTORY + 8) * HOUR, HOUR)
    assert [fit.id for fit in watched.store.champions(watched.group, within)] == ["f2"]
    assert_alike(again(watched, HISTORY, HISTORY + 8))
    assert watched.predictions(HISTORY + 4, HISTORY + 8).fit_id == "f2"


def _third(watched: Watched) -> Fit:
    fit = watched.store.fit("f1")
    assert fit is not None
    third = replace(fit, id="f3", model_version=3, state="registered", serves_from=None)
    watched.store.begin_fit(third)
    watched.store.save_fitted("f3", [fitted(v, 4.0) for v in watched.variables], [])
    return third


def test_whoever_dates_a_change_waits_until_what_is_being_written_is_there(
    watched: Watched, labels: PostgresLabels, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = PostgresStore.write_predictions
    waited: list[bool] = []
    other = threading.Thread(target=lambda: false_alarm(watched, labels))

    def write(store: PostgresStore, group: Group, predictions: Predictions) -> int:
        if not waited:
            other.start()
            other.join(0.5)
            waited.append(other.is_alive())
        return written(store, group, predictions)

    monkeypatch.setattr(PostgresStore, "write_predictions", write)
    watched.predict(HISTORY, HISTORY + 8)
    other.join(10)

    assert waited == [True]
    (adjustment,) = labels.adjustments(watched.group)
    assert adjustment.serves_from == START + (HISTORY + 8) * HOUR
    assert_alike(again(watched, HISTORY, HISTORY + 8))


def test_the_turn_is_not_held_while_judging_computes(watched: Watched, labels: PostgresLabels) -> None:
    turns = []

    def look() -> None:
        with _noticing(watched) as at_once:
            turns.append(at_once)

    watched.checks = Interrupted(meanwhile=[look])
    watched.predict(HISTORY, HISTORY + 8)
    assert turns == [True]


@contextmanager
def _noticing(watched: Watched) -> Iterator[bool]:
    """Whether the turn was free."""
    had = threading.Event()

    def take() -> None:
        with judging(watched.group, watched.store):
            had.set()

    taker = threading.Thread(target=take)
    taker.start()
    yield had.wait(5)
    taker.join(10)


def test_a_process_that_dies_in_its_turn_leaves_it_to_the_next(
    watched: Watched, metadata_database: dict[str, str]
) -> None:
    def end_the_others() -> None:
        link = psycopg2.connect(**metadata_database)
        with link, link.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        link.close()

    with pytest.raises(StoreUnavailableError), judging(watched.group, watched.store):
        end_the_others()
    with _noticing(watched) as at_once:
        assert at_once


def test_labelling_again_and_again_only_judges_again(watched: Watched, labels: PostgresLabels) -> None:
    watched.predict(HISTORY, HISTORY + 4)

    def one(at: int) -> Meanwhile:
        return lambda: false_alarm(watched, labels, at=HISTORY + at)

    watched.checks = Interrupted(meanwhile=[one(at) for at in range(3)])
    report = watched.predict(HISTORY + 4, HISTORY + 8)

    assert report.predictions == 2 * (4 + watched.group.lateness // timedelta(hours=1))
    assert_alike(again(watched, HISTORY, HISTORY + 8))
