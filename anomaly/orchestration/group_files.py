"""The group files as the DAGs and the command line need them: checked against what the package knows.

Airflow drops every DAG of a file whose import fails. So the file that makes the DAGs takes `readable_groups`,
which leaves out a group file with mistakes, and a second file, which makes none, takes `checked_groups` and
fails with all the mistakes: one wrong file costs only its own group's DAGs, and the import error in the UI
still says what to mend.
"""

from __future__ import annotations

from pathlib import Path

from anomaly.detection.candidates import CANDIDATES
from anomaly.detection.residuals import DISTRIBUTIONS
from anomaly.exceptions import ConfigurationError, InvalidGroupsError
from anomaly.groups import Group, load_group, load_groups


def checked_groups(folder: Path) -> tuple[Group, ...]:
    """Every group of the folder, by name.

    Raises:
        ConfigurationError: there is no such folder.
        InvalidGroupsError: with all mistakes of all files.
    """
    return load_groups(folder, candidates=CANDIDATES, distributions=DISTRIBUTIONS)


def checked_group(folder: Path, name: str) -> Group:
    """One group, whatever is wrong with the files of the others.

    Raises:
        ConfigurationError: there is no such group.
        InvalidGroupsError: with all mistakes of its file.
    """
    paths = _files(folder)
    for path in paths:
        if path.stem == name:
            return load_group(path, candidates=CANDIDATES, distributions=DISTRIBUTIONS)
    there = f"there are {', '.join(path.stem for path in paths)}" if paths else "it holds no group files"
    raise ConfigurationError(f"there is no group {name!r} in {folder}: {there}. ANOMALY_GROUPS names the folder")


def readable_groups(folder: Path) -> tuple[Group, ...]:
    """The groups whose files have no mistakes, by name; none when there is no such folder."""
    found: dict[str, list[Group]] = {}
    for path in _files(folder):
        try:
            group = load_group(path, candidates=CANDIDATES, distributions=DISTRIBUTIONS)
        except InvalidGroupsError:
            continue
        found.setdefault(group.name, []).append(group)
    return tuple(same[0] for _, same in sorted(found.items()) if len(same) == 1)


def _files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
