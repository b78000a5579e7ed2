"""Golden incidents: what a group's challenger must find again, and what it should leave alone.

In: ``golden/<group>.yaml`` beside the group files, written by ``anomaly models golden`` from labels and reviewed like
code. Out: frozen, typed `Golden` incidents, or one exception with every mistake. The folder below is not read for
groups, so that such a file is never taken for one::

    incidents:
    - start: 2013-02-08T14:00:00+00:00
      end: 2013-02-10T05:00:00+00:00
      variables: [dep_delay.B6, arr_delay.B6]
      word: real                       # or false_alarm, expected
      reason: snow storm
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from anomaly.exceptions import InvalidGroupsError

FOLDER = "golden"


class Golden(BaseModel):
    """An incident that people have judged, kept as an example."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: AwareDatetime
    end: AwareDatetime
    """Exclusive."""
    variables: Annotated[tuple[str, ...], Field(min_length=1)]
    """Any of these, within this time, is this incident."""
    word: Literal["real", "false_alarm", "expected"]
    reason: str = ""

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"an end after the start; found {self.start.isoformat()} to {self.end.isoformat()}")
        return self

    def is_same(self, start: datetime, end: datetime, variables: frozenset[str]) -> bool:
        """Whether an incident overlaps it in time and shares a variable with it."""
        return self.start < end and start < self.end and not variables.isdisjoint(self.variables)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    incidents: tuple[Golden, ...] = ()


def golden_path(groups: Path, group: str) -> Path:
    """Where a group's golden incidents are, below the folder of the group files."""
    return groups / FOLDER / f"{group}.yaml"


def load_golden(groups: Path, group: str) -> tuple[Golden, ...]:
    """A group's golden incidents, by start; none without a file.

    Raises:
        InvalidGroupsError: with all mistakes of the file.
    """
    path = golden_path(groups, group)
    if not path.is_file():
        return ()
    import yaml

    where = f"{FOLDER}/{path.name}"
    try:
        found = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except yaml.YAMLError as bad:
        raise InvalidGroupsError([f"{where}: found {bad}; expected valid YAML"]) from None
    except ValidationError as bad:
        raise InvalidGroupsError(
            [f"{where}: {'.'.join(map(str, e['loc'])) or '(top)'}: {e['msg']}" for e in bad.errors()]
        ) from None
    return tuple(sorted(found.incidents, key=lambda g: (g.start, g.end)))


def dump_golden(incidents: tuple[Golden, ...]) -> str:
    """The file's text; equal incidents give equal text."""
    import yaml

    written = [
        {
            "start": g.start.astimezone(UTC).isoformat(),
            "end": g.end.astimezone(UTC).isoformat(),
            "variables": list(g.variables),
            "word": g.word,
            **({"reason": g.reason} if g.reason else {}),
        }
        for g in sorted(incidents, key=lambda g: (g.start, g.end))
    ]
    head = (
        "# Confirmed incidents and known false alarms. A fit that loses a confirmed one is not promoted.\n"
        "# Reviewed like code: take out what is no good example.\n"
    )
    return head + yaml.safe_dump({"incidents": written}, sort_keys=False, allow_unicode=True, width=110)
