"""Why a fit ran, how it was reviewed, who decided, and from when on who serves."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE fits ADD COLUMN reason text NOT NULL DEFAULT '';
COMMENT ON COLUMN fits.reason IS 'why it ran: on schedule, on drift, or on demand, in a sentence';

CREATE TABLE servings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name  text        NOT NULL,
    fit_id      text        NOT NULL REFERENCES fits ON DELETE CASCADE,
    serves_from timestamptz NOT NULL,
    why         text        NOT NULL DEFAULT '',
    who         text        NOT NULL DEFAULT '',
    via         text        NOT NULL DEFAULT 'policy' CHECK (via IN ('policy', 'airflow', 'mlflow', 'cli', 'rollback')),
    decided_at  timestamptz NOT NULL DEFAULT now(),
    told        boolean     NOT NULL DEFAULT true
);
CREATE INDEX servings_of_groups ON servings (group_name, serves_from, id);
COMMENT ON TABLE servings IS 'from an interval on this fit serves, until the group''s next row by (serves_from, id)';
COMMENT ON COLUMN servings.told IS 'whether the model registry''s alias was moved, too; false while that is to do';
INSERT INTO servings (group_name, fit_id, serves_from)
    SELECT group_name, id, serves_from FROM fits
    WHERE state = 'promoted' AND serves_from IS NOT NULL ORDER BY serves_from, created_at;

CREATE TABLE reviews (
    fit_id  text PRIMARY KEY REFERENCES fits ON DELETE CASCADE,
    made_at timestamptz NOT NULL,
    review  jsonb       NOT NULL
);

CREATE TABLE verdicts_on_fits (
    fit_id     text PRIMARY KEY REFERENCES fits ON DELETE CASCADE,
    word       text        NOT NULL CHECK (word IN ('approved', 'rejected')),
    why        text        NOT NULL DEFAULT '',
    who        text        NOT NULL,
    via        text        NOT NULL CHECK (via IN ('airflow', 'mlflow', 'cli', 'policy')),
    decided_at timestamptz NOT NULL
);
COMMENT ON TABLE verdicts_on_fits IS 'what a person said of a challenger; the first word holds';

CREATE TABLE drift_checks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name text        NOT NULL,
    fit_id     text        NOT NULL REFERENCES fits ON DELETE CASCADE,
    starts     timestamptz NOT NULL,
    ends       timestamptz NOT NULL CHECK (ends > starts),
    variables  integer     NOT NULL,
    drifted    text[]      NOT NULL,
    asked      boolean     NOT NULL,
    said       text        NOT NULL,
    checked_at timestamptz NOT NULL,
    UNIQUE (group_name, ends)
);
COMMENT ON COLUMN drift_checks.asked IS 'whether a fit was asked for';
"""

_DOWN = """
DROP TABLE drift_checks;
DROP TABLE verdicts_on_fits;
DROP TABLE reviews;
DROP TABLE servings;
ALTER TABLE fits DROP COLUMN reason;
"""


def upgrade() -> None:
    op.execute(_UP)


def downgrade() -> None:
    op.execute(_DOWN)
