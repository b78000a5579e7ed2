"""Days of the month on which a variable always departs.

By the number people give the day: 1 is the first of a month, -1 its last.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE fitted_variables ADD COLUMN month_days jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN fitted_variables.month_days IS
    'day of the month, negative from its end: the least and most it departs, of the logarithm, or in the gauge''s unit';
"""

_DOWN = """
ALTER TABLE fitted_variables DROP COLUMN month_days;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
