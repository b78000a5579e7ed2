"""The embedded stack: PostgreSQL, MLflow, Airflow, a Slack preview and the sample, in one command and one folder."""
