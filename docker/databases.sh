#!/bin/bash
# Run once, when PostgreSQL's volume is empty: a database and a role for each of the three that keep something.
set -euo pipefail

make_database() {
  psql --no-psqlrc --set=ON_ERROR_STOP=1 --username=postgres --set=name="$1" --set=password="$2" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

make_database airflow "$AIRFLOW_DB_PASSWORD"
make_database anomaly "$ANOMALY_DB_PASSWORD"
make_database mlflow "$MLFLOW_DB_PASSWORD"
