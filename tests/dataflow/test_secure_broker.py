"""The cloud profile's way to Kafka, on a real broker: TLS with a checked certificate, a login, no right too many."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from secure_broker import SecureBroker, make_certificates, run_secure_broker

from shoplake.broker_security import client_security, spark_security
from shoplake.errors import ConfigError
from shoplake.installation import locate_installation
from shoplake.java import find_java
from shoplake.settings import PROJECT_ROOT, load_settings

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


def test_each_program_does_its_work_with_its_own_account_and_no_other(
    secure_broker: SecureBroker, run_as: Callable[..., Any],
) -> None:
    sent = run_as("producer", *PRODUCE)
    assert sent.returncode == 0, sent.stderr
    count = json.loads(sent.stdout)["acknowledged"]
    read = run_as("reader", *CONSUME)
    assert read.returncode == 0, read.stderr
    assert len(json.loads(read.stdout)["messages"]) == count
    drained = run_as("stream", *DRAIN)
    assert drained.returncode == 0, drained.stderr
    assert json.loads(drained.stdout)["records"] == count
    for account, command in (("reader", PRODUCE), ("stream", PRODUCE), ("stream", CONSUME), ("nobody", CONSUME),
                             ("nobody", PRODUCE), ("nobody", DRAIN)):
        refused = run_as(account, *command)
        assert refused.returncode == 1, (account, command[0], refused.stdout, refused.stderr)
        assert "Traceback" not in refused.stderr, (account, command[0])
        assert secure_broker.passwords[account] not in refused.stdout + refused.stderr


@pytest.mark.parametrize(("other", "said"), [
    ({"SHOPLAKE_KAFKA__SASL_PASSWORD": "wrong-password"}, ""),
    ({"SHOPLAKE_KAFKA__SASL_PASSWORD": ""}, "SHOPLAKE_KAFKA__SASL_PASSWORD"),
    ({"SHOPLAKE_KAFKA__CA_FILE": ""}, ""),
    ({"SHOPLAKE_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}, ""),
], ids=["a wrong password", "no password", "an authority that is not trusted", "no TLS"])
@pytest.mark.parametrize("command", [PRODUCE, DRAIN], ids=["producer", "stream"])
def test_nobody_comes_in_without(
    run_as: Callable[..., Any], other: dict[str, str], said: str, command: tuple[str, ...],
) -> None:
    refused = run_as("producer", *command, **{"SHOPLAKE_KAFKA__DELIVERY_TIMEOUT": "5", **other})
    assert refused.returncode in (1, 2), refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr
    assert said in refused.stderr
    assert "wrong-password" not in refused.stdout + refused.stderr


def test_a_certificate_for_another_host_is_no_certificate(
    tmp_path: Path, secure_broker: SecureBroker, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in secure_broker.environment("producer").items():
        monkeypatch.setenv(name, value)
    options = client_security(load_settings())
    assert options["ssl_check_hostname"] is True
    context = ssl.create_default_context(cafile=options["ssl_cafile"])
    assert context.check_hostname
    assert spark_security(load_settings()).get("kafka.ssl.endpoint.identification.algorithm", "https") == "https"
    ca_file, _ = make_certificates(tmp_path, host="127.0.0.2")
    assert ca_file.exists()


@pytest.mark.parametrize("profile", ["dev", "staging", "prod"])
def test_a_cloud_profile_without_tls_is_refused(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(profile)
    assert settings.kafka.security_protocol == "SASL_SSL"
    with pytest.raises(ConfigError, match="SHOPLAKE_KAFKA__SASL_PASSWORD"):
        client_security(settings)
    monkeypatch.setenv("SHOPLAKE_KAFKA__SECURITY_PROTOCOL", "PLAINTEXT")
    with pytest.raises(ConfigError, match="SASL_SSL"):
        load_settings(profile)
    monkeypatch.setenv("SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    assert client_security(load_settings(profile)) == {}


def test_a_password_cannot_break_out_of_its_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "a", "SASL_PASSWORD": 'x" evil="\\'}.items():
        monkeypatch.setenv(f"SHOPLAKE_KAFKA__{name}", value)
    config = spark_security(load_settings())["kafka.sasl.jaas.config"]
    assert config.endswith('required username="a" password="x\\" evil=\\"\\\\";')

