"""Settings: one frozen, typed object, loaded once in a shell's `main`.

Order of precedence: flags > environment (`SHOPLAKE_…`, two underscores between levels) > the profile's file >
`config.yaml`. This is the only module that reads the environment.
"""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from shoplake.errors import ConfigError, SourceError

ENV_PREFIX = "SHOPLAKE_"
PROFILE_VARIABLE = "SHOPLAKE_PROFILE"
HOME_VARIABLE = "SHOPLAKE_HOME"
# Where the shells lie: the checkout, or the copy of it that a managed Airflow has beside the installed package.
PROJECT_ROOT = Path(os.environ.get(HOME_VARIABLE) or Path(__file__).resolve().parents[1])
PROFILES = ("local", "dev", "staging", "prod")
EMBEDDED = "embedded"
STREAM_STOP_SECONDS = 600  # a stream told to stop ends its batch first
# MLflow reads these when it is imported, here or in a program that we start: it shall not call home nor draw bars.
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")


def _known_time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone; Europe/London is one")
    return name


TimeZone = Annotated[str, AfterValidator(_known_time_zone)]
Share = Annotated[float, Field(ge=0, le=0.5)]
PositiveInt = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShopSettings(_Section):
    time_zone: TimeZone
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class LakeSettings(_Section):
    root: Annotated[str, Field(min_length=1)]
    lock_timeout: Annotated[float, Field(ge=0)]
    lease: Annotated[float, Field(ge=1)]


class KafkaSettings(_Section):
    bootstrap_servers: Annotated[str, Field(min_length=1)]
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    consumer_group: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1024, le=65535)]
    data_dir: Path
    delivery_timeout: PositiveInt
    start_timeout: PositiveInt


class SparkSettings(_Section):
    app_name: str
    trigger_interval: PositiveInt
    max_offsets_per_trigger: PositiveInt
    drain_timeout: PositiveInt
    file_chunk_rows: PositiveInt
    runner: Literal["submit", "dataproc"]
    submit_options: tuple[str, ...]
    stream_runtime: PositiveInt
    max_batch_age: PositiveInt
    metrics_port: Annotated[int, Field(ge=0, le=65535)]


class SourcesSettings(_Section):
    landing_dir: Path
    landing_poll: PositiveInt
    landing_settle: Annotated[int, Field(ge=0)]
    landing_subscription: str
    replay_max_bytes: Annotated[int, Field(ge=0)]


class QualitySettings(_Section):
    late_after: PositiveInt
    future_tolerance: Annotated[int, Field(ge=0)]


class WarehouseSettings(_Section):
    kind: Literal["duckdb", "bigquery"]
    max_rows: PositiveInt
    query_timeout: PositiveInt
    endpoint: Annotated[str, Field(pattern=r"^(https?://[^/]+)?$")]
    maximum_bytes_billed: Annotated[int, Field(ge=10_485_760)]  # BigQuery bills no query less than 10 MB


class DataprocSettings(_Section):
    runtime_version: str
    container_image: str
    service_account: str
    subnetwork: str
    code_uri: str
    jars: tuple[str, ...]
    max_executors: Annotated[int, Field(ge=2)]
    ttl: Annotated[int, Field(ge=600, le=14 * 86400)]


class GcpSettings(_Section):
    project_id: str
    bucket_name: str
    dataset_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
    location: str
    policy_tags: dict[Literal["public", "internal", "personal", "secret"], str]
    storage_endpoint: Annotated[str, Field(pattern=r"^(https?://[^/]+)?$")]
    storage_timeout: PositiveInt
    dataproc: DataprocSettings


class FeatureSettings(_Section):
    lags: tuple[PositiveInt, ...]
    rolling_windows: tuple[PositiveInt, ...]


class XGBoostSettings(_Section):
    n_estimators: PositiveInt
    max_depth: PositiveInt
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    subsample: Annotated[float, Field(gt=0, le=1)]
    colsample_bytree: Annotated[float, Field(gt=0, le=1)]
    min_child_weight: Annotated[float, Field(ge=0)]
    reg_lambda: Annotated[float, Field(ge=0)]
    tweedie_variance_power: Annotated[float, Field(gt=1, lt=2)]
    seed: int


