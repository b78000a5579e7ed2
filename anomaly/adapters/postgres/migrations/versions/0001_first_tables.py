"""The first tables: variables, counts, quarantine, fits, predictions, anomalies, incidents, outbox, runs.

What is large (counts, predictions, anomalies) is keyed by the small integer id of the variable and the start of
the interval. What explains (fitted variables) holds everything needed to judge a variable again, except the
network's weights, which the registry keeps under the digests noted in ``network_files``.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE variables (
    id             integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name     text        NOT NULL,
    name           text        NOT NULL,
    type           text,
    first_interval timestamptz NOT NULL,
    enrolled_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (group_name, name)
);
COMMENT ON COLUMN variables.first_interval IS 'start of the first interval that is counted and padded with zeros';

CREATE TABLE counts (
    variable_id    integer     NOT NULL REFERENCES variables ON DELETE CASCADE,
    interval_start timestamptz NOT NULL,
    events         bigint      NOT NULL CHECK (events >= 0),
    PRIMARY KEY (variable_id, interval_start)
);

CREATE TABLE updated_ranges (
    group_name  text        NOT NULL,
    range_start timestamptz NOT NULL,
    range_end   timestamptz NOT NULL CHECK (range_end > range_start),
    PRIMARY KEY (group_name, range_start)
);
COMMENT ON TABLE updated_ranges IS 'stretches that update has counted, merged where they touch';

CREATE TABLE quarantine (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name text        NOT NULL,
    digest     text        NOT NULL,
    copies     integer     NOT NULL DEFAULT 1,
    reason     text        NOT NULL,
    row        jsonb       NOT NULL,
    found_at   timestamptz NOT NULL,
    UNIQUE (group_name, digest)
);
COMMENT ON COLUMN quarantine.copies IS 'how many identical rows one update found';

CREATE TABLE fits (
    id            text PRIMARY KEY,
    group_name    text        NOT NULL,
    history_start timestamptz NOT NULL,
    history_end   timestamptz NOT NULL,
    step_seconds  integer     NOT NULL CHECK (step_seconds > 0),
    configuration jsonb       NOT NULL,
    shards        integer     NOT NULL,
    state         text        NOT NULL CHECK (state IN ('started', 'trained', 'registered', 'promoted', 'rejected')),
    mlflow_run_id text,
    model_version integer,
    serves_from   timestamptz,
    metrics       jsonb       NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX fits_serving ON fits (group_name, serves_from) WHERE state = 'promoted';

CREATE TABLE fitted_variables (
    fit_id              text    NOT NULL REFERENCES fits ON DELETE CASCADE,
    variable_id         integer NOT NULL REFERENCES variables ON DELETE CASCADE,
    status              text    NOT NULL CHECK (status IN ('fitted', 'new', 'dead', 'constant', 'sparse')),
    status_reason       text    NOT NULL,
    candidate           text    NOT NULL,
    slot                text    NOT NULL,
    position            integer NOT NULL,
    seed                bigint  NOT NULL,
    scaler_minimum      double precision NOT NULL,
    scaler_maximum      double precision NOT NULL,
    mae                 jsonb   NOT NULL,
    choice              text    NOT NULL,
    distribution        text    NOT NULL,
    parameters          double precision[] NOT NULL,
    distribution_reason text    NOT NULL,
    tail_probability    double precision NOT NULL,
    lower               double precision NOT NULL,
    upper               double precision NOT NULL,
    residuals           real[]  NOT NULL,
    PRIMARY KEY (fit_id, variable_id)
);

CREATE TABLE network_files (
    fit_id          text    NOT NULL REFERENCES fits ON DELETE CASCADE,
    slot            text    NOT NULL,
    candidate       text    NOT NULL,
    variables       integer NOT NULL,
    training_uri    text    NOT NULL,
    training_sha256 text    NOT NULL,
    serving_uri     text    NOT NULL,
    serving_sha256  text    NOT NULL,
    PRIMARY KEY (fit_id, slot)
);

CREATE TABLE predictions (
    variable_id      integer     NOT NULL REFERENCES variables ON DELETE CASCADE,
    interval_start   timestamptz NOT NULL,
    fit_id           text        NOT NULL REFERENCES fits ON DELETE CASCADE,
    observed         double precision NOT NULL,
    predicted        double precision NOT NULL,
    lower            double precision NOT NULL,
    upper            double precision NOT NULL,
    residual         double precision NOT NULL,
    tail_probability double precision NOT NULL CHECK (tail_probability BETWEEN 0 AND 1),
    kind             text        NOT NULL,
    PRIMARY KEY (variable_id, interval_start)
);
COMMENT ON COLUMN predictions.kind IS 'empty when normal; otherwise the kind of anomaly';
CREATE INDEX anomalies ON predictions (interval_start, variable_id) WHERE kind <> '';

CREATE TABLE incidents (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name          text        NOT NULL,
    kind                text        NOT NULL,
    starts              timestamptz NOT NULL,
    ends                timestamptz NOT NULL CHECK (ends > starts),
    resolved            boolean     NOT NULL,
    withdrawn           boolean     NOT NULL DEFAULT false,
    tail_probability    double precision NOT NULL,
    return_period_hours double precision NOT NULL,
    channel             text,
    slack_ts            text,
    permalink           text,
    chart               text,
    told                text,
    created_at          timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN incidents.told IS 'digest of what its message says; differs from the incident when there is news';
CREATE INDEX incidents_by_time ON incidents (group_name, starts);

CREATE TABLE incident_variables (
    incident_id      bigint  NOT NULL REFERENCES incidents ON DELETE CASCADE,
    rank             integer NOT NULL,
    variable         text    NOT NULL,
    kind             text    NOT NULL,
    starts           timestamptz NOT NULL,
    ends             timestamptz NOT NULL,
    anomalies        integer NOT NULL,
    observed         double precision NOT NULL,
    expected         double precision NOT NULL,
    tail_probability double precision NOT NULL,
    PRIMARY KEY (incident_id, rank)
);

CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key          text        NOT NULL UNIQUE,
    incident_id  bigint      NOT NULL REFERENCES incidents ON DELETE CASCADE,
    action       text        NOT NULL CHECK (action IN ('post', 'update')),
    attempts     integer     NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT '-infinity',
    delivered_at timestamptz,
    last_error   text,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_waiting ON outbox (due_at) WHERE delivered_at IS NULL;

CREATE TABLE stage_runs (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name  text        NOT NULL,
    stage       text        NOT NULL,
    range_start timestamptz NOT NULL,
    range_end   timestamptz NOT NULL,
    seconds     double precision NOT NULL,
    report      jsonb       NOT NULL,
    finished_at timestamptz NOT NULL
);
CREATE INDEX stage_runs_by_time ON stage_runs (group_name, finished_at);
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    op.execute(
        "DROP TABLE stage_runs, outbox, incident_variables, incidents, predictions, network_files, "
        "fitted_variables, fits, quarantine, updated_ranges, counts, variables"
    )
