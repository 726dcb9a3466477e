"""The sections of the settings: which keys there are, of which type, within which bounds.

What each key means stands in configs/config.yaml.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr


def _known_time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone; Europe/London is one")
    return name


TimeZone = Annotated[str, AfterValidator(_known_time_zone)]
Share = Annotated[float, Field(ge=0, le=0.5)]
PositiveInt = Annotated[int, Field(gt=0)]
SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShopSettings(_Section):
    time_zone: TimeZone
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    rates_file: str
    rate_max_age: PositiveInt


class LakeSettings(_Section):
    root: Annotated[str, Field(min_length=1)]
    lock_timeout: Annotated[float, Field(ge=0)]
    lease: Annotated[float, Field(ge=1)]


class KafkaSettings(_Section):
    bootstrap_servers: Annotated[str, Field(min_length=1)]
    security_protocol: Literal["PLAINTEXT", "SASL_SSL"]
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]
    sasl_username: str
    sasl_secret: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,255}$")]
    sasl_password: SecretStr = SecretStr("")
    ca_file: str
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


class FileFormat(_Section):
    """How files of a shop's own are named and written, which hold what the contract asks for."""

    fields: dict[str, Annotated[str, Field(min_length=1)]]
    constants: dict[str, str | int] = {}
    separator: Literal[",", ";", "|", "\t"] = ","
    encoding: Literal["utf-8", "cp1252"] = "utf-8"
    decimal_comma: bool = False
    time_format: str = ""
    time_zone: TimeZone = "UTC"


class SourcesSettings(_Section):
    formats: dict[SourceName, FileFormat]
    landing_dir: Path
    landing_poll: PositiveInt
    landing_settle: Annotated[int, Field(ge=0)]
    landing_max_bytes: PositiveInt
    landing_subscription: str
    fetch: tuple[SourceName, ...]
    fetch_schedule: str
    replay_max_bytes: Annotated[int, Field(ge=0)]


class QualitySettings(_Section):
    late_after: PositiveInt
    future_tolerance: Annotated[int, Field(ge=0)]


ADMIN = "admin"  # the role that sees and publishes everything


Member = Annotated[str, Field(pattern=r"^(user|group|serviceAccount|domain):[A-Za-z0-9._%+@-]+$")]


class GovernanceSettings(_Section):
    role: Annotated[str, Field(min_length=1)]
    pseudonyms: bool
    data_keys: str
    key_secret: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,255}$")]
    role_members: dict[str, tuple[Member, ...]]
    key: SecretStr = SecretStr("")
    next_key: SecretStr = SecretStr("")


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
    secret_endpoint: Annotated[str, Field(pattern=r"^(https?://[^/]+)?$")]
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
    closed_days: Annotated[tuple[date, ...], Field(max_length=10_000)]
    features: FeatureSettings
    xgboost: XGBoostSettings


def _own_user(name: str) -> str:
    if name in ("admin", "administrator", "airflow", "root", "test", "user"):
        raise ValueError(f"{name!r} is what everybody tries first; choose a name of your own")
    return name


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
    user: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$"), AfterValidator(_own_user)]
    parallelism: PositiveInt
    history_days: Annotated[int, Field(ge=0)]
    events: PositiveInt
    train_weekday: Annotated[int, Field(ge=0, le=6)]


class DashboardSettings(_Section):
    port: Annotated[int, Field(ge=1024, le=65535)]
    users_file: Path
    login_tries: PositiveInt
    login_wait: PositiveInt
    session_hours: PositiveInt
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
