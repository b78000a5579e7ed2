"""``anomaly explain`` on a real store, of what a real fit and a real prediction left there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import psycopg2
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from anomaly.adapters.artifacts import Artifacts
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.adapters.scratch_models import NoCharts, ScratchRegistry
from anomaly.cli import PERMANENT, app
from anomaly.detection.grid import CountGrid
from anomaly.groups import Group, TimeRange
from anomaly.groups.loading import load_groups
from anomaly.groups.model import TOTAL
from anomaly.ports import Fit, NetworkFile
from anomaly.stages import fit as fitting
from anomaly.stages.predict import predict
from tests.conftest import Arguments, _database_like
from tests.fakes import PassingChecks

GROUP = """\
owner: data
source: {connection: shop, table: events}
interval: 1h
timezone: America/New_York
variables: all
total: true
candidates: [seasonal-naive, seasonal-rate]
schedule: {start: 2026-01-01T00:00:00+00:00}
slack: {channel: "#alerts"}
"""
START, HOUR = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1)
HISTORY, DAYS = 40 * 24, 2 * 24
OUTAGE = HISTORY + 12
"""Hour from which `orders.web` is written no more."""

Run = Callable[..., Any]


class ThirdVersion(ScratchRegistry):
    """Stands where MLflow would, and has had two versions before: these candidates have no weights to keep."""

    def start_run(self, group: Group, fit: Fit) -> str:
        return f"run-of-{group.name}"

    def register(self, group: Group, fit: Fit, networks: Sequence[NetworkFile], **said: Any) -> int:
        return 2 + super().register(group, fit, networks, **said)


class NoNetworks(Artifacts):
    """Stands where stored networks would."""

    def __init__(self) -> None:
        super().__init__("nowhere")

    def read(self, uri: str, *, sha256: str) -> bytes:
        raise AssertionError(f"there is no network to read at {uri} ({sha256})")

    def write(self, uri: str, content: bytes) -> None:
        raise AssertionError(f"there is no network to store: {len(content)} bytes at {uri}")


def no_network(serving: bytes) -> Any:
    raise AssertionError(f"there is no network to load: {len(serving)} bytes")


def counts() -> dict[str, NDArray[np.float64]]:
    """A regular variable, a rare one, one that is never written, one that has just begun, and the sum of all."""
    rng = np.random.default_rng(11)
    hours = np.arange(HISTORY + DAYS)
    wave = 1.2 + np.sin(hours / 24 * 2 * np.pi)
    made = {
        "orders.web": rng.poisson(30 * wave).astype(float),
        "orders.fax": rng.poisson(0.3 * wave).astype(float),
        "orders.telex": np.zeros(len(hours)),
        "orders.new": np.where(hours < HISTORY - 48, np.nan, rng.poisson(5, len(hours))).astype(float),
    }
    made["orders.web"][OUTAGE:] = 0
    return made | {TOTAL: np.nansum(list(made.values()), axis=0)}


def learn_and_judge(group: Group, store: PostgresStore, made: Mapping[str, NDArray[np.float64]]) -> None:
    within = TimeRange(START, START + (HISTORY + DAYS) * HOUR, HOUR)
    begins = {name: START + int(np.isfinite(row).argmax()) * HOUR for name, row in made.items()}
    variables = store.enrol(group, dict.fromkeys(made, "numeric"), first_interval=begins)
    table = np.array([made[v.name] for v in variables])
    store.write_counts(group, variables, CountGrid(tuple(v.name for v in variables), within.starts(), table))
    store.mark_updated(group, within, rows_read=0, events=0, at=within.end)
    artifacts, checks = NoNetworks(), PassingChecks()
    registry = ThirdVersion(artifacts)
    fit = fitting.prepare(group, START + HISTORY * HOUR, store=store, checks=checks, registry=registry, now=within.end)
    fitting.train(group, fit.id, 0, store=store, registry=registry, artifacts=artifacts, forecaster=no_network)
    fitting.register(group, fit.id, store=store, registry=registry, charts=NoCharts())
    fitting.promote(group, fit.id, store=store, registry=registry)
    predict(
        group,
        START + HISTORY * HOUR,
        within.end,
        store=store,
        checks=checks,
        artifacts=artifacts,
        forecaster=no_network,
        now=within.end,
    )


@pytest.fixture(scope="module")
def judged(
    postgres: Arguments, _migrated: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Arguments, Path]]:
    """A database in which the group `shop` has learned and judged, and the folder of its file."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "shop.yaml").write_text(GROUP)
    (group,) = load_groups(folder)
    with _database_like(postgres, _migrated) as arguments:
        learn_and_judge(group, PostgresStore(arguments), counts())
        yield arguments, folder


