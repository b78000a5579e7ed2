"""What was counted says in which intervals: a group whose interval changes must not mix its counts.

The step of what is there already is the smallest distance between two counts of the group's oldest variable,
because grids are complete. A stretch without two counts has nothing to tell it by and nothing to lose: update
counts it again.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STEP = """
ALTER TABLE updated_ranges ADD COLUMN step_seconds integer CHECK (step_seconds > 0);
COMMENT ON COLUMN updated_ranges.step_seconds IS 'length of the intervals in which the stretch was counted';

WITH oldest AS (
    SELECT DISTINCT ON (group_name) group_name, id FROM variables ORDER BY group_name, first_interval, id
), distances AS (
    SELECT group_name, interval_start - lag(interval_start) OVER (PARTITION BY id ORDER BY interval_start) AS step
    FROM oldest JOIN counts ON variable_id = id
), steps AS (
    SELECT group_name, extract(epoch FROM min(step))::integer AS seconds FROM distances GROUP BY group_name
)
UPDATE updated_ranges r SET step_seconds = s.seconds FROM steps s WHERE s.group_name = r.group_name;

DELETE FROM updated_ranges WHERE step_seconds IS NULL;
ALTER TABLE updated_ranges ALTER COLUMN step_seconds SET NOT NULL;
"""


def upgrade() -> None:
    op.execute(_STEP)


def downgrade() -> None:
    op.execute("ALTER TABLE updated_ranges DROP COLUMN step_seconds")
