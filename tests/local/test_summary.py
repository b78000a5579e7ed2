"""What a run found, as JSON and as tables."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from anomaly.adapters.postgres.store import PostgresStore
from anomaly.groups import Group, TimeRange
from anomaly.local.summary import summarise
from anomaly.ports import Incident, IncidentVariable

MakeGroup = Callable[..., Group]
HOUR = timedelta(hours=1)
START = datetime(2026, 2, 8, 19, tzinfo=UTC)


def _incident(group: Group, names: list[str], *, hours: float) -> Incident:
    end = START + timedelta(hours=6)
    parts = tuple(IncidentVariable(name, "drop", START, end, 6, 3.0, 60.0, 1e-9) for name in names)
    return Incident(
        group=group.name,
        kind="drop",
        start=START,
        end=end,
        resolved=True,
        tail_probability=1e-9,
        return_period_hours=hours,
        variables=parts,
    )


@pytest.fixture
def group(make_group: MakeGroup) -> Group:
    return make_group(timezone="America/New_York")


@pytest.fixture
def store(metadata_database: dict[str, str]) -> PostgresStore:
    return PostgresStore(metadata_database)


def test_the_file_has_every_incident_with_offsets_and_all_variables(
    group: Group, store: PostgresStore, tmp_path: Path
) -> None:
    names = [f"v{n}" for n in range(6)]
    (saved,) = store.save_incidents(group, [_incident(group, names, hours=41_000.0)])
    assert saved.id is not None
    store.enqueue(saved.id, "post")
    with store.due(group, at=START) as (entry,):
        store.delivered(entry, channel="C1", ts="17.5", permalink=None, chart="file:///charts/1.png", told="", at=START)
    summarise([group], store).write(tmp_path / "summary.json")

    (found,) = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["incidents"]
    assert found == {
        "group": "orders",
        "kind": "drop",
        "start": "2026-02-08T14:00:00-05:00",
        "end": "2026-02-08T20:00:00-05:00",
        "variables": names,
        "return_period_hours": 41_000.0,
        "slack_ts": "17.5",
        "chart": "file:///charts/1.png",
    }


def test_a_return_period_beyond_all_numbers_is_valid_json(group: Group, store: PostgresStore, tmp_path: Path) -> None:
    store.save_incidents(group, [_incident(group, ["v"], hours=float("inf"))])
    summarise([group], store).write(tmp_path / "summary.json")
    written = (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert json.loads(written, parse_constant=pytest.fail)["incidents"][0]["return_period_hours"] is None


def test_seconds_are_added_up_per_stage_and_a_group_without_anything_is_all_zeros(
    group: Group, make_group: MakeGroup, store: PostgresStore
) -> None:
    within = TimeRange(START, START + timedelta(hours=1), group.interval)
    for stage, seconds in (("update", 1.5), ("predict", 0.25), ("update", 2.0)):
        store.record_run(group, stage, within, seconds=seconds, report={}, at=START)
    other = make_group(name="empty")
    totals = summarise([group, other], store).as_dict()["groups"]
    assert totals["orders"]["seconds_per_stage"] == {"update": 3.5, "predict": 0.25}
    assert totals["empty"] == {
        "variables": 0,
        "intervals": 0,
        "events_counted": 0,
        "rows_quarantined": 0,
        "model_version": None,
        "seconds_per_stage": {},
    }


def test_the_table_names_the_worst_variables_and_counts_the_rest(group: Group, store: PostgresStore) -> None:
    names = ["[bold]odd name[/]", "v1", "v2", "v3", "v4", "v5"]
    store.save_incidents(group, [_incident(group, names, hours=41_000.0)])
    screen = Console(file=io.StringIO(), width=160)
    summarise([group], store).show(screen, slack="http://127.0.0.1:1")
    written = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]odd name[/], v1, v2, v3 and 2 more" in written
    assert "8 Feb 2026 14:00" in written
    assert "once in 4.7 years" in written


def test_each_incident_names_its_chart_and_its_message_at_the_address_of_now_in_one_piece(
    group: Group, store: PostgresStore, tmp_path: Path
) -> None:
    told, waiting = store.save_incidents(
        group,
        [_incident(group, ["a"], hours=41_000.0), replace(_incident(group, ["b"], hours=9.0), start=START - HOUR)],
    )
    assert told.id is not None
    chart = tmp_path / ("deep-" * 30) / "a chart.png"
    store.enqueue(told.id, "post")
    with store.due(group, at=START) as (entry,):
        store.delivered(
            entry,
            channel="C1",
            ts="17.5",
            permalink="http://127.0.0.1:9/archives/C1/p175",
            chart=chart.as_uri(),
            told="",
            at=START,
        )
    screen = Console(file=io.StringIO(), width=80)
    summarise([group], store).show(screen, slack="http://127.0.0.1:5102")
    written = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]

    at = written.index("orders, 8 Feb 2026 14:00 \N{EN DASH} 20:00 EST")
    assert written[at + 1 : at + 3] == [f"  chart    {chart}", "  message  http://127.0.0.1:5102/archives/C1/p175"]
    assert waiting.slack_ts is None
    assert {"  chart    none yet", "  message  waits to be delivered"} <= set(written)