@pytest.fixture
def run(judged: tuple[Arguments, Path], monkeypatch: pytest.MonkeyPatch) -> Run:
    arguments, folder = judged
    password = quote(arguments["password"], safe="")
    address = f"{arguments['user']}:{password}@{arguments['host']}:{arguments['port']}/{arguments['dbname']}"
    monkeypatch.setenv("AIRFLOW_CONN_ANOMALY_DB", f"postgres://{address}")
    monkeypatch.setenv("ANOMALY_GROUPS", str(folder))
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *given: CliRunner().invoke(app, ["explain", *given], catch_exceptions=False)


def moment(hour: int) -> str:
    return (START + hour * HOUR).isoformat()


def words(output: str) -> str:
    """Without line breaks and columns."""
    return " ".join(output.split())


# --- the page -----------------------------------------------------------------------------------------------------


def test_every_number_is_traced_from_the_policy_to_the_counts(run: Run) -> None:
    page = words(run("orders.web").output)
    for told in (
        "orders.web of shop",
        "version 3 (promoted), serves from 9 Feb 2026 19:00 on",
        "MLflow run run-of-shop",
        "1 false incident a week in #alerts",
        "50% of it is the total's; the other half is the other variables'",
        # Half an incident a week over 4 variables x 168 intervals.
        "4 variables share it, each with 168 intervals a week: a false incident may begin in 1 in 1,340 of its own",
        "status fitted:",
        "seasonal-rate",
        "mean absolute error",
        "single this interval, against its prediction",
        "sum-24 the latest 24 intervals together",
        "frozen the same count again and again",
        "level the latest three days together",
        "one interval in ten of the history has what the family calls 1 in",
        "worked out agrees",
    ):
        assert told in page, told
    assert "differs" not in page


def test_a_total_and_a_rare_variable_have_their_own_rules(run: Run) -> None:
    total = words(run("(total)").output)
    assert "50% of it is the total's; this is it" in total
    assert "shared out 168 intervals a week: a false incident may begin in 1 in 336 of its own" in total
    rare = words(run("orders.fax").output)
    assert "Poisson deviance" in rare
    assert "silence the time since the last write" in rare
    assert "intervals without a write" in rare
    assert "below no fixed one" in rare


def test_a_variable_that_is_not_judged_says_why(run: Run) -> None:
    page = words(run("orders.new").output)
    assert "not judged new: 48 intervals of history; the policy asks for 504" in page
    assert "How it is tested" not in page
    assert "dead: no event in 960 intervals" in words(run("orders.telex").output)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_nothing_is_wider_than_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run("orders.web", "--at", moment(OUTAGE + 5)).output.splitlines()
    assert max(map(len, lines)) <= int(columns)


# --- one interval ---------------------------------------------------------------------------------------------------


def test_an_interval_says_what_each_test_saw_and_which_one_decided(run: Run) -> None:
    page = run("orders.web", "--at", moment(OUTAGE + 2)).output
    assert "10 Feb 2026 09:00 \N{EN DASH} 10:00 EST" in page
    told = words(page)
    assert re.search(r"observed 0 instead of [\d.]+ \(.100%\)", told)
    assert re.search(r"decided by (single|sum-\d+)", told)
    assert "verdict silent" in told
    assert "differs" not in told


def test_every_judged_interval_follows_again_from_the_store(run: Run) -> None:
    for name in ("orders.web", "orders.fax", "orders.telex", "(total)"):
        for hour in (HISTORY + 7, OUTAGE, OUTAGE + 20):
            found = json.loads(run(name, "--at", moment(hour), "--json").output)["verdict"]
            assert found["tail_probability"]["agrees"], (name, hour)
            assert found["looked"]["decided"] == found["decided"]
            (decided,) = [said for said in found["looked"]["said"] if said["test"] == found["decided"]]
            assert (abs(decided["evidence"]) >= decided["needed"]) == (found["kind"] != "")


def test_a_moment_inside_an_interval_means_that_interval(run: Run) -> None:
    inside = (START + OUTAGE * HOUR + timedelta(minutes=25)).isoformat()
    assert run("orders.web", "--at", inside).output == run("orders.web", "--at", moment(OUTAGE)).output


def test_a_stored_threshold_that_no_rule_leads_to_is_said_to_differ(run: Run, judged: tuple[Arguments, Path]) -> None:
    arguments, _ = judged
    change = (
        "UPDATE fitted_variables f SET lower = lower {} 1 FROM variables v WHERE v.id = f.variable_id AND v.name = %s"
    )
    with psycopg2.connect(**arguments) as link, link.cursor() as cursor:
        cursor.execute(change.format("-"), ("orders.web",))
    assert "is stored and" in words(run("orders.web").output)
    assert not json.loads(run("orders.web", "--json").output)["lower"]["agrees"]
    with psycopg2.connect(**arguments) as link, link.cursor() as cursor:
        cursor.execute(change.format("+"), ("orders.web",))
    link.close()


