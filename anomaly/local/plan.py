"""Which runs of which DAGs take the sample from nothing to its incidents, group by group.

The history up to 3 February 2013, the first fit there, then the days of the blizzard; for a longer story, week
after week with a fit in between. A run's id names its range and the group's configuration, so that a second
`make run` finds what is done already, and a group that was edited is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from anomaly.exceptions import ConfigurationError
from anomaly.groups import Group

HISTORY = date(2013, 1, 1)
FIRST_FIT = date(2013, 2, 3)
LAST_DAY = date(2013, 2, 11)
"""Of the short story; the blizzard was on 8 and 9 February."""
END_OF_DATA = date(2013, 12, 31)
_WEEK = timedelta(weeks=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one DAG."""

    group: str
    dag_id: str
    run_id: str
    params: dict[str, str]
    what: str
    """For people."""


def parse_until(written: str | None) -> date:
    """The last day to run, that day included; without one, the short story's.

    Raises:
        ConfigurationError: no such day, or none that the sample has.
    """
    if not written:
        return LAST_DAY
    try:
        until = date.fromisoformat(written)
    except ValueError:
        raise ConfigurationError(f"UNTIL is {written!r}; expected a day such as 2013-12-31") from None
    if not FIRST_FIT <= until <= END_OF_DATA:
        raise ConfigurationError(
            f"UNTIL is {until}; expected a day from {FIRST_FIT} (the end of the first history) to {END_OF_DATA} "
            "(the end of the sample)"
        )
    return until


def runs_of(group: Group, until: date) -> Iterator[Run]:
    """The group's runs, each to begin when the one before it succeeded.

    Args:
        group: any group; days begin in its time zone.
        until: the last day, included.
    """
    yield _watch(group, HISTORY, FIRST_FIT)
    yield _fit(group, FIRST_FIT)
    end = until + _DAY
    at = min(LAST_DAY + _DAY, end)
    yield _watch(group, FIRST_FIT, at)
    while at < end:
        yield _fit(group, at)
        then = min(at + _WEEK, end)
        yield _watch(group, at, then)
        at = then


def _watch(group: Group, first: date, end: date) -> Run:
    params = {"start": _midnight(group, first), "end": _midnight(group, end)}
    run_id = f"sample-{first}-{end}-{_fingerprint(group)}"
    return Run(group.name, f"anomaly.{group.name}", run_id, params, f"{first} to {end - _DAY}")


def _fit(group: Group, until: date) -> Run:
    params = {"until": _midnight(group, until)}
    run_id = f"sample-fit-{until}-{_fingerprint(group)}"
    return Run(group.name, f"anomaly.{group.name}.fit", run_id, params, f"fit on the history to {until - _DAY}")


def _midnight(group: Group, day: date) -> str:
    """The boundary of the group's grid at or before the midnight that begins the day, with offset."""
    midnight = datetime.combine(day, time(), tzinfo=group.zone)
    return group.floor(midnight).astimezone(group.zone).isoformat()


def _fingerprint(group: Group) -> str:
    written = json.dumps(group.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:8]
