"""How counts fill in: what was counted of young intervals at which age, and what was learned from it.

The counts by age are one row per interval and age with the whole group in it: they are written and forgotten by the
interval, read by the age, and never changed one variable at a time. Ten thousand variables over four weeks of
hours are some two thousand rows.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE count_ages (
    group_name     text        NOT NULL,
    age            smallint    NOT NULL CHECK (age >= 0),
    interval_start timestamptz NOT NULL,
    variable_ids   integer[]   NOT NULL,
    events         bigint[]    NOT NULL CHECK (cardinality(events) = cardinality(variable_ids)),
    PRIMARY KEY (group_name, age, interval_start)
);
COMMENT ON TABLE count_ages IS
    'counts as they stood while rows were still expected; what became of them is in counts. Kept for a few weeks';
COMMENT ON COLUMN count_ages.age IS 'whole intervals between the end of the interval and the moment it was counted';

CREATE TABLE fillings (
    variable_id integer          NOT NULL REFERENCES variables ON DELETE CASCADE,
    age         smallint         NOT NULL CHECK (age >= 0),
    filled      double precision NOT NULL CHECK (filled > 0 AND filled <= 1),
    scatter     double precision NOT NULL CHECK (scatter >= 0),
    intervals   integer          NOT NULL,
    learned_at  timestamptz      NOT NULL,
    PRIMARY KEY (variable_id, age)
);
COMMENT ON COLUMN fillings.filled IS 'share of the final count that is usually there at this age';
COMMENT ON COLUMN fillings.scatter IS 'standard deviation of that share from interval to interval, beyond chance';
COMMENT ON COLUMN fillings.intervals IS 'complete intervals with events that this was learned from';
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    op.execute("DROP TABLE fillings, count_ages")
