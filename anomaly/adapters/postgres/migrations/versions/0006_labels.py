"""What people say: labels of incidents, snoozes, and what follows for a variable's thresholds."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE labels (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name  text        NOT NULL,
    incident_id bigint      REFERENCES incidents ON DELETE SET NULL,
    starts      timestamptz NOT NULL,
    ends        timestamptz NOT NULL CHECK (ends > starts),
    variables   text[]      NOT NULL,
    own         text[]      NOT NULL DEFAULT '{}',
    word        text        NOT NULL CHECK (word IN ('real', 'false_alarm', 'expected')),
    reason      text        NOT NULL DEFAULT '',
    author      text        NOT NULL,
    via         text        NOT NULL CHECK (via IN ('slack', 'page', 'cli', 'csv')),
    given_at    timestamptz NOT NULL,
    replaced_at timestamptz
);
CREATE INDEX labels_of_groups ON labels (group_name, starts) WHERE replaced_at IS NULL;
CREATE UNIQUE INDEX labels_of_incidents ON labels (incident_id) WHERE replaced_at IS NULL;
COMMENT ON COLUMN labels.starts IS 'of the stretch that is labelled, as the incident was when it was labelled';
COMMENT ON COLUMN labels.own IS 'of the variables, those whose thresholds move, the worst first; none: all of them';
COMMENT ON COLUMN labels.replaced_at IS 'when another label took its place, or it was taken back; null while it holds';

CREATE TABLE snoozes (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name text        NOT NULL,
    variable   text,
    starts     timestamptz NOT NULL,
    ends       timestamptz NOT NULL CHECK (ends > starts),
    reason     text        NOT NULL DEFAULT '',
    author     text        NOT NULL,
    via        text        NOT NULL CHECK (via IN ('slack', 'page', 'cli', 'csv')),
    given_at   timestamptz NOT NULL
);
CREATE INDEX snoozes_of_groups ON snoozes (group_name, ends);
COMMENT ON COLUMN snoozes.variable IS 'null for the whole group';

CREATE TABLE adjustments (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name  text        NOT NULL,
    variable    text        NOT NULL,
    serves_from timestamptz NOT NULL,
    factor      double precision NOT NULL CHECK (factor > 0),
    reason      text        NOT NULL,
    label_id    bigint      REFERENCES labels ON DELETE SET NULL,
    UNIQUE (group_name, variable, serves_from)
);
COMMENT ON COLUMN adjustments.factor IS 'by which the probability behind the variable''s thresholds is multiplied';
COMMENT ON COLUMN adjustments.serves_from IS 'the first interval that is judged so; earlier ones keep their verdicts';

CREATE TABLE rankings (
    group_name text        PRIMARY KEY,
    ranking    jsonb       NOT NULL,
    learned_at timestamptz NOT NULL,
    version    integer
);
COMMENT ON TABLE rankings IS 'what ranks incidents by labels: the serving copy of models anomaly.<group>.ranking';
"""

_DOWN = """
DROP TABLE rankings;
DROP TABLE adjustments;
DROP TABLE snoozes;
DROP TABLE labels;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
