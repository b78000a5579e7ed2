"""``anomaly models`` on a real store and a real registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from anomaly.adapters.mlflow_registry import MlflowRegistry
from anomaly.adapters.postgres.labels import PostgresLabels
from anomaly.adapters.postgres.reviews import PostgresReviews
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.cli import PERMANENT, app
from anomaly.groups import Group, TimeRange, load_group
from anomaly.groups.golden import Golden, load_golden
from anomaly.ports import Fit
from anomaly.ports.labels import Label
from anomaly.ports.reviews import AlertDiff, Comparison, JudgedAlert, Replayed, Review, Serving
from tests.conftest import Arguments

GROUP = """\
owner: data
source: {connection: shop, table: events}
interval: 1h
variables: all
schedule: {start: 2026-01-01T00:00:00+00:00}
slack: {channel: "#alerts"}
"""
START, HOUR, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1), timedelta(days=1)


class Place:
    """A group with two versions that have served, and its commands."""

    def __init__(self, folder: Path, arguments: Arguments, registry: MlflowRegistry) -> None:
        self.folder, self.registry = folder, registry
        self.group: Group = load_group(folder / "orders.yaml")
        self.store, self.reviews = PostgresStore(arguments), PostgresReviews(arguments)
        self.labels = PostgresLabels(arguments)
        self.fits = [self.fit(days) for days in (30, 37)]
        for fit in self.fits:
            serving = Serving("orders", fit.id, fit.history.end, "not worse", "policy", "policy", fit.history.end)
            self.reviews.told(self.reviews.serve(serving))
        self.registry.promote(self.group, 2)

    def fit(self, days: int) -> Fit:
        history = TimeRange(START, START + days * DAY, HOUR)
        made = Fit(f"fit-{days}", "orders", history, {}, 1, "trained", reason="on schedule")
        made = replace(made, mlflow_run_id=self.registry.start_run(self.group, made))
        version = self.registry.register(self.group, made, [], description="", tags={})
        saved = replace(made, state="registered", model_version=version)
        self.store.save_fit(self.store.begin_fit(saved))
        return saved

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, ["models", *arguments], catch_exceptions=False)


@pytest.fixture
def place(metadata_database: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = tmp_path / "groups"
    folder.mkdir()
    (folder / "orders.yaml").write_text(GROUP)
    a = metadata_database
    uri = f"postgres://{a['user']}:{quote(a['password'], safe='')}@{a['host']}:{a['port']}/{a['dbname']}"
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", uri)
    monkeypatch.setenv("ANOMALY_GROUPS", str(folder))
    monkeypatch.setenv("ANOMALY_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return Place(folder, a, MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts")))


def review(fit: Fit) -> Review:
    begin = START + 20 * DAY
    alert = JudgedAlert(
        start=begin,
        end=begin + 5 * HOUR,
        kind="drop",
        severity="high",
        variables=("web", "app"),
        observed=3,
        expected=80,
        return_period_hours=9000,
        out_of_sample=False,
    )
    golden = Golden(start=begin + DAY, end=begin + 2 * DAY, variables=("web",), word="real", reason="")
    diff = AlertDiff(START, fit.history.end, 4, 3, 3, (), (alert,), fit.history.end - DAY)
    return Review(
        fit.id,
        "orders",
        "fit-30",
        1,
        START,
        Comparison((), None, (), ()),
        diff,
        (Replayed(golden, challenger=False, champion=True),),
    )


def test_versions_are_listed_reviewed_rolled_back_and_promoted(place: Place) -> None:
    place.reviews.save(review(place.fits[1]))

    listed = place.run("list", "orders").output
    assert all(words in listed for words in ("champion", "served", "on schedule", "+0 -1"))

    told = place.run("diff", "orders").output
    assert "Version 2 of orders against version 1; it was fitted on schedule" in told
    assert "4 alerts by the champion, 3 by this version; 0 appear, 1 disappear, 3 stay" in told
    assert "drop, high" in told
    assert "LOST: real of 2026-01-22 00:00: web" in told

    back = place.run("rollback", "orders", "--reason", "it missed Friday", "--as", "ada")
    assert back.exit_code == 0
    assert "version 1 of orders serves in place of version 2" in back.output
    assert place.registry.champion_version(place.group) == 1
    assert "ada: it missed Friday" in place.run("list", "orders").output

    none = place.run("rollback", "orders")
    assert none.exit_code == PERMANENT
    assert "no version of 'orders' that is older" in none.stderr

    again = place.run("promote", "orders", "2", "--as", "ben")
    assert "version 2 of orders serves in place of version 1" in again.output
    assert "is the champion, no challenger" in place.run("reject", "orders", "2").stderr
    assert "has no fit of version 9: there are 1, 2" in place.run("diff", "orders", "9").stderr


def test_labels_become_golden_incidents_and_what_is_written_stays(place: Place) -> None:
    label = Label("orders", START, START + 6 * HOUR, ("web",), "real", "ada", "cli", START, reason="a storm")
    place.labels.give(label)

    assert "+ 2026-01-01 00:00 real: web a storm" in place.run("golden", "orders").output
    assert load_golden(place.folder, "orders") == ()
    place.run("golden", "orders", "--write")
    (written,) = load_golden(place.folder, "orders")
    assert (written.word, written.reason) == ("real", "a storm")
    assert "holds all 1 already" in place.run("golden", "orders", "--write").output

    place.labels.give(replace(label, start=START + 9 * DAY, end=START + 10 * DAY, word="false_alarm", reason=""))
    place.run("golden", "orders", "--write")
    assert [g.word for g in load_golden(place.folder, "orders")] == ["real", "false_alarm"]


def test_an_alias_moved_by_hand_is_followed(place: Place) -> None:
    place.registry.promote(place.group, 1)
    followed: Callable[..., Any] = place.run
    assert "version 1 of orders serves in place of version 2" in followed("follow", "orders").output
