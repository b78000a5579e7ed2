"""What deriving an alert again needs to know: under what each interval was judged last.

One row per interval of a group, not per variable. What is the same for many intervals (the configuration, how counts
fill in, the versions of libraries) is kept once, under the SHA-256 of its JSON.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE circumstances (
    digest  text  PRIMARY KEY,
    content jsonb NOT NULL
);
COMMENT ON TABLE circumstances IS 'what judgements were made under, each once; never changed';
COMMENT ON COLUMN circumstances.digest IS 'SHA-256 of the content as compact JSON with sorted keys';

CREATE TABLE judgements (
    group_name     text        NOT NULL,
    interval_start timestamptz NOT NULL,
    judged_at      timestamptz NOT NULL,
    fit_id         text        NOT NULL REFERENCES fits ON DELETE CASCADE,
    age            integer     NOT NULL CHECK (age >= -1),
    configuration  text        NOT NULL REFERENCES circumstances,
    adjustments    text        NOT NULL REFERENCES circumstances,
    filling        text        NOT NULL REFERENCES circumstances,
    software       text        NOT NULL REFERENCES circumstances,
    PRIMARY KEY (group_name, interval_start)
);
COMMENT ON TABLE judgements IS 'under what the stored predictions of an interval were made';
COMMENT ON COLUMN judgements.age IS 'at which the counts were taken, in whole intervals; -1 for complete';
COMMENT ON COLUMN judgements.filling IS 'how counts fill in, as it was known; of no use where the age is -1';
"""

_DOWN = "DROP TABLE judgements, circumstances"


def upgrade() -> None:
    if _UP:
        op.execute(_UP)


def downgrade() -> None:
    if _DOWN:
        op.execute(_DOWN)
