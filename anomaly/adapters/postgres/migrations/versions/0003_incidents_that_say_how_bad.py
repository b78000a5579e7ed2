"""Incidents say how bad they are, what their variables share and what found them; a notice says one got worse.

An anomaly was found by one of several tests; what was there before knew only one. An incident that was told before
has no severity of that time: the next delivery notes it.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = """
ALTER TABLE predictions ADD COLUMN test text NOT NULL DEFAULT 'single';
COMMENT ON COLUMN predictions.test IS 'which test found the anomaly: single, sum-3, frozen, silence, level and others';

ALTER TABLE incidents
    ADD COLUMN severity text NOT NULL DEFAULT 'low' CHECK (severity IN ('low', 'high', 'critical')),
    ADD COLUMN shared jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN told_severity text CHECK (told_severity IN ('low', 'high', 'critical')),
    ADD COLUMN told_variables integer,
    ADD COLUMN told_tail_probability double precision;
COMMENT ON COLUMN incidents.shared IS 'what its variables have in common, the clearest first';
COMMENT ON COLUMN incidents.told_severity IS
    'with told_variables and told_tail_probability: what it was when the channel was last notified';

ALTER TABLE incident_variables
    ADD COLUMN allowed double precision NOT NULL DEFAULT 1,
    ADD COLUMN test text NOT NULL DEFAULT 'single',
    ADD COLUMN stretch interval,
    ADD COLUMN usual interval;
COMMENT ON COLUMN incident_variables.allowed IS 'tail probability behind the thresholds of its worst interval';
COMMENT ON COLUMN incident_variables.stretch IS 'what the test looked at, where that is more than the interval';
COMMENT ON COLUMN incident_variables.usual IS 'for silence: the usual time without a write';

ALTER TABLE outbox DROP CONSTRAINT outbox_action_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_action_check CHECK (action IN ('post', 'update', 'notice'));
"""

_NO_COLUMNS = """
UPDATE outbox SET action = 'update' WHERE action = 'notice';
ALTER TABLE outbox DROP CONSTRAINT outbox_action_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_action_check CHECK (action IN ('post', 'update'));
ALTER TABLE incident_variables DROP COLUMN allowed, DROP COLUMN test, DROP COLUMN stretch, DROP COLUMN usual;
ALTER TABLE incidents DROP COLUMN severity, DROP COLUMN shared, DROP COLUMN told_severity,
    DROP COLUMN told_variables, DROP COLUMN told_tail_probability;
ALTER TABLE predictions DROP COLUMN test;
"""


def upgrade() -> None:
    op.execute(_COLUMNS)


def downgrade() -> None:
    op.execute(_NO_COLUMNS)
