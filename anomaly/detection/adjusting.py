"""How far labels move a variable's thresholds: a factor on the probability behind them, within bounds.

In: what people said of incidents, oldest first, each with its variables, the worst first. Out: one factor per
variable, in [1/100, 1]; a smaller one makes rarer alarms.

=============  ============================================
said           moves the probability of the worst variable
=============  ============================================
false alarm    one step down: a third of what it was
expected       half a step down
real           one step up, to what it was at first at most
=============  ============================================

The factor follows from the labels that hold and from nothing else, so that a label that is changed or taken back is
undone completely. It never leaves its bounds, at no step: a hundred false alarms are undone by five real ones, and no
variable can be silenced for good, because what breaks altogether is rarer than any threshold within them.

**An incident of many variables.** Who labels an incident judges what stands at the top of its message. So the worst
variable moves by a whole step, the second by half of one, the tenth by a tenth; those further down, and those that
were odd only together with others and would have been told of by nobody, stay where they are. Thirty variables that
one migration hit are thus not silenced as one that cries wolf is: the worst by 3, the tenth by 1.12.

The steps are multiplicative because thresholds live on the scale of probabilities: a third is what lies between one
false alarm a week and one in three.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

STEP = 3.0
LEAST = 1 / 100
MOST_MOVED = 10
"""Of an incident's variables: beyond the tenth, a step would be smaller than 1.12."""
STEPS: Mapping[str, float] = {"false_alarm": -1.0, "expected": -0.5, "real": 1.0}


def moves(word: str, variables: Sequence[str]) -> dict[str, float]:
    """Steps, signed, by variable.

    Args:
        word: a key of `STEPS`.
        variables: that took part by themselves, the worst first.
    """
    return {name: STEPS[word] / rank for rank, name in enumerate(variables[:MOST_MOVED], start=1)}


def factors(said: Iterable[tuple[str, Sequence[str]]]) -> dict[str, float]:
    """The factor of every variable that some label speaks of, in [1/100, 1]; 1 for all others.

    Args:
        said: word and variables of each label, as in `moves`; the earliest first.
    """
    found: dict[str, float] = {}
    for word, variables in said:
        for name, steps in moves(word, variables).items():
            found[name] = min(max(found.get(name, 1.0) * STEP**steps, LEAST), 1.0)
    return found
