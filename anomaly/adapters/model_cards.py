"""A review as people read it: the model card on a version's page in MLflow, and the whole report as one HTML file.

In: a fit, its variables, its review and what speaks against it. Out: Markdown (MLflow's page and the approval task
render it), HTML with the charts inside, and JSON. What to decide on comes first; what is good to know comes last.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly.adapters.messages import duration_words, number_words, return_period_words, span_words
from anomaly.groups import Group
from anomaly.groups.durations import format_duration
from anomaly.groups.model import PromotionMode
from anomaly.ports import Fit, FittedVariable
from anomaly.ports.reviews import AlertDiff, Card, JudgedAlert, Replayed, Review, ReviewLinks, Side, VariableErrors

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).with_name("review_templates")
_STYLE = Path(__file__).with_name("data_docs_templates") / "style.css"
LISTED = 12
"""Alerts, and golden incidents, that a card lists; the report lists all."""
LONGEST = 5000
"""Characters that MLflow's table has for a version's description: a longer one is refused, and the review with it."""
_NAMED = 3
_APART = "&emsp;"
"""MLflow draws tables without any room between their columns."""
_LIMITS = (
    "Counts are judged, never values: what is written on time with wrong contents is not noticed.",
    "A variable that is younger than the history's minimum is not judged; its first fit enrols it.",
    "Rare variables are judged over longer stretches: a single missing event is not noticed.",
)


def model_card(
    group: Group,
    fit: Fit,
    review: Review,
    fitted: Sequence[FittedVariable],
    *,
    findings: Sequence[str],
    charts: Mapping[str, bytes],
    links: ReviewLinks,
) -> Card:
    """Port `CardWriter`."""
    facts = _Facts(group, fit, review, fitted, tuple(findings), links)
    return Card(
        markdown=_fitting(facts),
        html=_html(facts, charts),
        json=_json(review),
    )


def approval_body(group: Group, fit: Fit, review: Review, *, findings: Sequence[str], links: ReviewLinks) -> str:
    """Markdown for the task that asks for approval: what to decide, and how else it can be said."""
    facts = _Facts(group, fit, review, (), tuple(findings), links)
    version = fit.model_version
    parts = [
        f"**Version {version} of `anomaly.{group.name}`** {_against(review)}",
        *_decision(facts),
        *_alert_lines(facts),
        *_golden_lines(facts),
        (
            "## Other ways to answer\n\n"
            f"In MLflow: move the alias `champion` to version {version}, or set its tag `review` to `approved` or "
            f"`rejected`. In a terminal: `anomaly models promote {group.name} {version}` or `anomaly models reject "
            f"{group.name} {version}`. What comes first counts. Without an answer within "
            f"{duration_words(group.promotion.wait)} the version is rejected."
        ),
        _links(facts),
    ]
    return "\n\n".join(part for part in parts if part)


class _Facts:
    """What both forms are made of."""

    def __init__(
        self,
        group: Group,
        fit: Fit,
        review: Review,
        fitted: Sequence[FittedVariable],
        findings: tuple[str, ...],
        links: ReviewLinks,
        listed: int = LISTED,
    ) -> None:
        self.listed = listed
        self.group, self.fit, self.review, self.fitted = group, fit, review, fitted
        self.findings, self.links = findings, links
        self.statuses: Counter[str] = Counter(f.status for f in fitted)
        self.candidates = Counter(f.candidate for f in fitted if f.status == "fitted")
        self.families = Counter(f.distribution for f in fitted if f.distribution)


def _fitting(facts: _Facts) -> str:
    """With as many alerts and golden incidents as there is room for; what speaks against the version comes first, so
    that nothing of it is cut off."""
    for facts.listed in (LISTED, 8, 5, 3, 1):
        written = _markdown(facts)
        if len(written) <= LONGEST:
            return written
    cut = "…\n\nThe report holds the rest."
    return written[: LONGEST - len(cut)] + cut


def _markdown(facts: _Facts) -> str:
    group, fit = facts.group, facts.fit
    policy = group.threshold
    parts = [
        group.description or f"Variable group **{group.name}**.",
        *_decision(facts),
        "## Forecasts\n\n" + _forecasts(facts),
        *_alert_lines(facts),
        *_golden_lines(facts),
        "## Model\n\n"
        + _table(
            ("", ""),
            [
                ("why it was fitted", fit.reason or "not said"),
                (
                    "learned from",
                    (
                        f"{span_words(fit.history.start, fit.history.end, group.zone)}, every "
                        f"{format_duration(group.interval)}"
                    ),
                ),
                ("variables", _counted(facts.statuses)),
                ("forecast by", _counted(facts.candidates)),
                ("residuals' distribution", _counted(facts.families)),
                ("transform", str(group.transform)),
                (
                    "thresholds",
                    (
                        f"{policy.false_alerts_per_week:g} false alerts a week over all variables together; direction "
                        f"{policy.direction.value}; never fewer than {policy.min_absolute:g} events or "
                        f"{policy.min_relative:.0%} off"
                    ),
                ),
                ("fit", f"`{fit.id}`"),
            ],
        ),
        "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in _LIMITS),
        _links(facts),
    ]
    return "\n\n".join(part for part in parts if part)


def _decision(facts: _Facts) -> list[str]:
    mode = facts.group.promotion.mode
    if facts.findings:
        listed = "\n".join(f"- {_sentence(found)}" for found in facts.findings)
        return [f"**Against it:**\n\n{listed}"]
    by = "it serves by the group's policy" if mode is PromotionMode.AUTOMATIC else "somebody has to approve it"
    return [f"**Nothing speaks against it**; {by}."]


def _against(review: Review) -> str:
    if review.champion_version is None:
        return "wants to serve; there is no champion yet."
    damaged = ", which could not be replayed: its networks are damaged or gone" if review.unplayed else ""
    return f"wants to take the place of version {review.champion_version}{damaged}."


def _forecasts(facts: _Facts) -> str:
    comparison = facts.review.comparison
    if not comparison.sides:
        return "No variable was forecast on the test period."
    lines = [_table(("median test error", "variables", "this fit", "champion", "seasonal naive", "better", "worse"), [
        _side_row(side) for side in comparison.sides
    ])]  # fmt: skip
    if comparison.ratio is not None:
        lines.append(
            f"In the median over the variables, its error is **{comparison.ratio:.3f}** times the champion's. "
            "Variables compare by this ratio: rare ones are measured by Poisson deviance, all others by mean absolute "
            "error in the transform, and the two are not added up."
        )
        for said, errors in (("Worst", comparison.worst), ("Best", comparison.best)):
            if errors:
                lines.append(f"{said}: {', '.join(_ratio(e) for e in errors[:_NAMED])}.")
    return "\n\n".join(lines)


def _side_row(side: Side) -> tuple[str, ...]:
    return (
        side.measure,
        f"{side.variables:,}",
        f"{side.challenger:.3f}",
        _number(side.champion),
        _number(side.baseline),
        f"{side.better:,} of {side.compared:,}" if side.compared else "",
        f"{side.worse:,} of {side.compared:,}" if side.compared else "",
    )


def _ratio(errors: VariableErrors) -> str:
    return f"`{errors.variable}` {errors.ratio:.2f} times"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _alert_lines(facts: _Facts) -> list[str]:
    alerts, zone = facts.review.alerts, facts.group.zone
    span = span_words(alerts.start, alerts.end, zone)
    if alerts.champion is None:
        told = _number_of(alerts.challenger, "alert")
        alone = (
            "the champion could not be replayed" if facts.review.unplayed else "there is no champion to compare with"
        )
        head = f"Over {span} it would have told **{told}**; {alone}."
    else:
        head = (
            f"Over {span} the champion would have told {_number_of(alerts.champion, 'alert')} and this fit "
            f"{alerts.challenger}: **{len(alerts.appearing)} appear, {len(alerts.disappearing)} disappear**, "
            f"{_stay(alerts)}."
        )
    fair = [sum(a.out_of_sample for a in listed) for listed in (alerts.appearing, alerts.disappearing)]
    head += (
        f" After {alerts.fair_from.astimezone(zone):%Y-%m-%d}, where neither fit's networks were trained: {fair[0]} "
        f"appear, {fair[1]} disappear. Before it a fit looks better on what it has learned (marked *)."
    )
    parts = [f"## Alerts\n\n{head}"]
    for title, listed in (("Appear", alerts.appearing), ("Disappear", alerts.disappearing)):
        if listed:
            shown = sorted(listed, key=lambda a: (-a.return_period_hours, a.start))[: facts.listed]
            more = f"\n\nand {len(listed) - len(shown)} more in the report" if len(listed) > len(shown) else ""
            rows = [_alert_row(a, facts) for a in sorted(shown, key=lambda a: a.start)]
            columns = ("when", "what", "variables", "counted", "expected", "how rare")
            parts.append(f"### {title}\n\n{_table(columns, rows)}{more}")
    return parts


def _stay(alerts: AlertDiff) -> str:
    """What stays; one long incident of the champion may be several of the challenger, or the other way round."""
    ours = alerts.challenger - len(alerts.appearing)
    return f"{alerts.kept} stay" + (f", as {ours}" if ours != alerts.kept else "")


def _number_of(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _alert_row(alert: JudgedAlert, facts: _Facts) -> tuple[str, ...]:
    return (
        span_words(alert.start, alert.end, facts.group.zone) + ("" if alert.out_of_sample else " *"),
        f"{alert.kind}, {alert.severity}",
        _names(alert.variables),
        number_words(alert.observed),
        number_words(alert.expected),
        return_period_words(alert.return_period_hours),
    )


def _golden_lines(facts: _Facts) -> list[str]:
    golden = facts.review.golden
    if not golden:
        return [
            (
                "## Golden incidents\n\nThe group has none. `anomaly models golden "
                f"{facts.group.name}` writes them from labels."
            )
        ]
    real = [g for g in golden if g.golden.word == "real"]
    others = [g for g in golden if g.golden.word != "real"]
    lost, back = [g for g in real if g.lost], [g for g in others if g.back]
    missed = [g for g in real if g.missed]
    nobody = "the champion could not be replayed" if facts.review.unplayed else "no champion that would"
    unknown = sum(g.challenger is None for g in golden)
    head = (
        f"{len(real)} confirmed, **{len(lost)} lost**; {len(others)} known false alarms, **{len(back)} come back**"
        + (f"; {len(missed)} confirmed not found, and {nobody}" if missed else "")
        + (f"; {unknown} cannot be replayed for want of counts" if unknown else "")
        + "."
    )
    rows = [_golden_row(g, facts) for g in (*lost, *missed, *back)][: facts.listed]
    table = "\n\n" + _table(("when", "said", "variables", "champion", "this fit"), rows) if rows else ""
    return [f"## Golden incidents\n\n{head}{table}"]


def _golden_row(replayed: Replayed, facts: _Facts) -> tuple[str, ...]:
    one = replayed.golden
    return (
        span_words(one.start, one.end, facts.group.zone),
        one.word.replace("_", " ") + (f": {one.reason}" if one.reason else ""),
        _names(one.variables),
        _told(replayed.champion),
        _told(replayed.challenger),
    )


def _told(told: bool | None) -> str:  # noqa: FBT001
    return {True: "tells it", False: "misses it", None: "unknown"}[told]


def _links(facts: _Facts) -> str:
    links = facts.links
    listed = [
        f"[{text}]({address})"
        for text, address in (
            ("Review page", links.page),
            ("Run and report", links.run),
            ("Data Docs", links.data_docs),
        )
        if address
    ]
    return f"## See also\n\n{' · '.join(listed)}" if listed else ""


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _counted(counted: Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counted.most_common()) or "none"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(column + _APART for column in columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") + _APART for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _html(facts: _Facts, charts: Mapping[str, bytes]) -> str:
    review, zone = facts.review, facts.group.zone

    def listed(alerts: Sequence[JudgedAlert]) -> list[dict[str, Any]]:
        return [
            {
                "cells": [cell.replace("`", "") for cell in _alert_row(a, facts)],
                "chart": _inline(charts.get(a.chart)),
            }
            for a in alerts
        ]

    return _template().render(
        style=_STYLE.read_text(encoding="utf-8"),
        group=facts.group,
        fit=facts.fit,
        review=review,
        findings=[_sentence(found) for found in facts.findings],
        against=_against(review),
        statuses=_counted(facts.statuses),
        candidates=_counted(facts.candidates),
        families=_counted(facts.families),
        history=span_words(facts.fit.history.start, facts.fit.history.end, zone),
        stay=_stay(review.alerts),
        span=span_words(review.alerts.start, review.alerts.end, zone),
        fair_from=f"{review.alerts.fair_from.astimezone(zone):%Y-%m-%d %H:%M}",
        sides=[_side_row(side) for side in review.comparison.sides],
        worst=review.comparison.worst,
        best=review.comparison.best,
        appearing=listed(review.alerts.appearing),
        disappearing=listed(review.alerts.disappearing),
        golden=[[cell.replace("`", "") for cell in _golden_row(g, facts)] for g in review.golden],
        comparison=_inline(charts.get("comparison.png")),
        timeline=_inline(charts.get("alerts.png")),
        limits=_LIMITS,
        links=facts.links,
    )


def _inline(png: bytes | None) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if png else ""


def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.j2")


def _json(review: Review) -> str:
    from pydantic import TypeAdapter

    return TypeAdapter(Review).dump_json(review, indent=1).decode()
