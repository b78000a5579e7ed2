"""A backtest as a page: one HTML file that carries its style, drawings and charts with it; and the same as JSON.

In: `Backtest`, one outcome or two, and charts. Out: text. The page needs no network and no script, so it can be sent
around, kept beside the change it argues for, and read on a phone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from anomaly.adapters.messages import (
    called,
    duration_words,
    headline,
    kind_words,
    moment_words,
    observed_words,
    return_period_words,
    shortened,
    span_words,
)
from anomaly.detection.incidents import SEVERITIES, Incident
from anomaly.groups import Group
from anomaly.stages.backtest import Alert, Confirmed, Difference, LateRows, Outcome

WIDTH = 1000
"""Of the drawings, in units of their own; the page scales them."""
NAMED = 3
"""Variables of an incident that a table names."""
_WEEK = timedelta(weeks=1)
_LEAST_BAR, _WIDEST_BAR = 4.0, 46.0


@dataclass(frozen=True, slots=True)
class Reported:
    """One policy's outcome, and how it does by what people have said."""

    name: str
    outcome: Outcome
    confirmed: Confirmed
    charts: Mapping[int, bytes] = field(default_factory=dict)
    """PNG by the id of an incident; not all have one."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """All that a report tells."""

    before: Reported
    made_at: datetime
    late: LateRows
    after: Reported | None = None
    """The second policy's, if there was one."""
    differences: tuple[Difference, ...] = ()
    changed: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Keys of the group's file that the second policy changes: what was there, and what is."""
    shared_fits: bool = False

    @property
    def sides(self) -> tuple[Reported, ...]:
        return (self.before,) if self.after is None else (self.before, self.after)

    @property
    def loses_confirmed(self) -> bool:
        """Whether the second policy would keep quiet about something that people have confirmed and the first tells."""
        if self.after is None:
            return False
        told = {label.id for label in self.before.confirmed.kept}
        return any(label.id in told for label in self.after.confirmed.lost)

    def counted(self) -> dict[str, int]:
        """Differences by what they are."""
        kinds = ("disappears", "appears", "changes", "stays")
        return {how: sum(d.how == how for d in self.differences) for how in kinds}


def sentence(side: Reported) -> str:
    """``14 alerts in 60 days, 1.6 a week: 2 critical, 5 high, 7 low``."""
    o = side.outcome
    if not o.weeks:
        return "no champion in these days, so nothing would have been judged"
    days = (o.within.end - o.judged_from) / timedelta(days=1)
    by = ", ".join(f"{number} {severity}" for severity, number in o.severities().items() if number)
    alerts = f"{len(o.told)} {'alert' if len(o.told) == 1 else 'alerts'}"
    return f"{alerts} in {days:,.4g} days, {o.per_week:.2g} a week" + (f": {by}" if by else "")


def promised(side: Reported) -> str:
    """What the policy accepts, beside what can be said of false alerts."""
    o, words = side.outcome, side.confirmed.words
    accepted = o.group.threshold.false_alerts_per_week
    said = f"promised: at most {accepted:g} false a week"
    if not o.weeks:
        return said
    labelled = sum(number for word, number in words.items() if word)
    if not labelled:
        return f"{said}; nobody has labelled these days, so at most {o.per_week:.2g} a week were false"
    false = words["false_alarm"] + words["expected"]
    most = (false + words[""]) / o.weeks
    return (
        f"{said}; of {len(o.told)}, people called {words['real']} real, {false} false or expected and said nothing of "
        f"{words['']}: {false / o.weeks:.2g} to {most:.2g} false a week"
    )


def told_words(alert: Alert) -> str:
    """When the channel would have heard of it, from the incident's first anomalous interval on."""
    if alert.waited is not None:
        return duration_words(alert.waited)
    return "in a digest" if alert.listed_at is not None else "not told"


def what_words(incident: Incident) -> str:
    """What happened, on a page that is about one group."""
    return headline(incident).removeprefix(f"{incident.group}: ")


# --- for machines -------------------------------------------------------------------------------------------------


def as_dict(report: Backtest) -> dict[str, Any]:
    """What JSON can hold; moments in UTC, durations in hours."""
    before = report.before.outcome
    return {
        "group": before.group.name,
        "start": before.within.start.isoformat(),
        "end": before.within.end.isoformat(),
        "made_at": report.made_at.isoformat(),
        "policies": [_side(side) for side in report.sides],
        "shared_fits": report.shared_fits,
        "changed": {key: {"before": old, "after": new} for key, (old, new) in report.changed.items()},
        "differences": [
            {
                "how": d.how,
                "what": list(d.what),
                "before": d.before.incident.id if d.before else None,
                "after": d.after.incident.id if d.after else None,
            }
            for d in report.differences
        ],
        "loses_confirmed": report.loses_confirmed,
        "late_rows": {"counts": report.late.counts, "completed_later": report.late.changed},
    }


