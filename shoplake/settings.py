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
from typing import Any, Literal, cast

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from shoplake.errors import ConfigError, SourceError
from shoplake.redaction import find_secrets, redact
from shoplake.sections import (
    AirflowSettings,
    DashboardSettings,
    GcpSettings,
    GovernanceSettings,
    KafkaSettings,
    LakeSettings,
    MlSettings,
    QualitySettings,
    ShopSettings,
    SimulationSettings,
    SourcesSettings,
    SparkSettings,
    StackSettings,
    WarehouseSettings,
)
from shoplake.yaml_files import read_yaml

ENV_PREFIX = "SHOPLAKE_"
PROFILE_VARIABLE = "SHOPLAKE_PROFILE"
HOME_VARIABLE = "SHOPLAKE_HOME"
# Where the shells lie: the checkout, or the copy of it that a managed Airflow has beside the installed package.
PROJECT_ROOT = Path(os.environ.get(HOME_VARIABLE) or Path(__file__).resolve().parents[1])
PROFILES = ("local", "dev", "staging", "prod")
EMBEDDED = "embedded"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
STREAM_STOP_SECONDS = 600  # a stream told to stop ends its batch first
# MLflow reads these when it is imported, here or in a program that we start: it shall not call home nor draw bars.
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")


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
    governance: GovernanceSettings
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
        """Let the environment win over the files, which arrive as init arguments; the profile is settled before."""
        def environment() -> dict[str, Any]:
            return {name: value for name, value in env_settings().items() if name != "profile"}

        return cast(PydanticBaseSettingsSource, environment), init_settings

    @model_validator(mode="after")
    def _cloud_warehouse_has_a_project(self) -> "Settings":
        if self.warehouse.kind == "bigquery" and not self.gcp.project_id:
            raise ValueError("warehouse.kind is bigquery but gcp.project_id is empty")
        return self

    @model_validator(mode="after")
    def _a_broker_elsewhere_has_tls(self) -> "Settings":
        is_here = self.kafka.bootstrap_servers == EMBEDDED or are_here(self.kafka.bootstrap_servers)
        if self.profile != "local" and self.kafka.security_protocol == "PLAINTEXT" and not is_here:
            raise ValueError(f"kafka.security_protocol is PLAINTEXT, which the profile {self.profile} allows for a "
                             "broker on this machine only; set it to SASL_SSL")
        if self.kafka.bootstrap_servers == EMBEDDED and self.kafka.security_protocol != "PLAINTEXT":
            raise ValueError("kafka.security_protocol is for another broker: the embedded one is PLAINTEXT on loopback")
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
    def rates_address(self) -> str | None:
        """Where the file of exchange rates is, a path of this machine or gs://bucket/name, if there is one."""
        file = self.shop.rates_file
        return (file if "://" in file else str(self.data_path / file)) if file else None

    @property
    def promotions_path(self) -> Path | None:
        """The file of past and planned promotions, if there is one."""
        return self.data_path / self.ml.promotions_file if self.ml.promotions_file else None

    @property
    def model_path(self) -> Path:
        """The folder of the trained models."""
        return self.data_path / self.ml.model_dir

    @property
    def dashboard_users_path(self) -> Path:
        """The file of the people who may log in to the dashboard."""
        return self.data_path / self.dashboard.users_file

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


def own_secrets() -> tuple[str, ...]:
    """Give the secrets that this process was given in its environment; see `redaction.find_secrets`."""
    return find_secrets(os.environ)


def hide_secrets(text: str) -> str:
    """Give a text without this process's secrets, and without what looks like one; see `redaction.redact`."""
    return redact(text, own_secrets())


def are_here(servers: str) -> bool:
    """Tell whether all of `host:port[,host:port]` are on this machine."""
    return all(server.rsplit(":", 1)[0] in LOOPBACK for server in servers.split(","))


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
        values = _merged(values, _read_section(file))
    try:
        return Settings(**{**values, "profile": name})
    except ValidationError as error:
        raise ConfigError(_explain(error, sources)) from error
    except (SettingsError, RecursionError) as error:
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


def _read_section(file: Traversable) -> dict[str, Any]:
    content = read_yaml(file)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold sections (a YAML mapping), but holds a {type(content).__name__}")
    if odd := [key for key in content if not isinstance(key, str)]:
        raise ConfigError(f"{file} has a section named {odd[0]!r}, which is no text; look for a stray ? or : in it")
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
        seen = "" if _may_be_secret(problem["loc"]) else f"; seen: {problem['input']!r}"
        lines.append(f"  {key} (or {variable}): {problem['msg']}{seen}"[:300])
    return "\n".join(lines)


def _may_be_secret(place: tuple[int | str, ...]) -> bool:
    """Tell whether a wrong value stands in a section that has a secret: it may be that one, under a wrong name."""
    if not place:  # a rule over several sections: the value is all of them
        return True
    section = Settings.model_fields.get(str(place[0]))
    keys = getattr(section.annotation, "model_fields", {}) if section else {}
    return any(key.annotation is SecretStr for key in keys.values())
