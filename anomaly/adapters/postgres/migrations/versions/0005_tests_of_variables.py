"""What judges a variable is several tests; what an interval counted as for later ones is kept.

A fit from before knows one test, that of single intervals: it is read as such.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = """
ALTER TABLE fitted_variables ADD COLUMN tests jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN fitted_variables.tests IS 'family, parameters and calibration of each test, as JSON';
ALTER TABLE predictions ADD COLUMN felt double precision, ADD COLUMN outlook double precision;
COMMENT ON COLUMN predictions.outlook IS 'expected before the day began; sums of intervals are compared with it';
COMMENT ON COLUMN predictions.felt IS
    'what the interval counts as for later ones: as observed, or a stand-in where it was anomalous or a special day';
"""

_AS_BEFORE = """
UPDATE fitted_variables SET tests = jsonb_build_array(
    jsonb_build_object('test', 'single', 'family', distribution, 'parameters', to_jsonb(parameters),
        'knee', ln(10.0::float8), 'slope', 1.0, 'reason', distribution_reason),
    jsonb_build_object('test', 'any', 'family', 'any', 'parameters', '[]'::jsonb,
        'knee', ln(10.0::float8), 'slope', 1.0, 'reason', 'single intervals were the only test'))
WHERE distribution <> '';
"""

_NO_COLUMNS = """
ALTER TABLE predictions DROP COLUMN felt, DROP COLUMN outlook;
ALTER TABLE fitted_variables DROP COLUMN tests;
"""


def upgrade() -> None:
    op.execute(_COLUMNS)
    op.execute(_AS_BEFORE)


def downgrade() -> None:
    op.execute(_NO_COLUMNS)
