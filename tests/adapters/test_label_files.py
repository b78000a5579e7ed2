"""Labels as CSV: what is written is read back, and every mistake is found at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly.adapters.label_files import COLUMNS, read, written
from anomaly.exceptions import LabelRefusedError
from anomaly.groups import Group
from anomaly.ports.labels import Label

START = datetime(2026, 2, 1, tzinfo=UTC)
NOW = START + timedelta(days=9)
HEADER = "group,start,end,variables,word,reason\n"
GOOD = "orders,2026-02-01T00:00:00Z,2026-02-01T03:00:00+00:00,a;b,real,because\n"

WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1, max_size=12)
LABELS = st.builds(
    lambda names, own, word, reason, author, hours, number, via: Label(
        "orders",
        START,
        START + timedelta(hours=hours),
        tuple(names),
        word,
        author,
        via,
        START + timedelta(hours=hours, microseconds=7),
        reason,
        number,
        tuple(names[:own]),
    ),
    st.lists(WORDS, min_size=1, max_size=5, unique=True),
    st.integers(0, 3),
    st.sampled_from(["real", "false_alarm", "expected"]),
    WORDS,
    WORDS,
    st.integers(1, 100),
    st.none() | st.integers(1, 10**9),
    st.sampled_from(["slack", "page", "cli", "csv"]),
)


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    return make_group()


def reading(path: Path, group: Group, *names: str) -> tuple[Label, ...]:
    return read(path, {group.name: (group, frozenset(names))}, author="Ada", now=NOW)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(LABELS, max_size=5))
def test_what_is_written_is_read_back_whatever_it_says(tmp_path: Path, group: Group, labels: list[Label]) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(written(labels).encode())
    assert reading(path, group, *(name for label in labels for name in label.variables)) == tuple(labels)


def test_no_cell_is_a_formula_to_a_spreadsheet() -> None:
    label = Label("orders", START, NOW, ("=cmd|' /C calc'!A0",), "real", "@ada", "cli", NOW, "+1 -2")
    rows = list(csv.reader(io.StringIO(written([label]))))
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in rows[1])


def test_a_file_of_a_spreadsheet_is_read_with_what_it_leaves_out(tmp_path: Path, group: Group) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + GOOD).replace("\n", "\r\n").encode())
    (label,) = reading(path, group, "a", "b")
    assert (label.author, label.via, label.given_at, label.variables, label.own) == ("Ada", "csv", NOW, ("a", "b"), ())


def test_all_mistakes_are_reported_at_once_with_file_and_line(tmp_path: Path, group: Group) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        HEADER
        + GOOD
        + "orders,2026-02-01,2026-02-01T03:00:00Z,a,real,\n"
        + "orders,2026-02-01T04:00:00Z,2026-02-01T03:00:00Z,a,rael,\n"
        + "payments,2026-02-01T00:00:00Z,2026-02-01T03:00:00Z,,expected,\n"
        + "orders,2026-02-01T00:00:00Z,2026-02-01T03:00:00Z,zebra,real,one, two\n"
    )
    with pytest.raises(LabelRefusedError) as refused:
        reading(path, group, "a", "b")
    assert [line.removeprefix(f"{path}:") for line in refused.value.problems] == [
        "3: start: found '2026-02-01'; expected a moment with its offset, such as 2026-02-01T06:00:00+01:00",
        "4: end: found '2026-02-01T03:00:00Z'; expected a moment after start, 2026-02-01T04:00:00Z",
        "4: word: found 'rael'; expected one of real, false_alarm, expected",
        "5: variables: found ''; expected at least one name",
        "5: group: found 'payments'; expected one of orders",
        "5: reason: found ''; expected what was planned, because the word is expected",
        "6: more cells than columns; quote cells that hold a comma",
        "6: group 'orders' has met no variable 'zebra'",
    ]


def test_columns_that_are_missing_or_unknown_are_named(tmp_path: Path, group: Group) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("group,start,end,word,verdict\n")
    with pytest.raises(LabelRefusedError, match=r"(?s)no column 'variables'.*unknown column 'verdict'"):
        reading(path, group)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelRefusedError, match="cannot be read as UTF-8"):
        reading(path, group)
    with pytest.raises(LabelRefusedError, match="cannot be read"):
        reading(tmp_path / "nothing.csv", group)
    assert set(HEADER.strip().split(",")) < set(COLUMNS)
