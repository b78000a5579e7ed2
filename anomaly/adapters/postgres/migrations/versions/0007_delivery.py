"""How messages are delivered: threads, places, digests and weekly posts.

Incidents that were told before there were threads have one that has said what their message says.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE posts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name   text        NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('digest', 'weekly')),
    slot         timestamptz NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT '-infinity',
    delivered_at timestamptz,
    channel      text,
    ts           text,
    permalink    text,
    last_error   text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (group_name, kind, slot)
);
COMMENT ON TABLE posts IS 'messages about a group as a whole: each digest and each weekly post once';
COMMENT ON COLUMN posts.slot IS 'the moment of the group''s policy that it belongs to';

ALTER TABLE incidents
    ADD COLUMN place text NOT NULL DEFAULT 'message' CHECK (place IN ('message', 'waiting', 'digest', 'page')),
    ADD COLUMN place_reason text NOT NULL DEFAULT '',
    ADD COLUMN placed_at timestamptz,
    ADD COLUMN digest_id bigint REFERENCES posts ON DELETE SET NULL,
    ADD COLUMN thread jsonb;
COMMENT ON COLUMN incidents.place IS
    'where people find it: a message, soon one (quiet hours), the day''s digest, the review page only';
COMMENT ON COLUMN incidents.thread IS 'what its thread has said so far; differs from the incident when there is news';
CREATE INDEX incidents_for_digests ON incidents (group_name) WHERE place = 'digest' AND digest_id IS NULL;
CREATE INDEX incidents_going_on ON incidents (group_name) WHERE NOT resolved;
UPDATE incidents i SET thread = jsonb_build_object(
    'severity', coalesce(told_severity, severity),
    'tail_probability', coalesce(told_tail_probability, tail_probability),
    'resolved', resolved, 'withdrawn', withdrawn, 'channels', '[]'::jsonb, 'variables',
    (SELECT coalesce(jsonb_agg(variable ORDER BY variable COLLATE "C"), '[]') FROM incident_variables v
     WHERE v.incident_id = i.id AND variable <> '(total)')
) WHERE slack_ts IS NOT NULL;

ALTER TABLE outbox ADD COLUMN said jsonb;
COMMENT ON COLUMN outbox.said IS 'of a reply: what the thread has said once it is out';
UPDATE outbox SET action = 'update' WHERE action = 'notice' AND delivered_at IS NULL;
ALTER TABLE outbox DROP CONSTRAINT outbox_action_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_action_check
    CHECK (action IN ('post', 'update', 'notice', 'reply', 'pointer'));
"""

_DOWN = """
DELETE FROM outbox WHERE action IN ('reply', 'pointer') OR (action = 'notice' AND said IS NOT NULL);
ALTER TABLE outbox DROP CONSTRAINT outbox_action_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_action_check CHECK (action IN ('post', 'update', 'notice'));
ALTER TABLE outbox DROP COLUMN said;
DROP INDEX incidents_for_digests, incidents_going_on;
ALTER TABLE incidents DROP COLUMN place, DROP COLUMN place_reason, DROP COLUMN placed_at, DROP COLUMN digest_id,
    DROP COLUMN thread;
DROP TABLE posts;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
