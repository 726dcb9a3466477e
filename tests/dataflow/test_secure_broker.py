"""The cloud profile's way to Kafka, on a real broker: TLS with a checked certificate, a login, no right too many."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kafka
import pytest
from secure_broker import (
    SecureBroker,
    count_of_topic,
    listen_by_tls,
    make_certificates,
    run_secure_broker,
    serve_secret,
)

from shoplake.broker_security import client_security, spark_security
from shoplake.errors import ConfigError, ShoplakeError, SourceError
from shoplake.installation import locate_installation
from shoplake.java import find_java
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.topics import connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def secure_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    places = locate_installation(Path(sys.prefix))
    java = find_java(os.environ, places.bundled_java).java.command
    with run_secure_broker(tmp_path_factory.mktemp("secure"), java, places.kafka_jars) as broker:
        yield broker


@pytest.fixture
def run_as(secure_broker: SecureBroker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Give `run(account, command, **other settings)`, which runs a command in a process of its own."""

    def run(account: str, *command: str, **other: str) -> "subprocess.CompletedProcess[str]":
        with monkeypatch.context() as patched:
            for name, value in {**secure_broker.environment(account), **other}.items():
                patched.setenv(name, value)
            return subprocess.run([sys.executable, str(PROJECT_ROOT / command[0]), *command[1:]],
                                  capture_output=True, text=True)

    return run


PRODUCE = ("kafka/producer.py", "--events", "60", "--seed", "1", "--from", "2026-03-01", "--to", "2026-03-01", "--json")
CONSUME = ("kafka/consumer.py", "--from-beginning", "--json")
DRAIN = ("spark/streaming_pipeline.py", "--drain", "--json")
STATUS = ("kafka/broker.py", "status", "--json")
CHECK = ("utils/check_stream.py", "--json")


def test_each_program_does_its_work_with_its_own_account(
    secure_broker: SecureBroker, run_as: Callable[..., Any], count_records: Callable[[], int],
) -> None:
    sent = run_as("producer", *PRODUCE)
    assert sent.returncode == 0, sent.stderr
    count = json.loads(sent.stdout)["acknowledged"]
    assert count_records() == count
    read = run_as("reader", *CONSUME)
    assert read.returncode == 0, read.stderr
    assert len(json.loads(read.stdout)["messages"]) == count
    drained = run_as("stream", *DRAIN)
    assert drained.returncode == 0, drained.stderr
    assert json.loads(drained.stdout)["records"] == count
    for account in ("stream", "reader"):
        for command in (STATUS, CHECK):
            looked = run_as(account, *command)
            assert looked.returncode == 0, (command, looked.stdout, looked.stderr)
    for work in (PRODUCE, CONSUME, DRAIN):
        done = run_as("shoplake", *work)
        assert done.returncode == 0, (work, done.stderr)


@pytest.mark.parametrize(("account", "command"), [
    ("reader", PRODUCE), ("stream", PRODUCE), ("stream", CONSUME), ("nobody", CONSUME), ("nobody", PRODUCE),
    ("nobody", DRAIN)], ids=lambda value: value if isinstance(value, str) else value[0].split("/")[1])
def test_an_account_has_no_other_right(
    account: str, command: tuple[str, ...], secure_broker: SecureBroker, run_as: Callable[..., Any],
    count_records: Callable[[], int],
) -> None:
    before = count_records()
    refused = run_as(account, *command)
    assert refused.returncode == 1, (refused.stdout, refused.stderr)
    assert re.search("[Aa]uthoriz|has no topic|does not exist", refused.stderr), refused.stderr
    assert "Traceback" not in refused.stderr
    assert secure_broker.passwords[account] not in refused.stdout + refused.stderr
    assert count_records() == before