def _side(side: Reported) -> dict[str, Any]:
    o = side.outcome
    return {
        "name": side.name,
        "policy": o.group.model_dump(mode="json"),
        "judged_from": o.judged_from.isoformat(),
        "alerts_per_week": o.per_week,
        "promised_false_alerts_per_week": o.group.threshold.false_alerts_per_week,
        "severities": dict(o.severities()),
        "labels": {
            "alerts": {word or "none": number for word, number in side.confirmed.words.items()},
            "confirmed_kept": len(side.confirmed.kept),
            "confirmed_lost": len(side.confirmed.lost),
        },
        "fits": [
            {"at": f.refit.at.isoformat(), "until": f.refit.until.isoformat(), "promoted": f.promoted, "said": f.said}
            for f in o.fits
        ],
        "incidents": [_incident(side, alert) for alert in o.alerts],
    }


def _incident(side: Reported, alert: Alert) -> dict[str, Any]:
    i, label = alert.incident, side.confirmed.labelled.get(alert.incident.id or 0)
    return {
        "id": i.id,
        "start": i.start.isoformat(),
        "end": i.end.isoformat(),
        "kind": i.kind,
        "severity": i.severity,
        "told_at": alert.told_at.isoformat() if alert.told_at else None,
        "listed_at": alert.listed_at.isoformat() if alert.listed_at else None,
        "edits": alert.edits,
        "replies": alert.replies,
        "tail_probability": i.tail_probability,
        "return_period_hours": i.return_period_hours,
        "label": label.word if label else None,
        "variables": [
            {"variable": v.variable, "kind": v.kind, "observed": v.observed, "expected": v.expected, "test": v.test}
            for v in i.variables
        ],
    }


# --- for people ---------------------------------------------------------------------------------------------------


