"""What a variable could notice, by kind of change and hour of the day."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
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
