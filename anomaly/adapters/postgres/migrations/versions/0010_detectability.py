"""What a variable could notice, by kind of change and hour of the day.

One row per variable and kind with the hours side by side: they are measured, replaced and read together.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE detectability (
    group_name     text             NOT NULL,
    variable       text             NOT NULL,
    fit_id         text             NOT NULL REFERENCES fits ON DELETE CASCADE,
    measured_at    timestamptz      NOT NULL,
    days           integer          NOT NULL CHECK (days >= 0),
    events_per_day double precision NOT NULL,
    blind          text             NOT NULL,
    PRIMARY KEY (group_name, variable)
);
CREATE INDEX blind_variables ON detectability (group_name, events_per_day DESC) WHERE blind <> '';
COMMENT ON TABLE detectability IS 'variables whose smallest noticeable changes were measured, by the fit of the time';
COMMENT ON COLUMN detectability.blind IS 'why nothing would be noticed; empty for a variable that can see';

CREATE TABLE noticed_changes (
    group_name    text               NOT NULL,
    variable      text               NOT NULL,
    kind          text               NOT NULL CHECK (kind IN ('drop', 'surge', 'silence', 'frozen', 'delay')),
    hours         smallint[]         NOT NULL,
    smallest      double precision[] NOT NULL CHECK (cardinality(smallest) = cardinality(hours)),
    after_seconds double precision[] NOT NULL CHECK (cardinality(after_seconds) = cardinality(hours)),
    shares        real[]             NOT NULL CHECK (cardinality(shares) = cardinality(hours)),
    PRIMARY KEY (group_name, variable, kind),
    FOREIGN KEY (group_name, variable) REFERENCES detectability ON DELETE CASCADE
);
COMMENT ON TABLE noticed_changes IS 'per variable, kind of change and hour of the day: the smallest that is noticed';
COMMENT ON COLUMN noticed_changes.hours IS 'local hours in which it begins; the other arrays are in their order';
COMMENT ON COLUMN noticed_changes.smallest IS
    'share lost or added, or hours of silence, of one count, of delay; null where none is noticed';
COMMENT ON COLUMN noticed_changes.shares IS 'of the days tried, those on which the smallest change was noticed';
"""

_DOWN = """
DROP TABLE noticed_changes;
DROP TABLE detectability;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