# --- for machines ---------------------------------------------------------------------------------------------------


def test_the_json_has_the_whole_chain_and_no_infinite_number(run: Run) -> None:
    found = json.loads(run("orders.fax", "--json").output, parse_constant=pytest.fail)
    assert found["policy"]["sharing"] == 4
    assert found["tail_probability"]["agrees"]
    assert found["lower"] == {"stored": None, "worked_out": None, "agrees": True}
    assert {test["test"] for test in found["tests"]} == {"single", "silence", "sum-3", "sum-6", "sum-24"}
    assert set(found["choice"]["errors"]) == {"seasonal-naive", "seasonal-rate", "chosen"}
    assert found["verdict"] is None


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["order.web"], "found no variable 'order.web' among the 5 that shop has met; did you mean 'orders.web'"),
        (["zzz"], "nothing is called like that"),
        (["orders.web", "--fit", "9"], "group 'shop' has no fit '9'; versions that served: 3 ("),
        (["orders.web", "--at", "2026-01-03"], "was not judged in [2026-01-03 05:00, 2026-01-03 06:00) UTC: no fit"),
        (["orders.web", "--at", "2026-05-01"], "it is not counted; run: anomaly update shop --start 2026-05-01T04:00"),
        (["orders.new", "--at", "2026-02-10"], "new: 48 intervals of history; the policy asks for 504"),
        (["orders.web", "--at", "2026-02-10T08:00:00"], "no time zone; write it with an offset"),
        (["orders.web", "--group", "stores"], "there is no group 'stores'"),
    ],
)
def test_what_cannot_be_explained_is_said_with_what_to_do(run: Run, given: list[str], told: str) -> None:
    result = run(*given)
    assert result.exit_code == PERMANENT
    assert told in result.stderr


def test_a_fit_can_be_named_by_its_version_or_its_id(run: Run) -> None:
    fit = json.loads(run("orders.web", "--json").output)["fit"]["id"]
    assert run("orders.web", "--fit", "3").output == run("orders.web", "--fit", fit).output


def test_a_name_that_several_groups_have_needs_the_group(
    run: Run, judged: tuple[Arguments, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, folder = judged
    for name in ("shop", "copy"):
        (tmp_path / f"{name}.yaml").write_text((folder / "shop.yaml").read_text())
    monkeypatch.setenv("ANOMALY_GROUPS", str(tmp_path))
    copy = load_groups(tmp_path)[0]
    PostgresStore(arguments).enrol(copy, {"orders.web": "numeric"}, first_interval=START)
    result = run("orders.web")
    assert result.exit_code == PERMANENT
    assert "several groups have a variable 'orders.web': copy, shop; say which with --group" in result.stderr
    assert run("orders.web", "--group", "shop").exit_code == 0
    assert "has no fit that serves yet" in run("orders.web", "--group", "copy").stderr


def test_a_verdict_that_does_not_follow_any_more_says_what_may_be_the_reason(
    run: Run, judged: tuple[Arguments, Path]
) -> None:
    arguments, _ = judged
    hour = START + (HISTORY + 3) * HOUR
    with psycopg2.connect(**arguments) as link, link.cursor() as cursor:
        cursor.execute(
            "UPDATE predictions p SET tail_probability = p.tail_probability / 7 FROM variables v WHERE v.id = "
            "p.variable_id AND v.name = 'orders.web' AND v.group_name = 'shop' AND p.interval_start = %s",
            (hour,),
        )
    link.close()
    page = words(run("orders.web", "--group", "shop", "--at", hour.isoformat()).output)
    assert "stored tail probability" in page
    assert "differs, " in page
    assert "judged while it or one before it was filling in" in page
    before = words(run("orders.web", "--group", "shop", "--at", (hour - HOUR).isoformat()).output)
    assert "filling in" not in before


def test_what_labels_have_moved_is_said_from_the_interval_on_from_which_it_serves(
    run: Run, judged: tuple[Arguments, Path]
) -> None:
    link = psycopg2.connect(**judged[0])
    moved = (START + (HISTORY + 10) * HOUR).isoformat()
    with link, link.cursor() as cursor:
        cursor.execute(
            "INSERT INTO adjustments (group_name, variable, serves_from, factor, reason) "
            f"VALUES ('shop', 'orders.web', '{moved}', 0.25, 'Ada called incident 7 a false alarm')"
        )
    try:
        later, before = (
            words(run("orders.web", "--at", (START + (HISTORY + hour) * HOUR).isoformat()).output) for hour in (11, 9)
        )
    finally:
        with link, link.cursor() as cursor:
            cursor.execute("DELETE FROM adjustments")
        link.close()
    assert "4 times rarer since" in later
    assert "Ada called incident 7 a false alarm" in later
    assert "times rarer" not in before
