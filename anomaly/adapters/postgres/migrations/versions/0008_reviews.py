"""Why a fit ran, how it was reviewed, and what undid it."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
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
