"""What to watch: one YAML file per variable group, parsed once into a frozen, typed `Group`."""

from anomaly.groups.intervals import TimeRange
from anomaly.groups.loading import load_group, load_groups
from anomaly.groups.model import Columns, Group, Incidents, Schedule, Slack, Source, Threshold, VariableSelection

__all__ = [
    "Columns",
    "Group",
    "Incidents",
    "Schedule",
    "Slack",
    "Source",
    "Threshold",
    "TimeRange",
    "VariableSelection",
    "load_group",
    "load_groups",
]
