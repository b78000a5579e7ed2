"""What a run found: as a table for the terminal, and as JSON for programs.

In: the metadata store. Out: `Summary`. ``var/summary.json`` has

* ``incidents``: a list of ``group``, ``kind``, ``start``, ``end`` (ISO 8601 with offset, in the group's zone; the
  end is not part of it), ``variables`` (the worst first), ``return_period_hours`` (null when it is beyond all
  numbers), ``slack_ts``, ``chart``
* ``groups``: per group the numbers of ``variables``, ``intervals``, ``events_counted`` and ``rows_quarantined``,
  the ``model_version`` that serves, and ``seconds_per_stage``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomaly.adapters.messages import called, return_period_words, span_words
from anomaly.adapters.postgres.store import PostgresStore
from anomaly.groups import Group
from anomaly.ports import Incident

NAMED = 4
"""Variables that the table names; the rest is a number."""


@dataclass(frozen=True, slots=True)
class Summary:
    groups: Sequence[Group]
    incidents: Sequence[tuple[Group, Incident]]
    """By start."""
    totals: dict[str, dict[str, Any]]
    """Per group, as in the JSON."""

    def as_dict(self) -> dict[str, Any]:
        return {"incidents": [_incident(*found) for found in self.incidents], "groups": self.totals}

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def show(self, console: Console, *, slack: str) -> None:
        """The tables of incidents and of groups, and between them where each incident's chart and message are.

        Args:
            slack: address of the Slack preview as it runs now; a later run may have another port.
        """
        console.print(self._incident_table() if self.incidents else "No incidents.")
        for group, incident in self.incidents:
            console.print(f"{group.name}, {span_words(incident.start, incident.end, group.zone)}", markup=False)
            # Addresses and paths stay in one piece, however narrow the terminal.
            for name, where in (("chart", _chart(incident)), ("message", _message(incident, slack))):
                console.print(f"  {name:8} {where}", markup=False, highlight=False, soft_wrap=True)
        console.print()
        console.print(self._group_table())

    def _incident_table(self) -> Table:
        table = Table(title=f"{len(self.incidents)} incident{'s' * (len(self.incidents) != 1)}", title_justify="left")
        table.add_column("group", no_wrap=True)
        table.add_column("start - end")
        table.add_column("kind", no_wrap=True)
        table.add_column("variables, the worst first", ratio=1)
        table.add_column("by chance")
        for group, incident in self.incidents:
            table.add_row(
                group.name,
                escape(span_words(incident.start, incident.end, group.zone)),
                incident.kind,
                escape(_named(incident)),
                return_period_words(incident.return_period_hours),
            )
        return table

    def _group_table(self) -> Table:
        table = Table(title="groups", title_justify="left")
        table.add_column("group")
        for column in ("variables", "intervals", "events", "quarantined", "model"):
            table.add_column(column, justify="right")
        table.add_column("seconds per stage", ratio=1)
        for name, of in self.totals.items():
            seconds = ", ".join(f"{stage} {taken:.0f}" for stage, taken in of["seconds_per_stage"].items())
            version = "-" if of["model_version"] is None else f"v{of['model_version']}"
            numbers = [f"{of[key]:,}" for key in ("variables", "intervals", "events_counted", "rows_quarantined")]
            table.add_row(name, *numbers, version, seconds)
        return table


def summarise(groups: Sequence[Group], store: PostgresStore) -> Summary:
    """What the store has of these groups.

    Raises:
        StoreUnavailableError: from the store.
    """
    incidents = [(group, incident) for group in groups for incident in store.incidents(group)]
    incidents.sort(key=lambda found: (found[1].start, found[0].name))
    return Summary(groups, incidents, {group.name: _totals(group, store) for group in groups})


def _totals(group: Group, store: PostgresStore) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    for run in reversed(store.runs(group)):
        seconds[run.stage] = seconds.get(run.stage, 0.0) + run.seconds
    champion, totals = store.champion(group), store.totals(group)
    return {
        "variables": totals["variables"],
        "intervals": totals["intervals"],
        "events_counted": totals["events"],
        "rows_quarantined": totals["quarantined"],
        "model_version": champion.model_version if champion else None,
        "seconds_per_stage": {stage: round(taken, 2) for stage, taken in seconds.items()},
    }


def _incident(group: Group, incident: Incident) -> dict[str, Any]:
    hours = incident.return_period_hours
    return {
        "group": group.name,
        "kind": incident.kind,
        "start": incident.start.astimezone(group.zone).isoformat(),
        "end": incident.end.astimezone(group.zone).isoformat(),
        "variables": [part.variable for part in incident.variables],
        "return_period_hours": round(hours, 3) if math.isfinite(hours) else None,
        "slack_ts": incident.slack_ts,
        "chart": incident.chart,
    }


def shown_path(path: Path) -> str:
    """Relative to where one is, if it is below."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _chart(incident: Incident) -> str:
    if incident.chart is None:
        return "none yet"
    if incident.chart.startswith("file://"):
        return shown_path(Path(url2pathname(urlsplit(incident.chart).path)))
    return incident.chart


def _message(incident: Incident, slack: str) -> str:
    if incident.permalink is not None:
        return f"{slack}{urlsplit(incident.permalink).path}"
    return f"{incident.slack_ts} in {incident.channel}" if incident.slack_ts else "waits to be delivered"


def _named(incident: Incident) -> str:
    names = [called(part.variable) for part in incident.variables]
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