@pytest.mark.parametrize(("other", "said"), [
    ({"SHOPLAKE_KAFKA__SASL_PASSWORD": "wrong-password"}, "refuses the login"),  # pragma: allowlist secret
    ({"SHOPLAKE_KAFKA__SASL_PASSWORD": ""}, "SHOPLAKE_KAFKA__SASL_PASSWORD"),
    ({"SHOPLAKE_KAFKA__CA_FILE": ""}, "its certificate is not trusted"),
    ({"SHOPLAKE_KAFKA__CA_FILE": "/nowhere.pem"}, "/nowhere.pem holds no certificate"),
    ({"SHOPLAKE_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}, "no Kafka broker answers"),
], ids=["a wrong password", "no password", "an authority that is not trusted", "no authority", "no TLS"])
@pytest.mark.parametrize("command", [PRODUCE, DRAIN], ids=["producer", "stream"])
def test_nobody_comes_in_without(
    run_as: Callable[..., Any], other: dict[str, str], said: str, command: tuple[str, ...],
) -> None:
    refused = run_as("producer", *command, **{"SHOPLAKE_KAFKA__DELIVERY_TIMEOUT": "5", **other})
    assert refused.returncode in (1, 2), refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr
    assert said in refused.stderr
    assert "wrong-password" not in refused.stdout + refused.stderr


@pytest.fixture
def count_records(secure_broker: SecureBroker) -> Callable[[], int]:
    return lambda: count_of_topic(secure_broker)


@pytest.mark.parametrize(("host", "is_trusted"), [("127.0.0.1", True), ("127.0.0.2", False)])
@pytest.mark.parametrize("client", ["python", "spark"])
def test_a_certificate_for_another_host_is_none(
    host: str, is_trusted: bool, client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    spark: "SparkSession",
) -> None:
    """No byte of Kafka's goes to a server whose certificate has another name, be the authority trusted or not."""
    ca_file, key_store = make_certificates(tmp_path, host)
    received: list[bytes] = []
    with listen_by_tls(key_store, received) as port:
        for name, value in {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "a",
                            "SASL_PASSWORD": "some-password",  # pragma: allowlist secret
                            "CA_FILE": str(ca_file), "BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
                            "DELIVERY_TIMEOUT": "4"}.items():
            monkeypatch.setenv(f"SHOPLAKE_KAFKA__{name}", value)
        settings = load_settings()
        if client == "python":
            with pytest.raises(SourceError):
                connect(kafka, kafka.KafkaAdminClient, settings)
        else:
            with pytest.raises(Exception, match=r"(?i)timed? ?out|timeout|SSL|disconnected"):
                spark.read.format("kafka").options(**{
                    "kafka.bootstrap.servers": settings.bootstrap_servers, **spark_security(settings),
                    "subscribe": "x", "kafka.default.api.timeout.ms": "4000", "kafka.request.timeout.ms": "3000",
                }).load().count()
    assert bool(received) is is_trusted


@pytest.mark.parametrize("profile", ["dev", "staging", "prod"])
@pytest.mark.parametrize("environment", ["", "local"])
def test_a_cloud_profile_without_tls_is_refused(
    profile: str, environment: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    if environment:
        monkeypatch.setenv("SHOPLAKE_PROFILE", environment)
    settings = load_settings(profile)
    assert (settings.profile, settings.kafka.security_protocol) == (profile, "SASL_SSL")
    monkeypatch.setenv("SHOPLAKE_KAFKA__SECURITY_PROTOCOL", "PLAINTEXT")
    with pytest.raises(ConfigError, match="SASL_SSL"):
        load_settings(profile)
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    assert client_security(load_settings(profile)) == {}


SECRET = {"username": "shoplake", "password": "from-the-store"}  # pragma: allowlist secret


@pytest.mark.parametrize(("answer", "said"), [
    (SECRET, ""), ({"username": "shoplake"}, "kafka.sasl_secret"), (403, "may not read it"), (500, "HTTP 500"),
    ("no object", "no JSON object")], ids=str)
def test_the_login_comes_from_secret_manager(
    answer: Any, said: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve_secret(answer) as (address, asked):
        monkeypatch.setenv("SHOPLAKE_GCP__SECRET_ENDPOINT", address)
        settings = load_settings("dev")
        if said:
            with pytest.raises(ShoplakeError, match=said) as raised:
                client_security(settings)
            assert "from-the-store" not in str(raised.value)
        else:
            options = client_security(settings)
            assert (options["sasl_plain_username"], options["sasl_plain_password"]) == tuple(SECRET.values())
            monkeypatch.setenv("SHOPLAKE_KAFKA__SASL_PASSWORD", "of-the-environment")
            monkeypatch.setenv("SHOPLAKE_KAFKA__SASL_USERNAME", "ada")
            chosen = client_security(load_settings("dev"))
            assert chosen["sasl_plain_password"] == "of-the-environment"  # pragma: allowlist secret
    assert asked == ["/v1/projects/shoplake-dev/secrets/shoplake-kafka/versions/latest:access"]


def test_a_password_cannot_break_out_of_its_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = {"BOOTSTRAP_SERVERS": "127.0.0.1:1", "SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "a",
               "SASL_PASSWORD": 'x" evil="\\'}
    for name, value in servers.items():
        monkeypatch.setenv(f"SHOPLAKE_KAFKA__{name}", value)
    config = spark_security(load_settings())["kafka.sasl.jaas.config"]
    assert config.endswith('required username="a" password="x\\" evil=\\"\\\\";')  # pragma: allowlist secret
