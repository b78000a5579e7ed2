"""Ports to adapters: the one place that says which real thing stands behind which protocol.

The command line and the Airflow tasks both build a `World` from `Settings` and a way to look connections up,
and hand its parts to the stages. Adapters are imported when they are asked for, so a stage pays only for what
it uses.
"""

from __future__ import annotations

from dataclasses import dataclass

from anomaly.adapters.connections import ConnectionLookup
from anomaly.adapters.settings import DATABASE_CONNECTION, Settings
from anomaly.exceptions import ConfigurationError
from anomaly.groups import Group
from anomaly.ports import (
    ArtifactReader,
    Channel,
    Charts,
    ChartStore,
    DataChecks,
    EventSource,
    FitCharts,
    ForecasterLoader,
    ModelRegistry,
    Store,
)
from anomaly.ports.detectability import Detectability
from anomaly.ports.diff_charts import DiffCharts
from anomaly.ports.judgements import Judgements
from anomaly.ports.labels import Labels
from anomaly.ports.posts import Posts
from anomaly.ports.rankings import RankingRegistry, Rankings
from anomaly.ports.review import Overviews
from anomaly.ports.reviews import Reviews


@dataclass(frozen=True, slots=True)
class World:
    settings: Settings
    connection: ConnectionLookup

    def store(self) -> Store:
        from anomaly.adapters.postgres.store import PostgresStore

        return PostgresStore(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def judgements(self) -> Judgements:
        from anomaly.adapters.postgres.judgements import PostgresJudgements

        return PostgresJudgements(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def detectability(self) -> Detectability:
        from anomaly.adapters.postgres.detectability import PostgresDetectability

        return PostgresDetectability(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def rankings(self) -> Rankings:
        from anomaly.adapters.postgres.rankings import PostgresRankings

        return PostgresRankings(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def ranking_registry(self) -> RankingRegistry:
        from anomaly.adapters.mlflow_rankings import MlflowRankings

        return MlflowRankings(self._tracking_uri(), self.settings.artifacts, s3_endpoint=self.settings.s3_endpoint)

    def labels(self) -> Labels:
        from anomaly.adapters.postgres.labels import PostgresLabels

        return PostgresLabels(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def reviews(self) -> Reviews:
        from anomaly.adapters.postgres.reviews import PostgresReviews

        return PostgresReviews(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def diff_charts(self) -> DiffCharts:
        from anomaly.adapters.postgres.diff_charts import PostgresDiffCharts

        return PostgresDiffCharts(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def overviews(self) -> Overviews:
        from anomaly.adapters.postgres.review import PostgresOverviews

        return PostgresOverviews(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def posts(self) -> Posts:
        from anomaly.adapters.postgres.posts import PostgresPosts

        return PostgresPosts(self.connection(DATABASE_CONNECTION).postgres_arguments())

    def source(self, group: Group) -> EventSource:
        from anomaly.adapters.postgres.source import PostgresSource

        connection = self.connection(group.source.connection)
        return PostgresSource(group, connection.postgres_arguments(), suites=self.settings.expectations)

    def checks(self) -> DataChecks:
        from anomaly.adapters.checks import GreatExpectationsChecks

        return GreatExpectationsChecks(suites=self.settings.expectations, results=self.settings.validations)

    def registry(self) -> ModelRegistry:
        from anomaly.adapters.mlflow_registry import MlflowRegistry

        return MlflowRegistry(self._tracking_uri(), self.settings.artifacts, s3_endpoint=self.settings.s3_endpoint)

    def _tracking_uri(self) -> str:
        if self.settings.mlflow_tracking_uri is None:
            raise ConfigurationError(
                "MLFLOW_TRACKING_URI is not set; point it at the MLflow server, for example http://127.0.0.1:5000"
            )
        return self.settings.mlflow_tracking_uri

    def artifacts(self) -> ArtifactReader:
        from anomaly.adapters.artifacts import Artifacts

        return Artifacts(self.settings.artifacts, s3_endpoint=self.settings.s3_endpoint)

    def chart_store(self) -> ChartStore:
        from anomaly.adapters.artifacts import Artifacts

        return Artifacts(self.settings.artifacts, s3_endpoint=self.settings.s3_endpoint)

    def forecaster(self) -> ForecasterLoader:
        from anomaly.adapters.serving import load_forecaster

        return load_forecaster

    def charts(self) -> Charts:
        from anomaly.adapters.charts import MatplotlibCharts

        return MatplotlibCharts()

    def fit_charts(self) -> FitCharts:
        from anomaly.adapters import charts

        return charts

    def channel(self, group: Group) -> Channel:
        from anomaly.adapters.slack import SlackChannel

        connection = self.connection(group.slack.connection)
        extra = connection.extra
        clicks_arrive = bool(extra.get("app_token") or extra.get("signing_secret"))
        return SlackChannel(token=connection.password or "", base_url=extra.get("base_url"), buttons=clicks_arrive)
