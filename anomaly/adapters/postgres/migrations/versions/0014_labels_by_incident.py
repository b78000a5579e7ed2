"""All labels of one incident, those that another has replaced among them: every incident's page shows them.

The index that was there holds only the labels that hold, one per incident.
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_UP = """
CREATE INDEX labels_by_incident ON labels (incident_id);
"""

_DOWN = """
DROP INDEX labels_by_incident;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
