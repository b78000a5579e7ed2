"""From one champion to another: in the store first, in the model registry after it.

In: a fit that serves from an interval on, and who says so. Out: the group's latest serving, in the store that predict
reads, and the alias ``champion`` on the fit's version. The store comes first, in one transaction for the whole group:
what is judged follows from it alone. The alias is for people. When the registry cannot be reached, the serving stays
noted as not told, judging goes on with the new champion, and the next run of anything here moves the alias.

An alias that was told and points elsewhere was moved by hand. That is a decision, too: `follow` makes it serve from
the next interval on, and keeps with the decision what the version's review says against it. Two things it is not. A
version that has no review yet waits for it: nobody has seen what it would change. From a challenger that loses a
confirmed incident the alias goes back. Whoever means it all the same promotes the version by its number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from anomaly.exceptions import NoSuchVersionError, RegistryUnavailableError
from anomaly.groups import Group
from anomaly.ports import ArtifactReader, Fit, ModelRegistry, Store
from anomaly.ports.reviews import DecidedVia, Reviews, ServedVia, Serving, Verdict
from anomaly.stages.judging import judging
from anomaly.stages.promotion import Objection, first_not_judged, lost_incidents, objections

log = logging.getLogger(__name__)

ALL_FITS = 100_000
"""One may go back to a fit however old it is."""
NOBODY_KNOWN = "somebody in MLflow"
"""Who moved an alias: MLflow does not say."""


@dataclass(frozen=True, slots=True)
class HandoverReport:
    """Who serves now, and whether that is new."""

    group: str
    model_version: int | None
    before: int | None
    """The version that served until then."""
    serves_from: str | None
    changed: bool
    told: bool
    """Whether the registry's alias says the same."""
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.model_version is None:
            return f"no version of {self.group} serves: {self.reason}"
        if not self.changed:
            said = f"version {self.model_version} of {self.group} serves, as before: {self.reason}"
        else:
            instead = f" in place of version {self.before}" if self.before else ""
            said = (
                f"version {self.model_version} of {self.group} serves{instead}, from {self.serves_from} on: "
                f"{self.reason}. Earlier intervals stay as they were judged"
            )
        if not self.told:
            said += ". The registry could not be told; its alias follows with the next run"
        return said


def hand_over(
    group: Group,
    fit: Fit,
    serves_from: Callable[[], datetime],
    *,
    why: str,
    who: str,
    via: ServedVia,
    store: Store,
    reviews: Reviews,
    registry: ModelRegistry,
    now: datetime,
) -> Serving:
    """Makes the fit serve from a moment on, and tells the registry.

    Args:
        serves_from: says the moment, when nobody is writing what he has judged (`anomaly.stages.judging`).

    Raises:
        RegistryUnavailableError: the store has changed, the alias has not; calling again completes it.
    """
    with judging(group, store):
        serving = reviews.serve(Serving(group.name, fit.id, serves_from(), why=why, who=who, via=via, at=now))
    tell_registry(group, reviews=reviews, registry=registry)
    return serving


def tell_registry(group: Group, *, reviews: Reviews, registry: ModelRegistry) -> None:
    """Moves the alias to who serves last, if that is still to do."""
    servings = reviews.servings(group)
    untold = [s for s in servings if not s.told]
    if not untold:
        return
    versions = {f.id: f.model_version for f in reviews.fits(group, limit=ALL_FITS)}
    version = versions.get(servings[-1].fit_id)
    if version is not None:
        registry.promote(group, version)
    reviews.told(max(untold, key=lambda s: s.id or 0))


def rollback(
    group: Group,
    *,
    to: int | None,
    why: str,
    who: str,
    store: Store,
    reviews: Reviews,
    registry: ModelRegistry,
    artifacts: ArtifactReader,
    now: datetime,
) -> HandoverReport:
    """Lets an older version serve again, from the first interval that is not judged yet.

    The whole group moves in one step. Run again after a failure, it completes what was begun and nothing more.

    Args:
        to: the version; None for the latest that served and is older than the champion.
        why, who: kept with the serving, and as a tag of the version that is rolled back.

    Raises:
        NoSuchVersionError: there is none to go back to.
        ArtifactCorruptedError, ArtifactsUnavailableError: its networks cannot be loaded; nothing is changed.
        RegistryUnavailableError: the older version serves already; the alias does not say so yet.
    """
    current = _champion(group, store)
    latest = reviews.servings(group)[-1]
    if latest.via == "rollback" and not latest.told and to in {None, current.model_version}:
        tell_registry(group, reviews=reviews, registry=registry)
        return _report(group, current, None, latest, "an earlier rollback is complete now")
    target = _version_to_go_back_to(group, current, to, reviews)
    if target.id == current.id:
        return _unchanged(group, current, "it is the champion")
    for file in store.network_files(target.id):
        artifacts.read(file.serving_uri, sha256=file.serving_sha256)
    before, serving = _put_to_serve(
        group, target, why=why, who=who, via="rollback", store=store, reviews=reviews, now=now
    )
    if serving is None:
        return _unchanged(group, before, "it is the champion")
    tell_registry(group, reviews=reviews, registry=registry)
    current = before or current
    if current.model_version is not None:
        registry.tag(group, current.model_version, {"rolled_back": f"{who}, {now:%Y-%m-%d %H:%M} UTC: {why}"})
    report = _report(group, target, current, serving, why)
    log.info("%s: rolled back: %s", group.name, report)
    return report


