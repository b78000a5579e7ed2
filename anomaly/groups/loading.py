"""Group files in, `Group` objects out, or one exception that lists every mistake of every file.

Each mistake is one line: ``file: key: found …; expected …``. An unknown key names the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from anomaly.exceptions import ConfigurationError, InvalidGroupsError
from anomaly.groups.model import Group


def load_groups(
    folder: Path,
    *,
    candidates: Collection[str] | None = None,
    distributions: Collection[str] | None = None,
) -> tuple[Group, ...]:
    """Every ``*.yaml`` of a folder, by name.

    Args:
        folder: where the group files are.
        candidates: names the registry knows; ``None`` leaves them unchecked.
        distributions: names that can be fitted; ``None`` leaves them unchecked.

    Raises:
        ConfigurationError: there is no such folder.
        InvalidGroupsError: with all mistakes of all files.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder; set ANOMALY_GROUPS to the folder with the group files")
    groups: list[Group] = []
    problems: list[str] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            groups.append(load_group(path, candidates=candidates, distributions=distributions))
        except InvalidGroupsError as bad:
            problems.extend(bad.problems)
    twice = {g.name for g in groups if sum(h.name == g.name for h in groups) > 1}
    problems.extend(f"{folder}: name: found {name!r} in two files; expected each group once" for name in sorted(twice))
    if problems:
        raise InvalidGroupsError(problems)
    return tuple(sorted(groups, key=lambda g: g.name))


def load_group(
    path: Path,
    *,
    candidates: Collection[str] | None = None,
    distributions: Collection[str] | None = None,
) -> Group:
    """One group file.

    Raises:
        InvalidGroupsError: with all mistakes of the file.
    """
    import yaml  # stages get their groups ready-made

    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as bad:
        mark = getattr(bad, "problem_mark", None)
        at = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
        reason = getattr(bad, "problem", None) or bad
        raise InvalidGroupsError([f"{path.name}: {at}: found {reason}; expected valid YAML"]) from None
    except UnicodeDecodeError as bad:
        raise InvalidGroupsError([f"{path.name}: byte {bad.start}: found {bad.reason}; expected UTF-8"]) from None
    if not isinstance(written, dict):
        found = "an empty file" if written is None else f"a {type(written).__name__}"
        raise InvalidGroupsError([f"{path.name}: (top): found {found}; expected a mapping of keys"])

    problems: list[str] = []
    written.setdefault("name", path.stem)
    if written["name"] != path.stem:
        problems.append(f"{path.name}: name: found {written['name']!r}; expected the file's name, {path.stem!r}")
    try:
        group = Group.model_validate(written)
    except ValidationError as bad:
        problems.extend(f"{path.name}: {line}" for line in _lines(bad.errors()))
        raise InvalidGroupsError(problems) from None
    problems.extend(f"{path.name}: {line}" for line in _unknown_names(group, candidates, distributions))
    if problems:
        raise InvalidGroupsError(problems)
    return group


def _unknown_names(
    group: Group, candidates: Collection[str] | None, distributions: Collection[str] | None
) -> Iterator[str]:
    if candidates is not None:
        for name in group.candidates:
            if name not in candidates:
                yield f"candidates: found {name!r}; expected one of {', '.join(sorted(candidates))}"
    if distributions is not None and group.distribution not in distributions:
        yield f"distribution: found {group.distribution!r}; expected one of {', '.join(sorted(distributions))}"
    if group.holidays is not None:
        yield from _unknown_country("holidays", group.holidays)
    for number, event in enumerate(group.planned):
        if event.holidays is not None:
            yield from _unknown_country(f"planned.{number}.holidays", event.holidays)


def _unknown_country(key: str, country: str) -> Iterator[str]:
    import holidays  # groups without holidays do not pay for it

    code, _, subdivision = country.partition("-")
    known = holidays.list_supported_countries()
    if code not in known:
        yield f"{key}: found {country!r}; expected a country that the package holidays knows, such as US or DE-BY"
    elif subdivision and subdivision not in known[code]:
        parts = f"{code} alone" + (f", or with one of {', '.join(known[code])}" if known[code] else "")
        yield f"{key}: found {country!r}; expected {parts}"


def _lines(errors: list[ErrorDetails]) -> Iterator[str]:
    for error in errors:
        key = ".".join(str(part) for part in error["loc"]) or "(top)"
        found = error["input"]
        match error["type"]:
            case "missing":
                yield f"{key}: found nothing; expected a value, this key is required"
            case "extra_forbidden":
                yield f"{key}: found an unknown key; expected {_known_keys(error['loc'])}"
            case "value_error":
                expected = str(error["ctx"]["error"])
                shown = f"found {_show(found)}; " if not isinstance(found, dict) else ""
                yield f"{key}: {shown}expected {expected}"
            case _:
                message = error["msg"]
                yield f"{key}: found {_show(found)}; expected: {message[0].lower()}{message[1:]}"


def _show(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 80 else text[:77] + "…"


def _known_keys(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Group
    for part in location[:-1]:
        if isinstance(part, int):
            continue  # of a list; its members' type is among the arguments of the list's
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *get_args(annotation)]
        nested = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not nested:
            break
        model = nested[0]
    known = sorted(model.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"{near[0]!r}?" if near else f"one of {', '.join(known)}"
