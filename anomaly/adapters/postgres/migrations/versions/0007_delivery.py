"""How messages are delivered: threads, routes, digests and reports."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_UP = ""

_DOWN = ""


def upgrade() -> None:
    if _UP:
        op.execute(_UP)


def downgrade() -> None:
    if _DOWN:
        op.execute(_DOWN)
