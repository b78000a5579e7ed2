"""What was posted, to be read without Slack; what two fits say of the alerts that only one of them tells.

Messages that were delivered before this have no words here: their pages say what was done and when. The three
indexes are for questions that grow with every run: a message by its key, the messages of one incident, and the latest
run of each stage.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE outbox ADD COLUMN words text, ADD COLUMN permalink text;
COMMENT ON COLUMN outbox.words IS 'what the message said when it was sent, in its line for notifications';
COMMENT ON COLUMN outbox.permalink IS 'of the message or reply, where Slack gave one';
CREATE INDEX outbox_by_key ON outbox (key COLLATE "C");
CREATE INDEX outbox_of_incidents ON outbox (incident_id);

CREATE INDEX stage_runs_latest ON stage_runs (group_name, stage, finished_at);

CREATE TABLE diff_charts (
    fit_id text  NOT NULL REFERENCES fits ON DELETE CASCADE,
    name   text  NOT NULL,
    chart  jsonb NOT NULL,
    PRIMARY KEY (fit_id, name)
);
COMMENT ON TABLE diff_charts IS 'of a fit''s review: counts around an alert that only one fit would tell, with both';
"""

_DOWN = """
DROP TABLE diff_charts;
DROP INDEX stage_runs_latest;
DROP INDEX outbox_of_incidents;
DROP INDEX outbox_by_key;
ALTER TABLE outbox DROP COLUMN words, DROP COLUMN permalink;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
