"""The batch's SQL: quoting and the selection's condition, against PostgreSQL's own reading of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly.adapters.postgres.batch import identifier, literal, posix_superset, table_parts
from anomaly.exceptions import ConfigurationError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
ATOMS = st.sampled_from(
    ["a", "B", "7", "_", r"\.", ".", r"\d", r"\w", r"\s", "[a-c]", "[^a-c]", "[0-9_.-]", "é", " ", "-", r"\$", "🙂"]
)
REPEATS = st.sampled_from(["", "", "", "*", "+", "?", "*?", "{2}", "{1,3}", "{2,}"])
PATTERNS = st.recursive(
    st.builds(lambda *parts: "".join(parts), ATOMS, REPEATS),
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b, repeat: f"({a}|{b}){repeat}", inner, inner, REPEATS),
        st.builds(lambda a, repeat: f"(?:{a}){repeat}", inner, REPEATS),
    ),
    max_leaves=6,
)


@pytest.fixture
def evaluate(postgres: dict[str, str]) -> Iterator[Any]:
    """The value of an SQL expression."""
    connection = psycopg2.connect(**postgres)
    connection.autocommit = True

    def run(expression: str) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {expression}")
            return cursor.fetchone()[0]

    yield run
    connection.close()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
def test_a_literal_is_read_back_as_the_same_text(evaluate: Any, text: str) -> None:
    assert evaluate(literal(text)) == text
    assert evaluate(f"{literal(text)}::text || ''") == text


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=TEXT.filter(bool))
def test_an_identifier_is_read_back_as_the_same_name(evaluate: Any, name: str) -> None:
    # Identifiers are cut at 63 bytes.
    cut = name.encode()[:60].decode(errors="ignore")
    keys = "SELECT array_agg(k) FROM json_object_keys(row_to_json(r)) AS k"
    assert evaluate(f"({keys}) FROM (SELECT 1 AS {identifier(cut)}) AS r") == [cut]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), pattern=PATTERNS)
def test_the_selections_condition_lets_every_selected_name_through(
    evaluate: Any, data: st.DataObject, pattern: str
) -> None:
    posix = posix_superset(pattern)
    assert posix is not None, "all of these are written alike in both"
    name = data.draw(st.one_of(st.from_regex(pattern, fullmatch=True), TEXT)).replace("\0", "")
    matches = evaluate(f"{literal(name)} ~ {literal(posix)}")
    if re.fullmatch(pattern, name):
        assert matches


@pytest.mark.parametrize("pattern", [r"(?!a)b", r"(?i)a", r"(a)\1", r"\bx", r"[\w.]+", r"a{,3}", r"\x41", r"a|^b"])
def test_a_pattern_that_the_two_read_differently_becomes_no_condition(pattern: str) -> None:
    assert posix_superset(pattern) is None


def test_anchors_around_the_whole_pattern_change_nothing() -> None:
    assert posix_superset(r"^dep\..+$") == posix_superset(r"dep\..+")
    assert posix_superset(r"cost\$") == r"^(?:cost\$)$"


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("events", ("events",)),
        ("dwh.events", ("dwh", "events")),
        ('"a.b".c', ("a.b", "c")),
        ('dwh."say ""hi"""', ("dwh", 'say "hi"')),
        ("Mixed Case", ("Mixed Case",)),
    ],
)
def test_a_tables_name_is_taken_apart(written: str, parts: tuple[str, ...]) -> None:
    assert table_parts(written) == parts


@pytest.mark.parametrize("written", ["", ".", "a.", ".a", "a.b.c", 'a"b', '"a"b', '"open'])
def test_a_tables_name_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(ConfigurationError, match="schema.table"):
        table_parts(written)
