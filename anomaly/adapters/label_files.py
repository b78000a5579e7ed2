"""Labels as CSV: what people said, to be kept elsewhere, edited in a spreadsheet, and read back.

In: labels, or a file. Out: the same. A file that is read back says the same, also after a spreadsheet has opened it:
cells that it would take for a formula are written with an apostrophe before them.

==============  =====================================================================================
column          meaning
==============  =====================================================================================
``group``       name of the group
``start``       of the stretch that is labelled, with its offset: ``2026-02-01T06:00:00+01:00``
``end``         exclusive
``variables``   names, separated by ``;`` (a name with a ``;`` or a quote in double quotes)
``word``        ``real``, ``false_alarm`` or ``expected``
``reason``      required for ``expected``
``author``      who said it; without it, who reads the file in
``given_at``    when; without it, when the file is read in
``own``         of the variables, those whose thresholds move, the worst first; without it, all
``via``         where it was said: ``slack``, ``page``, ``cli`` or ``csv``
``incident``    number of the incident in the installation that wrote the file
==============  =====================================================================================

The first five are required. All mistakes of a file are reported at once, each with its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast, get_args

from anomaly.exceptions import LabelRefusedError
from anomaly.groups import Group
from anomaly.ports.labels import Label, LabelWord, Via

REQUIRED = ("group", "start", "end", "variables", "word")
COLUMNS = (*REQUIRED, "reason", "author", "given_at", "own", "via", "incident")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def written(labels: Iterable[Label]) -> str:
    """The file's text; lines end as the CSV standard (RFC 4180) says."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for label in labels:
        cells = (
            label.group,
            label.start.astimezone(UTC).isoformat(),
            label.end.astimezone(UTC).isoformat(),
            _listed(label.variables),
            label.word,
            label.reason,
            label.author,
            label.given_at.astimezone(UTC).isoformat(),
            _listed(label.own),
            label.via,
            "" if label.incident_id is None else str(label.incident_id),
        )
        table.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return text.getvalue()


def read(
    path: Path, groups: Mapping[str, tuple[Group, frozenset[str]]], *, author: str, now: datetime
) -> tuple[Label, ...]:
    """The labels of a file, in its order.

    Args:
        path: UTF-8, with or without a byte-order mark.
        groups: by name, each with the names of its variables.
        author: of rows that name none.
        now: when rows that say nothing were given.

    Raises:
        LabelRefusedError: with every mistake, each with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as failure:
        raise LabelRefusedError(f"{path}: cannot be read as UTF-8 text: {failure}") from failure
    table = csv.DictReader(io.StringIO(text, newline=""))
    columns = table.fieldnames or ()
    wrong = [f"{path}: no column {name!r}; expected {', '.join(COLUMNS)}" for name in REQUIRED if name not in columns]
    wrong += [f"{path}: unknown column {name!r}; expected {', '.join(COLUMNS)}" for name in set(columns) - {*COLUMNS}]
    if wrong:
        raise LabelRefusedError(*sorted(wrong))
    labels: list[Label] = []
    for row in table:
        line = _Line(f"{path}:{table.line_num}", {key: _plain(value) for key, value in row.items() if key is not None})
        if None in row:
            line.wrong.append(f"{line.where}: more cells than columns; quote cells that hold a comma")
        label = line.label(groups, author, now)
        wrong += line.wrong
        labels += [] if label is None else [label]
    if wrong:
        raise LabelRefusedError(*wrong)
    return tuple(labels)


class _Line:
    """One row, and what is wrong with it."""

    def __init__(self, where: str, cells: Mapping[str, str]) -> None:
        self.where, self.cells, self.wrong = where, cells, list[str]()

    def label(self, groups: Mapping[str, tuple[Group, frozenset[str]]], author: str, now: datetime) -> Label | None:
        """None when something is wrong."""
        start, end = self._moment("start"), self._moment("end")
        given_at = self._moment("given_at") if self.cells.get("given_at") else now
        if start and end and start >= end:
            self._found("end", f"a moment after start, {self.cells['start']}")
        if given_at and given_at > now:
            self._found("given_at", "a moment that has passed")
        variables, own = self._variables(groups)
        self._check_words()
        if self.wrong or start is None or end is None or given_at is None:
            return None
        number = self.cells.get("incident")
        return Label(
            group=self.cells["group"],
            start=start,
            end=end,
            variables=variables,
            own=own,
            word=cast("LabelWord", self.cells["word"]),
            author=self.cells.get("author") or author,
            via=cast("Via", self.cells.get("via") or "csv"),
            given_at=given_at,
            reason=self.cells.get("reason") or "",
            incident_id=int(number) if number else None,
        )

    def _variables(self, groups: Mapping[str, tuple[Group, frozenset[str]]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        name = self.cells["group"]
        variables, own = self._names("variables"), self._names("own")
        if not variables:
            self._found("variables", "at least one name")
        if set(own) - set(variables):
            self._found("own", "some of the row's variables")
        if name not in groups:
            self._found("group", f"one of {', '.join(sorted(groups)) or 'no groups'}")
        elif strange := sorted({*variables, *own} - groups[name][1]):
            named = ", ".join(map(repr, strange[:5]))
            self.wrong.append(f"{self.where}: group {name!r} has met no variable {named}")
        return variables, own

    def _check_words(self) -> None:
        word, via = self.cells["word"], self.cells.get("via") or "csv"
        for column, value, allowed in (("word", word, get_args(LabelWord)), ("via", via, get_args(Via))):
            if value not in allowed:
                self._found(column, f"one of {', '.join(allowed)}")
        if self.cells.get("incident") and not self.cells["incident"].isdecimal():
            self._found("incident", "a number, or nothing")
        if word == "expected" and not self.cells.get("reason"):
            self._found("reason", "what was planned, because the word is expected")

    def _found(self, column: str, expected: str) -> None:
        self.wrong.append(f"{self.where}: {column}: found {self.cells.get(column, '')!r}; expected {expected}")

    def _moment(self, column: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(self.cells[column])
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self._found(column, "a moment with its offset, such as 2026-02-01T06:00:00+01:00")
            return None
        return moment.astimezone(UTC)

    def _names(self, column: str) -> tuple[str, ...]:
        rows = list(csv.reader([self.cells.get(column) or ""], delimiter=";"))
        return tuple(dict.fromkeys(name for row in rows for name in row if name.strip()))


def _listed(names: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="").writerow(names)
    return text.getvalue() if names else ""


def _plain(cell: str | None) -> str:
    text = (cell or "").strip()
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
