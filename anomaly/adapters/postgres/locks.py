"""The advisory locks that this program takes in the metadata database, by number.

PostgreSQL knows an advisory lock by one number of 64 bits, or by two of 32; the two kinds never meet. Ours have two:
the number of its kind, from here, and the hash of what is locked (a group's name, a schema's). Two kinds with one
number would wait for each other wherever names or their hashes agree. Short locks within one room, such as two labels
of the same group, are of the first kind, by the hash of a text that names both.
"""

from __future__ import annotations

MIGRATION = 7_203_115_011
"""Of the whole database, by one number: one at a time migrates."""

_FIRST = 7_203_115_012 % 2**31
"""Any numbers that no other program takes."""

SENDERS = _FIRST
"""With a group: who sends its messages."""
STAGE = _FIRST + 1
"""With a stage and a group: who runs it; or, with ``judging``, whose turn it is (`anomaly.stages.judging`)."""
SCRATCH = _FIRST + 2
"""With a scratch schema: held for as long as somebody works in it."""
POSTS = _FIRST + 3
"""With a group: who sends its digests and weekly posts."""
