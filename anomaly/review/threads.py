"""An incident's thread as its page shows it: what was posted, edited, replied and said, each with its time.

In: what the outbox, the digests and the labels hold (`anomaly.ports.review.Utterance`). Out: lines to be read from top
to bottom. An incident that goes on is edited at every change, which may be hundreds of times: edits with nothing
between them are one line that says what the latest says, with the others behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from anomaly.ports.review import Utterance, Uttered

_DONE: dict[Uttered, str] = {
    "post": "Posted",
    "update": "Message edited",
    "reply": "Reply in the thread",
    "notice": "Reply, to the channel too",
    "pointer": "Posted in another channel, with the way here",
    "digest": "Listed in the digest",
    "gone": "The message was deleted in Slack",
}
_WAITS: dict[Uttered, str] = {
    "post": "Waits to be posted",
    "update": "Waits: an edit of the message",
    "reply": "Waits: a reply in the thread",
    "notice": "Waits: a reply, to the channel too",
    "pointer": "Waits: a pointer in another channel",
    "digest": "Waits for the digest",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the thread."""

    title: str
    said: Utterance
    earlier: tuple[Utterance, ...] = ()
    """Edits before this one with nothing between them, the earliest first."""


def lines(said: Iterable[Utterance]) -> tuple[Line, ...]:
    """The thread, the earliest first.

    Args:
        said: in this order.
    """
    found: list[Line] = []
    for one in said:
        last = found[-1] if found else None
        if last is not None and one.kind == "gone" and (last.said.kind, last.said.at) == (one.kind, one.at):
            continue  # an edit and a reply that found it out together
        if last is not None and one.kind == "update" == last.said.kind and one.at and last.said.at:
            earlier = (*last.earlier, last.said)
            found[-1] = Line(f"Message edited {len(earlier) + 1} times", one, earlier)
        else:
            found.append(Line(_title(one), one))
    return tuple(found)


def _title(one: Utterance) -> str:
    if one.kind == "label":
        return one.author or ""
    if one.at is None:
        return _WAITS.get(one.kind, one.kind)
    if one.kind == "pointer" and one.channel:
        return f"Posted in {one.channel}, with the way here"
    return _DONE[one.kind]
