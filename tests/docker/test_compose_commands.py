"""Services of docker-compose.yml run with their very command and environment: Kafka, topics, secrets, buckets."""

import http.server
import io
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
import yaml
from cryptography.fernet import Fernet
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient

from shoplake.dashboards.users import is_password, load_users
from shoplake.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from conftest import Compose, Kafka

DOCKER = PROJECT_ROOT / "docker"


@pytest.fixture(scope="session")  # as the broker: the second time they are there
def topics_made(moved: "Compose", kafka: "Kafka") -> dict[str, Any]:
    done = moved.run("topics", *moved.command("topics"), "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_topics_are_those_of_the_file(kafka: "Kafka", topics_made: dict[str, Any]) -> None:
    wanted = yaml.safe_load((PROJECT_ROOT / "kafka" / "topics.yaml").read_text())
    assert topics_made == {"address": kafka.internal, "created": list(wanted)}
    admin = KafkaAdminClient(bootstrap_servers=kafka.host)
    try:
        for name, topic in wanted.items():
            assert len(admin.describe_topics([name])[0]["partitions"]) == topic["partitions"]
            seen = admin.describe_configs([ConfigResource("topic", name)])["topic"][name]
            assert {key: seen[key]["value"] for key in topic["config"]} == topic["config"]
    finally:
        admin.close()


def test_each_listener_gives_its_own_clients_an_address_they_can_reach(
    kafka: "Kafka", topics_made: dict[str, Any],
) -> None:
    # A broker that told host programs its container address would answer the bootstrap and fail the first record.
    for way_in, way_out in ((kafka.host, kafka.internal), (kafka.internal, kafka.host)):
        producer = KafkaProducer(bootstrap_servers=way_in, acks="all")
        sent = producer.send("ecommerce_events", way_in.encode(), partition=0).get(timeout=20)
        producer.close()
        consumer = KafkaConsumer(bootstrap_servers=way_out)
        partition = TopicPartition("ecommerce_events", 0)
        consumer.assign([partition])
        consumer.seek(partition, sent.offset)
        records = consumer.poll(timeout_ms=20_000, max_records=1)[partition]
        assert [record.value for record in records] == [way_in.encode()]
        nodes = {f"{node.host}:{node.port}" for node in consumer._client.cluster.brokers()}
        consumer.close()
        assert nodes == {way_out}


def test_a_misspelt_topic_is_no_new_topic(kafka: "Kafka", topics_made: dict[str, Any]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.host)
    consumer = KafkaConsumer("ecommerce_event", bootstrap_servers=kafka.host)
    consumer.poll(timeout_ms=500)
    consumer.close()
    assert "ecommerce_event" not in admin.list_topics()
    admin.close()


def test_the_health_check_of_kafka_needs_both_listeners(
    compose: "Compose", moved: "Compose", kafka: "Kafka", free_port: Callable[[], int],
) -> None:
    assert moved.check_health("kafka").returncode == 0
    internal, host = kafka.internal.split(":")[1], kafka.host.split(":")[1]
    for one_gone in ({"/29092": f"/{free_port()}", "/9092": f"/{host}"},
                     {"/29092": f"/{internal}", "/9092": f"/{free_port()}"}):
        assert type(compose)(compose.services, one_gone).check_health("kafka").returncode != 0


@pytest.mark.parametrize(("typed", "passed"), [
    (["--list"], ["--bootstrap-server", "kafka:29092", "--list"]),
    (["--create", "--topic", "a b"], ["--bootstrap-server", "kafka:29092", "--create", "--topic", "a b"]),
    (["--list", "--bootstrap-server", "x:1"], ["--list", "--bootstrap-server", "x:1"]),
    (["--bootstrap-server=x:1", "--list"], ["--bootstrap-server=x:1", "--list"]),
])
def test_kafka_topics_knows_its_broker(typed: list[str], passed: list[str], tmp_path: Path) -> None:
    tool = tmp_path / "kafka-topics.sh"
    tool.write_text('#!/bin/sh\necho "$KAFKA_HEAP_OPTS"\nfor word in "$@"; do echo "$word"; done\n')
    tool.chmod(0o755)
    script = tmp_path / "kafka-topics"
    script.write_text((DOCKER / "kafka-topics").read_text().replace("/opt/kafka/bin/", f"{tmp_path}/"))
    done = subprocess.run(["sh", str(script), *typed], capture_output=True, text=True, check=True,
                          env={**os.environ, "KAFKA_HEAP_OPTS": "-Xmx512m"})
    heap, *words = done.stdout.splitlines()
    assert words == passed
    assert heap == "-Xmx128m"  # not as much again as the broker beside it


def test_googles_client_stores_and_reads_objects(gcs_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_emulator)
    client = storage.Client(project="shoplake-test")
    assert isinstance(client._credentials, AnonymousCredentials)
    bucket = client.create_bucket("compose-commands")
    large = os.urandom(3 * 2**18 + 1)
    bucket.blob("landing/events/day.csv").upload_from_string(b"event_id\n1\n")
    # In pieces, to an address that the server tells.
    bucket.blob("landing/large", chunk_size=2**18).upload_from_file(io.BytesIO(large))
    assert {blob.name: blob.size for blob in client.list_blobs(bucket, prefix="landing/")} == {
        "landing/events/day.csv": 11, "landing/large": len(large)}
    assert bucket.blob("landing/events/day.csv").download_as_bytes() == b"event_id\n1\n"
    assert bucket.blob("landing/large").download_as_bytes() == large
    # A browser's address: the flag -public-host is that of the published port.
    assert httpx.get(f"{gcs_emulator}/compose-commands/landing/events/day.csv").content == b"event_id\n1\n"
    listening = {found.laddr.ip for found in psutil.net_connections("inet") if found.status == psutil.CONN_LISTEN
                 and found.laddr and gcs_emulator.endswith(f":{found.laddr.port}")}
    assert listening == {"127.0.0.1"}


def test_secrets_are_made_once(compose: "Compose", tmp_path: Path) -> None:
    here = type(compose)(compose.services, {"/secrets": str(tmp_path)})
    for folder in ("airflow", "dashboard", "jupyter", "postgres"):
        (tmp_path / folder).mkdir()

    def make() -> dict[str, str]:
        done = here.run("secrets")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        return {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    first = make()
    assert make() == first, "a second `up` must not change a password that PostgreSQL has taken"
    connection = first.pop("airflow/sql_alchemy_conn")
    assert connection == f"postgresql+psycopg2://airflow:{first['postgres/password']}@postgres:5432/airflow"
    assert json.loads(first.pop("airflow/passwords.json")) == {"operator": first["airflow/password"]}
    users = tmp_path / "dashboard" / "users.json"
    assert is_password(load_users(users)["operator"], first["dashboard/password"])
    assert first["dashboard/password"] not in first.pop("dashboard/users.json")
    assert set(first) == {"airflow/fernet_key", "airflow/jwt_secret", "airflow/api_secret_key", "airflow/password",
                          "dashboard/password", "jupyter/token", "postgres/password"}
    # PostgreSQL's own user reads the one.
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")
            if file.is_file() and file.stat().st_mode & 0o077} == {"postgres/password"}
    assert len(set(first.values())) == len(first)
    assert min(map(len, first.values())) >= 32
    assert not any(set(value) & set("+/@:\n ") for value in first.values())
    Fernet(first["airflow/fernet_key"])
    (tmp_path / "jupyter" / "token").unlink()
    assert make()["jupyter/token"] != first["jupyter/token"]


@contextmanager
def serve(status: int, body: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


HEALTH = json.dumps({
    "metadatabase": {"status": "healthy"}, "scheduler": {"status": "unhealthy"}, "triggerer": {"status": None}})


@pytest.mark.parametrize(("status", "body", "component", "is_healthy"), [
    (200, "ok", [], True), (500, "ok", [], False), (200, HEALTH, ["metadatabase"], True),
    (200, HEALTH, ["scheduler"], False), (200, HEALTH, ["triggerer"], False), (200, HEALTH, ["dag_processor"], False),
])
def test_health_is_what_the_page_says(status: int, body: str, component: list[str], is_healthy: bool) -> None:
    with serve(status, body) as address:
        done = subprocess.run([DOCKER / "is_healthy.sh", address, *component], capture_output=True, text=True)
    assert (done.returncode == 0) == is_healthy, done.stderr
