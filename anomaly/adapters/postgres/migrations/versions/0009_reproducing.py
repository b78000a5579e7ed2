"""What deriving an alert again needs to know."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
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
