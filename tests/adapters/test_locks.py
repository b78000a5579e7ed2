"""Advisory locks of different kinds never wait for each other."""

from __future__ import annotations

import re
from pathlib import Path

from anomaly.adapters import postgres
from anomaly.adapters.postgres import locks

HERE = Path(next(iter(postgres.__path__)))


def test_every_kind_of_lock_has_a_number_of_its_own() -> None:
    numbers = [value for name, value in vars(locks).items() if name.isupper() and not name.startswith("_")]
    assert len(numbers) >= 5
    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 2**31 for number in numbers if number != locks.MIGRATION)


def test_no_room_has_a_number_that_is_not_in_the_list() -> None:
    for path in HERE.glob("*.py"):
        if path.name != "locks.py":
            assert not re.search(r"7_203_115_\d{3}|LOCK\s*=\s*\d", path.read_text()), path
