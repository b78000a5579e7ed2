r"""What the variables of an incident have in common, and the others have not.

In: the names and event types of the variables that were hit, and of those that were judged at the same time and
were not. Out: the parts of names, or the type, that the hit ones share, with their support: "14 of 16 variables
under ``dep_delay.``, 0 of 16 under ``arr_delay.``".

Names are split after ``.``, ``_`` and ``/``: ``dep_delay.UA`` begins with ``dep_`` and ``dep_delay.``, and ends with
``_delay.UA`` and ``.UA``. Whether a part tells hit from not hit is Fisher's exact test, one-sided: the
hypergeometric probability that so many or more of the hit variables carry it by chance. It must stay below
`SIGNIFICANT` after Bonferroni's correction for all parts tried. Of parts that say the same, the one that covers
most is taken; a second is told when it explains what the first left over.

Source: R. A. Fisher, "The Logic of Inductive Inference", Journal of the Royal Statistical Society 98 (1935).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

Place = Literal["everything", "prefix", "suffix", "type"]

SIGNIFICANT = 0.01
LEAST_HIT = 3
"""Two variables always have something in common."""
LEAST_COVERED = 0.25
"""Share of the hit variables that a part must be found in; what explains less explains nothing."""
MOST_TOLD = 2
_SEPARATOR = re.compile(r"[._/]+")


class Part(NamedTuple):
    """A property that variables can share: the beginning or end of a name, or the type of events."""

    place: Place
    value: str


@dataclass(frozen=True, slots=True)
class Shared:
    """Something that hit variables share: `hit` of the `total` variables that have it were hit."""

    place: Place
    value: str
    """The part of the name with its separator, or the type; '' for everything."""
    hit: int
    total: int
    others_hit: int = 0
    others: int = 0
    """Of the variables without it, how many were hit, and how many there are."""
    contrast: str = ""
    """What all of the others have in its place, if it is the same; '' if not."""


def shared(variables: Mapping[str, str | None], hit: AbstractSet[str]) -> tuple[Shared, ...]:
    """What the hit variables share, the clearest first; nothing when fewer than three were hit.

    Args:
        variables: all that were judged, with their type, hit or not.
        hit: those that were hit; names that are not among the variables are left out.
    """
    population, struck = frozenset(variables), frozenset(hit) & frozenset(variables)
    if len(struck) < LEAST_HIT:
        return ()
    if struck == population:
        return (Shared("everything", "", len(struck), len(population)),)
    carriers: dict[Part, set[str]] = defaultdict(set)
    for name, kind in variables.items():
        for part in parts(name, kind):
            carriers[part].add(name)
    told: list[Shared] = []
    left, tried = struck, len(carriers)
    while len(told) < MOST_TOLD and len(left) >= LEAST_HIT:
        # What an earlier part explained takes no part in the next question.
        open_to_it = population - (struck - left)
        best = _clearest(carriers, left, open_to_it, tried)
        if best is None or len(carriers[best] & left) < LEAST_COVERED * len(struck):
            break
        told.append(_told(best, carriers, struck, population))
        left -= carriers[best]
    return tuple(told)


def parts(name: str, kind: str | None) -> frozenset[Part]:
    """All that a variable could share with others."""
    inner = [cut for cut in _SEPARATOR.finditer(name) if cut.start() > 0 and cut.end() < len(name)]
    found = {Part("prefix", name[: cut.end()]) for cut in inner} | {
        Part("suffix", name[cut.start() :]) for cut in inner
    }
    return frozenset(found | ({Part("type", kind)} if kind else set()))


def _clearest(
    carriers: Mapping[Part, set[str]], hit: frozenset[str], population: frozenset[str], tried: int
) -> Part | None:
    """The part that tells the hit from the others best, if any does."""
    from scipy import stats

    candidates = sorted(part for part, names in carriers.items() if len(names & hit) >= LEAST_HIT)
    if not candidates:
        return None
    carrying = np.array([len(carriers[part] & hit) for part in candidates])
    totals = np.array([len(carriers[part] & population) for part in candidates])
    by_chance = np.asarray(stats.hypergeom.sf(carrying - 1, len(population), totals, len(hit)))
    at = min(range(len(candidates)), key=lambda n: (by_chance[n], -carrying[n], -len(candidates[n].value), n))
    return candidates[at] if by_chance[at] * tried <= SIGNIFICANT else None


def _told(part: Part, carriers: Mapping[Part, set[str]], hit: frozenset[str], population: frozenset[str]) -> Shared:
    names = frozenset(carriers[part])
    others = population - names
    return Shared(
        part.place,
        part.value,
        hit=len(names & hit),
        total=len(names),
        others_hit=len(others & hit),
        others=len(others),
        contrast=_contrast(part, carriers, others),
    )


def _contrast(part: Part, carriers: Mapping[Part, set[str]], others: frozenset[str]) -> str:
    """What each of the others has in the place of the part, when that is the same for all: the longest such."""
    same = [
        other.value for other, names in carriers.items() if other.place == part.place and names == others and others
    ]
    return max(same, key=lambda value: (len(value), value), default="")