def as_html(report: Backtest) -> str:
    """One self-contained page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("anomaly.adapters", "backtest_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    group, within = report.before.outcome.group, report.before.outcome.within
    return environment.get_template("report.html.j2").render(
        group=group,
        span=span_words(within.start, within.end, group.zone),
        made=moment_words(report.made_at, group.zone),
        width=WIDTH,
        weeks=list(_week_marks(report.before.outcome)),
        sides=[_shown(side, number, report) for number, side in enumerate(report.sides)],
        most=_most_a_week(report),
        two=report.after is not None,
        changed=[(key, _value(old), _value(new)) for key, (old, new) in report.changed.items()],
        counted=report.counted(),
        differences=[_difference(report, d) for d in report.differences if d.how != "stays"],
        loses=report.loses_confirmed,
        notes=list(notes(report)),
    )


def notes(report: Backtest) -> Iterator[str]:
    """What has to be known to read the report rightly."""
    o = report.before.outcome
    zone = o.group.zone
    late, promoted = report.late, [done for done in o.fits if done.promoted]
    yield (
        "Counts are those known today, not those known at the time: rows that came late are in them from the "
        "beginning. " + late.words()
    )
    if promoted:
        yield (
            f"The replay begins with the fit of {moment_words(promoted[0].refit.until, zone)}. What was judged or "
            "labelled before it, or learned by fits that were started by hand, is not known to it."
        )
    if o.judged_from > o.within.start:
        yield (
            f"Until {moment_words(o.judged_from, zone)} there was no champion: the history before was shorter than the "
            "policy asks for, or not counted. Rates are of the time after it."
        )
    yield (
        "Fits are those of the schedule, and each serves from the end of its history on, as if training took no time. "
        "Left out are fits that drift or a person asks for, and a person's word on a fit; the guard of golden "
        "incidents, so that a fit that loses one may serve here; and the ranking by labels, so that no incident goes "
        "to the digest for its rank."
    )
    if report.after is not None and report.shared_fits:
        yield (
            "Both policies use the first one's fits, with thresholds of their own. A fit learns nothing from what was "
            "anomalous before it, so fits of the second policy's own could differ a little."
        )


def _shown(side: Reported, number: int, report: Backtest) -> dict[str, Any]:
    o = side.outcome
    waits = [alert.waited for alert in o.told if alert.waited is not None]
    gone = {d.before.incident.id for d in report.differences if d.how == "disappears" and d.before}
    new = {d.after.incident.id for d in report.differences if d.how == "appears" and d.after}
    marked = gone if number == 0 else new
    return {
        "name": side.name,
        "number": number,
        "sentence": sentence(side),
        "promised": promised(side),
        "per_week": f"{o.per_week:.2g}",
        "accepted": f"{o.group.threshold.false_alerts_per_week:g}",
        "severities": o.severities(),
        "wait": duration_words(timedelta(seconds=median(w.total_seconds() for w in waits))) if waits else "\N{EN DASH}",
        "listed": sum(alert.listed_at is not None and alert.told_at is None for alert in o.alerts),
        "quiet": sum(alert.told_at is None and alert.listed_at is None for alert in o.alerts),
        "labelled": sum(v for word, v in side.confirmed.words.items() if word),
        "kept": len(side.confirmed.kept),
        "lost": [_label_words(o.group, label) for label in side.confirmed.lost],
        "confirmed": len(side.confirmed.kept) + len(side.confirmed.lost),
        "marks": [_mark(o, alert, number, marked=alert.incident.id in marked) for alert in o.alerts],
        "fits": [_x(o, done.refit.until) for done in o.fits if done.promoted and done.refit.until in o.within],
        "bars": _weekly(o),
        "alerts": [_row(side, number, alert) for alert in o.alerts],
        "fit_rows": [
            (moment_words(f.refit.at, o.group.zone), moment_words(f.refit.until, o.group.zone), f.promoted, f.said)
            for f in o.fits
        ],
    }


def _row(side: Reported, number: int, alert: Alert) -> dict[str, Any]:
    o, i = side.outcome, alert.incident
    label = side.confirmed.labelled.get(i.id or 0)
    chart = side.charts.get(i.id or 0)
    return {
        "anchor": f"incident-{number}-{i.id}",
        "severity": i.severity,
        "headline": what_words(i),
        "span": span_words(i.start, i.end, o.group.zone),
        "lasted": duration_words(i.end - i.start),
        "kind": kind_words(i.kind),
        "variables": [(called(v.variable), observed_words(v)) for v in i.departed[:NAMED]],
        "more": max(len(i.departed) - NAMED, 0),
        "rarity": return_period_words(i.return_period_hours),
        "told": told_words(alert),
        "edits": alert.edits,
        "replies": alert.replies,
        "label": label.word.replace("_", " ") if label else "",
        "chart": base64.b64encode(chart).decode() if chart else None,
    }


def _difference(report: Backtest, difference: Difference) -> dict[str, Any]:
    side = 0 if difference.before else 1
    alert = difference.before or difference.after
    assert alert is not None  # noqa: S101  one of the two is there
    i, group = alert.incident, report.before.outcome.group
    label = report.sides[side].confirmed.labelled.get(i.id or 0)
    return {
        "how": difference.how,
        "anchor": f"incident-{side}-{i.id}",
        "severity": i.severity,
        "headline": what_words(i),
        "span": span_words(i.start, i.end, group.zone),
        "what": "; ".join(difference.what),
        "label": label.word.replace("_", " ") if label else "",
    }


def _label_words(group: Group, label: Any) -> str:
    names = ", ".join(shortened(called(name), 40) for name in label.variables[:NAMED])
    more = f" and {len(label.variables) - NAMED} more" if len(label.variables) > NAMED else ""
    return f"{span_words(label.start, label.end, group.zone)}: {names}{more}, confirmed by {label.author}"


def _value(written: Any) -> str:
    return "\N{EN DASH}" if written is None or written == [] else str(written)


# --- drawings -----------------------------------------------------------------------------------------------------


def _x(o: Outcome, moment: datetime) -> float:
    """Across the drawing, 0 to WIDTH."""
    return round(min(max((moment - o.within.start) / (o.within.end - o.within.start), 0.0), 1.0) * WIDTH, 2)


def _mark(o: Outcome, alert: Alert, number: int, *, marked: bool) -> dict[str, Any]:
    i = alert.incident
    begin, end = _x(o, i.start), _x(o, i.end)
    wide = max(end - begin, _LEAST_BAR)
    return {
        "x": min(begin, WIDTH - wide),
        "width": round(wide, 2),
        "severity": i.severity,
        "height": 10 + 8 * SEVERITIES.index(i.severity),
        "told": alert.told_at is not None,
        "marked": marked,
        "anchor": f"incident-{number}-{i.id}",
        "title": f"{what_words(i)}, {span_words(i.start, i.end, o.group.zone)}, {i.severity}",
    }


def _week_marks(o: Outcome) -> Iterator[tuple[float, str]]:
    """Midnights of the group's zone, a week apart, that end with the range."""
    marks, at = [], o.within.end
    while at > o.within.start:
        local = at.astimezone(o.group.zone)
        marks.append((_x(o, at), f"{local.day} {local:%b}"))
        at -= _WEEK
    yield from reversed(marks)


def _weeks(o: Outcome) -> list[tuple[datetime, datetime]]:
    """The range in weeks that end with it; the first may be shorter."""
    found, end = [], o.within.end
    while end > o.within.start:
        begin = max(end - _WEEK, o.within.start)
        found.append((begin, end))
        end = begin
    return found[::-1]


def _weekly(o: Outcome) -> list[dict[str, Any]]:
    """Alerts per week by severity, each a bar's part."""
    bars = []
    for begin, end in _weeks(o):
        own = [a.incident for a in o.told if begin <= a.incident.start < end]
        by = {severity: sum(i.severity == severity for i in own) for severity in reversed(SEVERITIES)}
        x, after = _x(o, begin), _x(o, end)
        wide = min(max(after - x - 4, 1), _WIDEST_BAR)
        bars.append({"x": (x + after - wide) / 2, "width": wide, "by": by, "all": len(own)})
    return bars


def _most_a_week(report: Backtest) -> float:
    """What the weekly drawing has to have room for."""
    numbers: Sequence[float] = [bar["all"] for side in report.sides for bar in _weekly(side.outcome)]
    accepted = [side.outcome.group.threshold.false_alerts_per_week for side in report.sides]
    return max([1.0, *numbers, *accepted])


def incident_order(incident: Incident) -> tuple[int, float]:
    """The worst first: by severity, then by rarity."""
    return -SEVERITIES.index(incident.severity), incident.tail_probability
