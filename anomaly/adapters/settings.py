"""Every setting that comes from the environment, read in one place.

===========================  ==========================================================  =====================
variable                     meaning                                                     default
===========================  ==========================================================  =====================
``ANOMALY_GROUPS``           folder of the group files                                   ``dags/groups``
``ANOMALY_EXPECTATIONS``     folder of the Great Expectations suites                     ``expectations``
``ANOMALY_VALIDATIONS``      folder for validation results and Data Docs                 ``var/validations``
``ANOMALY_ARTIFACTS``        folder or ``s3://bucket/prefix`` for models and charts      ``var/artifacts``
``ANOMALY_LINK_AIRFLOW``     address of the Airflow UI, for links in messages            none
``ANOMALY_LINK_MLFLOW``      address of the MLflow UI                                    the tracking URI
``ANOMALY_LINK_DATA_DOCS``   address of the Data Docs                                    none
``ANOMALY_AIRFLOW_TOKEN``    for Airflow's REST API, by which `anomaly doctor` asks      none
``MLFLOW_TRACKING_URI``      the MLflow server                                           none: required by fit
``AWS_ENDPOINT_URL_S3``      another S3 server than Amazon's                             none
``AIRFLOW_CONN_…``           connections: see `anomaly.adapters.connections`             none
===========================  ==========================================================  =====================

The metadata database is the connection ``anomaly_db``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

DATABASE_CONNECTION = "anomaly_db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    groups: Path
    expectations: Path
    validations: Path
    artifacts: str
    mlflow_tracking_uri: str | None
    s3_endpoint: str | None
    link_airflow: str | None
    link_mlflow: str | None
    link_data_docs: str | None
    airflow_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> Settings:
        get = os.environ.get
        tracking = get("MLFLOW_TRACKING_URI") or None
        return cls(
            groups=Path(get("ANOMALY_GROUPS") or "dags/groups"),
            expectations=Path(get("ANOMALY_EXPECTATIONS") or "expectations"),
            validations=Path(get("ANOMALY_VALIDATIONS") or "var/validations").absolute(),
            artifacts=get("ANOMALY_ARTIFACTS") or str(Path("var/artifacts").absolute()),
            mlflow_tracking_uri=tracking,
            s3_endpoint=get("AWS_ENDPOINT_URL_S3") or get("MLFLOW_S3_ENDPOINT_URL") or None,
            link_airflow=get("ANOMALY_LINK_AIRFLOW") or None,
            link_mlflow=get("ANOMALY_LINK_MLFLOW") or tracking,
            link_data_docs=get("ANOMALY_LINK_DATA_DOCS") or None,
            airflow_token=get("ANOMALY_AIRFLOW_TOKEN") or None,
        )