def promote_version(
    group: Group,
    version: int,
    *,
    why: str,
    who: str,
    store: Store,
    reviews: Reviews,
    registry: ModelRegistry,
    now: datetime,
) -> HandoverReport:
    """Lets a version serve because somebody says so, whatever speaks against it.

    Raises:
        NoSuchVersionError: no fit of this group has this version.
    """
    fit = known_version(group, version, reviews)
    reviews.overrule(Verdict(fit.id, "approved", who, "cli", now, why))
    return _by_hand(group, fit, why=why, who=who, via="cli", store=store, reviews=reviews, registry=registry, now=now)


def reject_version(
    group: Group,
    version: int,
    *,
    why: str,
    who: str,
    store: Store,
    reviews: Reviews,
    registry: ModelRegistry,
    now: datetime,
) -> Verdict:
    """Notes that a challenger shall not serve. A review that waits for it ends.

    Raises:
        NoSuchVersionError: no fit of this group has this version, or it serves: then a rollback is what helps.
    """
    fit = known_version(group, version, reviews)
    champion = store.champion(group)
    if champion is not None and champion.id == fit.id:
        raise NoSuchVersionError(
            f"version {version} of {group.name!r} is the champion, no challenger; to take it back run: "
            f"anomaly models rollback {group.name}"
        )
    verdict = reviews.overrule(Verdict(fit.id, "rejected", who, "cli", now, why))
    registry.tag(group, version, {"review": "rejected", "review.by": who, "review.why": why})
    return verdict


def follow(group: Group, *, store: Store, reviews: Reviews, registry: ModelRegistry, now: datetime) -> HandoverReport:
    """Completes what the registry was not told, and lets serve what somebody moved the alias to by hand.

    An alias that somebody deleted is set again. One that points to a version of no fit of this group is left alone,
    with a warning: nothing is known of it that one could judge with. So is one that points to a challenger without a
    review, until it has one. One that points to a challenger that loses a confirmed incident is taken back.

    Raises:
        RegistryUnavailableError: nothing is known then, and nothing changed.
    """
    tell_registry(group, reviews=reviews, registry=registry)
    champion, pointed = store.champion(group), registry.champion_version(group)
    version = champion.model_version if champion else None
    if pointed is None or pointed == version:
        if pointed is None and version is not None:
            registry.promote(group, version)
            log.warning("%s: the alias champion was gone; it is set to version %s again", group.name, version)
        return _unchanged(group, champion, "the registry agrees")
    fit = reviews.fit_of_version(group, pointed)
    if fit is None:
        log.warning("%s: the alias champion points to version %s, which no fit made", group.name, pointed)
        return _unchanged(group, champion, f"the alias points to version {pointed}, which no fit made")
    why = "the alias champion was moved by hand"
    if fit.state == "promoted":
        return _by_hand(
            group, fit, why=why, who=NOBODY_KNOWN, via="mlflow", store=store, reviews=reviews, registry=registry,
            now=now,
        )  # fmt: skip
    review = reviews.review(fit.id)
    if review is None:
        waits = f"the alias points to version {pointed}, which has no review yet and waits for it; to let it serve now"
        log.warning("%s: %s run: anomaly models promote %s %s", group.name, waits, group.name, pointed)
        return _unchanged(group, champion, f"{waits} run: anomaly models promote {group.name} {pointed}")
    lost = lost_incidents(review)
    if lost:
        if version is not None:
            registry.promote(group, version)
        registry.tag(group, pointed, {"decision": f"the alias champion was taken back from it: {lost}"})
        log.warning("%s: the alias champion was moved to version %s and is taken back: %s", group.name, pointed, lost)
        return _unchanged(group, champion, f"the alias was moved to version {pointed} and is taken back: {lost}")
    before = reviews.verdict(fit.id)
    verdict = with_objections(
        Verdict(fit.id, "approved", NOBODY_KNOWN, "mlflow", now, why), objections(group, fit, store, review)
    )
    if before is not None and before.word == "rejected":
        verdict = replace(verdict, why=f"{verdict.why}; before, {before.who} rejected it ({before.via}) {before.why}")
    reviews.overrule(verdict)
    return _by_hand(
        group, fit, why=verdict.why, who=verdict.who, via="mlflow", store=store, reviews=reviews, registry=registry,
        now=now,
    )  # fmt: skip


def with_objections(verdict: Verdict, against: Sequence[Objection]) -> Verdict:
    """An approval that was not given where the review's findings are read, with those that it overrules."""
    if verdict.word != "approved" or not against:
        return verdict
    said = f"its review objects: {'; '.join(o.said for o in against)}"
    return replace(verdict, why=f"{verdict.why}; {said}" if verdict.why else said)