class MlSettings(_Section):
    model_dir: Path
    tracking_uri: Annotated[str, Field(pattern=r"^(https?://.+)?$")]
    min_history_days: Annotated[int, Field(ge=30)]
    runner: Literal["processes", "spark"]
    processes: PositiveInt
    train_days: PositiveInt
    train_every: PositiveInt
    max_training_rows: PositiveInt
    validation_days: PositiveInt
    promotions_file: str
    features: FeatureSettings
    xgboost: XGBoostSettings


class AirflowSettings(_Section):
    schedule: str
    time_zone: TimeZone
    retries: Annotated[int, Field(ge=0)]
    retry_delay: PositiveInt
    max_retry_delay: PositiveInt
    stream_retries: Annotated[int, Field(ge=0)]
    stream_retry_delay: PositiveInt
    task_timeout: PositiveInt
    short_task_timeout: PositiveInt
    deadline: Annotated[int, Field(ge=0)]
    webhook_url: SecretStr = SecretStr("")
    webhook_timeout: PositiveInt
    openlineage_file: str
    port: Annotated[int, Field(ge=1024, le=65535)]
    parallelism: PositiveInt
    history_days: Annotated[int, Field(ge=0)]
    events: PositiveInt
    train_weekday: Annotated[int, Field(ge=0, le=6)]


class DashboardSettings(_Section):
    port: Annotated[int, Field(ge=1024, le=65535)]
    refresh_seconds: PositiveInt
    batch_stale_after: PositiveInt
    gold_stale_after: PositiveInt


class StackSettings(_Section):
    start_timeout: PositiveInt
    stop_timeout: PositiveInt


class SimulationSettings(_Section):
    products: PositiveInt
    users: PositiveInt
    duplicate_share: Share
    conflict_same_time_share: Share
    conflict_other_date_share: Share
    late_share: Share
    out_of_order_share: Share
    corrupt_share: Share
    future_share: Share
    bot_share: Share


class Settings(BaseSettings):
    """Every setting of the platform; each section belongs to one room."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid",
    )

    profile: Literal["local", "dev", "staging", "prod"]
    data_dir: Path
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    shop: ShopSettings
    lake: LakeSettings
    kafka: KafkaSettings
    spark: SparkSettings
    sources: SourcesSettings
    quality: QualitySettings
    warehouse: WarehouseSettings
    gcp: GcpSettings
    ml: MlSettings
    airflow: AirflowSettings
    simulation: SimulationSettings
    stack: StackSettings
    dashboard: DashboardSettings

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the files, which arrive as init arguments."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _cloud_warehouse_has_a_project(self) -> "Settings":
        if self.warehouse.kind == "bigquery" and not self.gcp.project_id:
            raise ValueError("warehouse.kind is bigquery but gcp.project_id is empty")
        return self

    @model_validator(mode="after")
    def _a_batch_outlives_the_stream(self) -> "Settings":
        dataproc = self.gcp.dataproc
        if self.spark.runner == "dataproc" and not (dataproc.service_account and dataproc.code_uri):
            raise ValueError("spark.runner is dataproc but gcp.dataproc.service_account or .code_uri is empty")
        if self.spark.runner == "dataproc" and self.spark.stream_runtime + STREAM_STOP_SECONDS > dataproc.ttl:
            raise ValueError(
                f"spark.stream_runtime {self.spark.stream_runtime} ends less than {STREAM_STOP_SECONDS} s before "
                f"gcp.dataproc.ttl {dataproc.ttl}: Dataproc would end the stream before it restarts by itself")
        return self

    @property
    def data_path(self) -> Path:
        """The absolute folder that every relative path below is relative to."""
        return PROJECT_ROOT / self.data_dir

    @property
    def lake_root(self) -> str:
        """The lake's absolute local path, or its gs:// address, without a slash at the end."""
        if "://" in self.lake.root:
            return self.lake.root.rstrip("/")
        return str(self.data_path / self.lake.root)

    @property
    def broker_path(self) -> Path:
        """The embedded broker's folder: its data, its log and its state file."""
        return self.data_path / self.kafka.data_dir

    @property
    def broker_state_path(self) -> Path:
        """The file in which kafka/broker.py says where its broker listens."""
        return self.broker_path / "broker.json"

    @property
    def landing_path(self) -> Path:
        """The folder into which a shop puts its files, one folder for each source."""
        return self.data_path / self.sources.landing_dir

    @property
    def landing_root(self) -> str:
        """Where files arrive: `landing_path`, or the same folder of the bucket where the lake is in one."""
        if "://" in self.lake.root:
            return f"gs://{self.gcp.bucket_name or self.lake.root.split('/')[2]}/{self.sources.landing_dir}"
        return str(self.landing_path)

    @property
    def promotions_path(self) -> Path | None:
        """The file of past and planned promotions, if there is one."""
        return self.data_path / self.ml.promotions_file if self.ml.promotions_file else None

    @property
    def model_path(self) -> Path:
        """The folder of the trained models."""
        return self.data_path / self.ml.model_dir

    @property
    def report_path(self) -> Path:
        """The folder of the dashboard's HTML reports."""
        return self.data_path / "reports"

    @property
    def bootstrap_servers(self) -> str:
        """Kafka's address; `embedded` is looked up in the broker's state file.

        Raises:
            SourceError: the embedded broker was never started, or was stopped; it may be there at the next try.
        """
        if self.kafka.bootstrap_servers != EMBEDDED:
            return self.kafka.bootstrap_servers
        try:
            state = json.loads(self.broker_state_path.read_text())
            return f"127.0.0.1:{int(state['port'])}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"the embedded broker is not running: no usable state in {self.broker_state_path}. "
                "Start it with: python kafka/broker.py start"
            ) from error


