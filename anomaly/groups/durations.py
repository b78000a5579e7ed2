"""Durations as people write them in YAML: ``15min``, ``1h``, ``36h``, ``1d``, ``2w``, ``90s``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PATTERN = re.compile(r"\s*(\d+)\s*(s|min|h|d|w)\s*")


def parse_duration(written: Any) -> timedelta:
    """A duration from its written form.

    Raises:
        ValueError: anything but a whole number and one of the units s, min, h, d, w.
    """
    if isinstance(written, timedelta):
        return written
    match = _PATTERN.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise ValueError("a duration such as 15min, 1h, 1d or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def format_duration(duration: timedelta) -> str:
    """The shortest written form that `parse_duration` reads back to the same duration."""
    seconds = int(duration.total_seconds())
    for unit, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")]
