"""The group files as the DAG files need them: what can be read, and what is wrong with the rest.

Airflow drops every DAG of a file whose import fails. So the file that makes the DAGs skips a group file with
mistakes, and a second file, which makes none, fails with all the mistakes: one wrong file costs only its own
group's DAGs, and the import error in the UI still says what to mend.
"""

from __future__ import annotations

from pathlib import Path

from anomaly.exceptions import ConfigurationError, InvalidGroupsError
from anomaly.groups import Group, load_group, load_groups


def readable_groups(folder: Path) -> tuple[Group, ...]:
    """The groups whose files have no mistakes, by name; none when there is no such folder."""
    try:
        return load_groups(folder)
    except InvalidGroupsError:
        pass
    except ConfigurationError:
        return ()
    found: dict[str, list[Group]] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            group = load_group(path)
        except InvalidGroupsError:
            continue
        found.setdefault(group.name, []).append(group)
    return tuple(same[0] for _, same in sorted(found.items()) if len(same) == 1)