def said_in_registry(group: Group, fit: Fit, *, registry: ModelRegistry, now: datetime) -> Verdict | None:
    """What the registry says of a challenger: its alias ``champion``, or its tag ``review``."""
    version = fit.model_version
    if version is None:
        return None
    via: DecidedVia = "mlflow"
    if registry.champion_version(group) == version:
        return Verdict(fit.id, "approved", NOBODY_KNOWN, via, now, "the alias champion was moved to it")
    tags = registry.tags(group, version)
    said = tags.get("review", "").strip().lower()
    who, why = tags.get("review.by", NOBODY_KNOWN), tags.get("review.why", "")
    if said == "approved":
        return Verdict(fit.id, "approved", who, via, now, why)
    if said == "rejected":
        return Verdict(fit.id, "rejected", who, via, now, why)
    return None


def next_interval(group: Group, current: Fit, store: Store) -> datetime:
    """The first interval that the champion serves and that is not judged yet."""
    judged = store.predicted_until(group)
    begin = current.serves_from or current.history.end
    return begin if judged is None else max(begin, group.floor(judged + group.interval))


def known_version(group: Group, version: int, reviews: Reviews) -> Fit:
    """The fit of a version.

    Raises:
        NoSuchVersionError: no fit of this group has this version.
    """
    fit = reviews.fit_of_version(group, version)
    if fit is None:
        there = sorted(f.model_version for f in reviews.fits(group) if f.model_version is not None)
        known = f"there are {', '.join(map(str, there))}" if there else "it has none yet"
        raise NoSuchVersionError(
            f"group {group.name!r} has no fit of version {version}: {known}. See: anomaly models list {group.name}"
        )
    return fit


def _by_hand(
    group: Group,
    fit: Fit,
    *,
    why: str,
    who: str,
    via: ServedVia,
    store: Store,
    reviews: Reviews,
    registry: ModelRegistry,
    now: datetime,
) -> HandoverReport:
    before, serving = _put_to_serve(group, fit, why=why, who=who, via=via, store=store, reviews=reviews, now=now)
    if serving is None:
        tell_registry(group, reviews=reviews, registry=registry)
        return _unchanged(group, before, "it is the champion")
    try:
        tell_registry(group, reviews=reviews, registry=registry)
        told = True
    except RegistryUnavailableError as unavailable:
        log.warning("%s: %s", group.name, unavailable)
        told = False
    report = _report(group, fit, before, serving, f"{who}: {why}" if why else who, told=told)
    log.info("%s: %s", group.name, report)
    return report


def _put_to_serve(
    group: Group,
    fit: Fit,
    *,
    why: str,
    who: str,
    via: ServedVia,
    store: Store,
    reviews: Reviews,
    now: datetime,
) -> tuple[Fit | None, Serving | None]:
    """Lets the fit serve after whoever serves when it has its turn: another decision may have come just before.

    Returns:
        The champion until then, and the fit's serving; None when that champion is the fit.
    """
    with judging(group, store):
        before = store.champion(group)
        if before is not None and before.id == fit.id:
            return before, None
        begin = first_not_judged(group, fit, store) if before is None else next_interval(group, before, store)
        begin = max(begin, fit.history.end)
        return before, reviews.serve(Serving(group.name, fit.id, begin, why=why, who=who, via=via, at=now))


def _version_to_go_back_to(group: Group, current: Fit, to: int | None, reviews: Reviews) -> Fit:
    if to is not None:
        fit = known_version(group, to, reviews)
        if fit.state != "promoted":
            raise NoSuchVersionError(
                f"version {to} of {group.name!r} never served, so there is no going back to it; to let it serve run: "
                f"anomaly models promote {group.name} {to}"
            )
        return fit
    served = {s.fit_id for s in reviews.servings(group)}
    older = [
        fit
        for fit in reviews.fits(group, limit=ALL_FITS)
        if fit.id in served and fit.model_version is not None and fit.model_version < (current.model_version or 0)
    ]
    if not older:
        raise NoSuchVersionError(
            f"no version of {group.name!r} that is older than the champion, version {current.model_version}, has ever "
            "served; fit again, or name a version with --to"
        )
    return max(older, key=lambda fit: fit.model_version or 0)


def _champion(group: Group, store: Store) -> Fit:
    champion = store.champion(group)
    if champion is None:
        raise NoSuchVersionError(f"group {group.name!r} has no champion yet; run: anomaly fit {group.name}")
    return champion


def _unchanged(group: Group, champion: Fit | None, reason: str) -> HandoverReport:
    return HandoverReport(
        group=group.name,
        model_version=champion.model_version if champion else None,
        before=None,
        serves_from=_moment(champion.serves_from) if champion else None,
        changed=False,
        told=True,
        reason=reason,
    )


def _report(
    group: Group, fit: Fit, before: Fit | None, serving: Serving, reason: str, *, told: bool = True
) -> HandoverReport:
    return HandoverReport(
        group=group.name,
        model_version=fit.model_version,
        before=before.model_version if before else None,
        serves_from=_moment(serving.serves_from),
        changed=True,
        told=told,
        reason=reason,
    )


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
