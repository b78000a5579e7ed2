"""Whose turn it is to say by what an interval is judged.

A verdict follows from the fit that serves its interval and from the thresholds that labels have moved by then. Both
are dated: from the first interval on that is not judged yet. So what is judged stays what a later run of the same
range gives, if dating and judging never overlap. They do not, because both take turns, per group:

* Who dates (a label, a promotion, a rollback) looks in its turn which intervals are judged, and writes its moment.
* Who judges computes without a turn, for as long as it takes. In its turn it looks whether what it went by is still
  what serves, and only then writes; if not, it judges again.

A turn is a session's advisory lock in PostgreSQL: it is the same for tasks in several processes, and ends with the
process that holds it. A turn that is lost because its connection is, raises at its end: predict is then run again, and
mends what it may have written.

**How long one waits.** Who dates holds his turn for a few queries. Who judges holds it while he writes one piece, of at
most a million predictions: 100,000 take about two seconds on two cores beside their PostgreSQL, so that is half a
second for a run of the last four hours of 5,000 variables, and 20 to 30 seconds for each piece of a long range that is
caught up with. A label or a promotion waits for it, whoever gives it, and the wait has no limit: it is as long as the
writing takes. Between two pieces whoever waits comes first: the next one is judged without a turn.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from anomaly.groups import Group
from anomaly.ports import Store

TURN = "judging"


def judging(group: Group, store: Store) -> AbstractContextManager[None]:
    """A turn. Whoever has one must not ask for another of the same group."""
    return store.exclusively(group, TURN)