def find_resources(name: str) -> Traversable:
    """Find a folder of the checkout (configs, sql), or its copy inside the wheel, which has no checkout.

    The copy is made when the wheel is built (setup.py) and is read in a zip too, as Spark's --py-files bring it.
    """
    packaged = files("shoplake") / "resources"
    return packaged / name if packaged.is_dir() else PROJECT_ROOT / name


def load_settings(profile: str | None = None, config_dir: Traversable | None = None) -> Settings:
    """Load and check all settings.

    Args:
        profile: the flag's value; else the environment's, else local.
        config_dir: the folder of the settings files (default: the checkout's, else the wheel's own).

    Raises:
        ConfigError: an unknown profile, key or value; the message names it and where it came from.
    """
    name = profile or os.environ.get(PROFILE_VARIABLE) or "local"
    if name not in PROFILES:
        raise ConfigError(f"unknown profile {name!r}; allowed: {', '.join(PROFILES)}")
    _refuse_unknown_variables(os.environ)
    folder = config_dir or find_resources("configs")
    sources = [folder / "config.yaml", folder / f"{name}.yaml"]
    values: dict[str, Any] = {}
    for file in sources:
        values = _merged(values, _read_yaml(file))
    try:
        # The copy lets the flag win over PROFILE_VARIABLE, which pydantic reads as the field `profile` too.
        return Settings(**{**values, "profile": name}).model_copy(update={"profile": name})
    except ValidationError as error:
        raise ConfigError(_explain(error, sources)) from error
    except SettingsError as error:
        raise ConfigError(f"the environment holds a value that cannot be read: {error}") from error


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {field.upper() for field in Settings.model_fields}
    for variable in environment:
        if variable == HOME_VARIABLE:
            continue
        if variable.startswith(ENV_PREFIX) and variable[len(ENV_PREFIX):].split("__")[0] not in known:
            raise ConfigError(
                f"the environment variable {variable} names no setting; sections are {', '.join(sorted(known))}, "
                "with two underscores before the key, as in SHOPLAKE_LAKE__ROOT"
            )


def _read_yaml(file: Traversable) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold sections (a YAML mapping), but holds a {type(content).__name__}")
    return content


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _explain(error: ValidationError, sources: Sequence[Traversable]) -> str:
    read = ", ".join(str(file) for file in sources)
    lines = [f"{error.error_count()} wrong setting(s), from {read} or the environment:"]
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        variable = ENV_PREFIX + "__".join(str(part) for part in problem["loc"]).upper()
        lines.append(f"  {key} (or {variable}): {problem['msg']}; seen: {problem['input']!r}"[:300])
    return "\n".join(lines)
