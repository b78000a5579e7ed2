"""The page that the Airflow UI shows for each DAG, written from the group's file."""

from __future__ import annotations

from datetime import timedelta

from anomaly.detection.incidents import SEVERITIES
from anomaly.groups import Group
from anomaly.groups.durations import format_duration
from anomaly.groups.model import PromotionMode


def watch_page(group: Group) -> str:
    return f"""\
# {group.name}: is it written as often as usual?

{_about(group)}

Each run takes one interval of {format_duration(group.interval)}, {_delay(group)}:

1. **update** counts the events of every variable in the source and keeps the counts. Intervals of the last
   {format_duration(group.lateness)} are counted again, for rows that arrived late.
2. **predict** compares the counts with what the champion model expects, and marks the anomalies.
3. **alert** gathers anomalies into incidents and tells of them, each in one thread, with a chart. Digests and weekly
   posts go out with it.

Every task can be run again: the same range gives the same result, and no message is sent twice.

## Running a range by hand

*Trigger* with `start` and `end` (both, with an offset, on the grid of {format_duration(group.interval)}) runs that
whole range in one go:

```
airflow dags trigger anomaly.{group.name} \\
  --conf '{{"start": "{group.schedule.start.isoformat()}", "end": "{_second_day(group)}"}}'
```

Without them a run by hand takes the latest complete interval. One run per interval of the past:

```
airflow backfill create --dag-id anomaly.{group.name} --max-active-runs 1 \\
  --from-date {group.schedule.start.isoformat()} --to-date {_second_day(group)}
```

## When something fails

The task's log ends with a message that says what was found, where, and what to do. Unreachable databases and a
busy Slack are tried again by themselves; wrong configuration and wrong data fail at once and wait for you.
The model comes from `anomaly.{group.name}.fit`.

{_policy(group)}
"""


def fit_page(group: Group) -> str:
    return f"""\
# {group.name}: learn what is usual

{_about(group)}

Runs at `{group.schedule.fit}` ({group.timezone}){_on_drift(group)}:

1. **prepare** checks that the history is complete: at most {format_duration(group.history.length)}, at least
   {format_duration(group.history.minimum)}.
2. **train** trains every candidate ({_names(group.candidates)}) for all variables of a shard at once, and
   picks the best of each variable on the test period, the champion included. At most {group.max_shards} shards.
3. **register** makes the networks a version of the MLflow model `anomaly.{group.name}`, as `challenger`.
4. **review** lets challenger and champion judge the same last {format_duration(group.promotion.compare)}: which alerts
   appear and disappear, and which confirmed incidents of the group's golden file would be lost. All of it is on the
   version's page in MLflow.{_approval(group)}
5. **promote** makes it the `champion`, if it is not worse and loses nothing; `anomaly.{group.name}` uses it from its
   next run on. `anomaly models rollback {group.name}` takes that back.

## Fitting by hand

*Trigger* with `until`, where the history ends (with an offset, on the grid of {format_duration(group.interval)}):

```
airflow dags trigger anomaly.{group.name}.fit --conf '{{"until": "{_after_minimum(group)}"}}'
```

With `reason`, the fit says why it ran. Without `until` the history ends with the latest interval that
`anomaly.{group.name}` has counted. Missed fits are not caught up: a fit looks back by itself.

A new group has no counts yet: before its first fit, run `anomaly.{group.name}` by hand over the history, with
`start` and `end`.

{_policy(group)}
"""


def detectability_page(group: Group, cron: str) -> str:
    return f"""\
# {group.name}: what would go unnoticed

{_about(group)}

Runs at `{cron}` ({group.timezone}). **measure** puts drops, surges, silence, frozen counts and delays into copies of
the latest four weeks of counts, and asks the champion which of them it would notice within a day, and how soon. The
result is on the page of each variable, and the blind ones are on the page of the group;
`anomaly detectability {group.name}` shows the same. Nothing else is changed, and nobody is told.

It takes about half a second per variable of an hourly group. `schedule.detectability` in the group's file says when,
or `never`.

{_policy(group)}
"""


def _on_drift(group: Group) -> str:
    return ", and when the residuals have drifted" if group.retraining.on_drift else ""


def _approval(group: Group) -> str:
    if group.promotion.mode is not PromotionMode.REVIEWED:
        return ""
    return f"""
   **approve** then waits for somebody, {format_duration(group.promotion.wait)} at most: here under *Required actions*,
   in MLflow (alias `champion`, or tag `review` set to `approved` or `rejected`), or
   `anomaly models promote {group.name} VERSION`. What comes first counts."""


def _about(group: Group) -> str:
    said = f"{group.description.strip()}\n\n" if group.description else ""
    source = group.source
    where = f"table `{source.table}`" if source.table else "a query"
    return f"""\
{said}| | |
| --- | --- |
| variables | {_selection(group)} |
| source | {where} on connection `{source.connection}`, read only |
| interval | {format_duration(group.interval)}, calendar in {group.timezone} |
| owner | {group.owner} |
| channel | `{group.slack.channel}` through connection `{group.slack.connection}` |
| scheduled | from {group.schedule.start.isoformat()}{_until(group)} |"""


def _policy(group: Group) -> str:
    threshold = group.threshold
    return f"""\
## Policy

| | |
| --- | --- |
| false alerts accepted | {threshold.false_alerts_per_week:g} per week, over all variables together |
| direction | {threshold.direction.value} |
| never counts | fewer than {threshold.min_absolute:g} events or {threshold.min_relative:.0%} off |
| an incident | needs {group.incidents.min_anomalies} anomalous intervals; a gap over \
{format_duration(group.incidents.merge_gap)} ends it |
| low, high and critical ones go to | {_routes(group)} |
| quiet hours | {_quiet(group)} |
| planned events | {_planned(group)} |
| distribution of residuals | `{group.distribution}`, transform `{group.transform.value}` |
"""


def _routes(group: Group) -> str:
    return ", ".join(f"`{group.slack.route(severity)}`" for severity in SEVERITIES)


def _quiet(group: Group) -> str:
    hours = ", ".join(f"`{hours}`" for hours in group.slack.quiet_hours)
    who = {"critical": "what is not critical", "high": "what is low", "never": "everything"}[group.slack.quiet_below]
    return f"{hours}: {who} waits" if hours else "none"


def _planned(group: Group) -> str:
    return ", ".join(event.name.replace("|", "\\|") for event in group.planned) or "none"


def _selection(group: Group) -> str:
    chosen = group.variables
    if chosen.names is not None:
        return _names(chosen.names)
    if chosen.pattern is not None:
        pattern = chosen.pattern.replace("|", "\\|")
        return f"all whose name matches `{pattern}`"
    return "all that are found"


def _names(names: tuple[str, ...], most: int = 12) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _delay(group: Group) -> str:
    delay = group.schedule.delay
    return f"{format_duration(delay)} after its end" if delay else "at its end"


def _until(group: Group) -> str:
    return f" to {group.schedule.end.isoformat()}; still runs by hand" if group.schedule.end else ""


def _second_day(group: Group) -> str:
    return (group.schedule.start + timedelta(days=1)).isoformat()


def _after_minimum(group: Group) -> str:
    return (group.schedule.start + group.history.minimum).isoformat()
