"""What BigQuery may answer that the emulator never does, in Google's own words, by a server that says only that."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from google.cloud import bigquery

from shoplake.contract.render import bigquery_schema
from shoplake.contract.tables import CUSTOMER_DAILY_SALES, RUNS
from shoplake.errors import ConfigError, ShoplakeError, WarehouseError
from shoplake.lake.addresses import locate_lake
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse.bigquery import BigQueryWarehouse, jobs, open_bigquery
from shoplake.warehouse.bigquery.drift import find_drift
from shoplake.warehouse.plan import published_tables

SELECT = "SELECT batch_id FROM ops.ledger"
Reply = tuple[int, dict[str, Any]]


class Google:
    """A server whose replies the test gives one after the other, the last one for ever; it keeps what it was sent."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        google = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                google.requests.append((self.command, self.path, json.loads(sent) if sent else {}))
                status, body = google.replies.pop(0) if len(google.replies) > 1 else google.replies[0]
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


def refuse(status: int, reason: str, message: str) -> Reply:
    """Give an error as BigQuery's REST interface words it."""
    error = {"message": message, "domain": "global", "reason": reason}
    return status, {"error": {"code": status, "message": message, "errors": [error], "status": reason.upper()}}


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    server = Google()
    monkeypatch.setenv("SHOPLAKE_PROFILE", "dev")
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__ENDPOINT", server.address)
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", "lake")
    # The waits between two tries are ours; nobody wants to wait for them here.
    monkeypatch.setattr(jobs, "RETRY", jobs.RETRY.with_delay(0.01, 0.02, 2).with_timeout(0.5))
    monkeypatch.setattr(jobs, "_JOB_RETRY", jobs._JOB_RETRY.with_delay(0.01, 0.02, 2).with_timeout(0.5))
    yield server
    server.close()


@pytest.fixture
def warehouse(google: Google) -> Iterator[BigQueryWarehouse]:
    with open_bigquery(load_settings()) as opened:
        yield opened


REFUSALS: dict[str, tuple[Reply, type[ShoplakeError], int, tuple[str, ...]]] = {
    "missing permission on a table": (
        refuse(403, "accessDenied", "Access Denied: Table shoplake-dev:ops.ledger: User does not have "
               "bigquery.tables.getData permission for table shoplake-dev:ops.ledger."),
        WarehouseError, 1, ("the anonymous user of warehouse.endpoint lacks bigquery.tables.getData in shoplake-dev",
                            "gcp/terraform/identities.tf")),
    "permission without a name": (
        refuse(403, "accessDenied", "Access Denied: Table shoplake-dev:ops.ledger: User does not have permission to "
               "query table shoplake-dev:ops.ledger, or perhaps it does not exist."),
        WarehouseError, 1, ("lacks a permission in shoplake-dev",)),
    "no right to run jobs in the project": (
        refuse(403, "accessDenied", "Access Denied: Project shoplake-dev: User does not have bigquery.jobs.create "
               "permission in project shoplake-dev."),
        ConfigError, 2, ("gcp.project_id of configs/dev.yaml", "bigquery.jobs.create")),
    "wrong project": (
        refuse(404, "notFound", "Not found: Project shoplake-dev"),
        ConfigError, 2, ("BigQuery knows no project shoplake-dev", "SHOPLAKE_GCP__PROJECT_ID")),
    "interface not enabled": (
        refuse(403, "accessNotConfigured", "BigQuery API has not been used in project shoplake-dev before or it is "
               "disabled."), ConfigError, 2, ("BigQuery knows no project shoplake-dev",)),
    "missing dataset": (
        refuse(404, "notFound", "Not found: Dataset shoplake-dev:ops was not found in location europe-west2"),
        WarehouseError, 1, ("python gcp/bigquery_client.py create --profile dev", "gcp.location")),
    "missing table": (
        refuse(404, "notFound", "Not found: Table shoplake-dev:ops.ledger was not found in location europe-west2"),
        WarehouseError, 1, ("python gcp/bigquery_client.py create --profile dev",)),
    "quota": (
        refuse(403, "quotaExceeded", "Quota exceeded: Your project exceeded quota for free query bytes scanned."),
        WarehouseError, 1, ("a quota of the project shoplake-dev is used up", "nothing was changed")),
    "rate limit that stays": (
        refuse(403, "rateLimitExceeded", "Exceeded rate limits: too many concurrent queries for this project"),
        WarehouseError, 1, ("a quota of the project shoplake-dev is used up",)),
    "too expensive": (
        refuse(400, "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 10000000000. 20971520000 or "
               "higher required."), WarehouseError, 1, ("SHOPLAKE_WAREHOUSE__MAXIMUM_BYTES_BILLED",)),
    "credentials that are not taken": (
        refuse(401, "authError", "Request had invalid authentication credentials."),
        ConfigError, 2, ("no Google credentials", "gcloud auth application-default login")),
    "Google's own trouble": (
        refuse(503, "backendError", "Error encountered during execution. Retrying may solve the problem."),
        WarehouseError, 1, ("BigQuery says: Error encountered",)),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_one_clear_message(name: str, google: Google, warehouse: BigQueryWarehouse) -> None:
    reply, kind, exit_code, words = REFUSALS[name]
    google.replies = [reply]
    with pytest.raises(ShoplakeError) as caught:
        warehouse.query(SELECT)
    assert type(caught.value) is kind
    assert caught.value.exit_code == exit_code
    message = str(caught.value)
    assert message.startswith("the query failed: ") == ("no Google credentials" not in message)
    assert "\n" not in message
    assert google.address not in message
    assert all(word in message for word in words), message


def test_a_refused_publication_has_loaded_nothing(
    google: Google, warehouse: BigQueryWarehouse, write_table: Callable[..., None],
) -> None:
    google.replies = [REFUSALS["missing permission on a table"][0]]
    write_table(locate_lake(load_settings()), RUNS, [])
    with pytest.raises(WarehouseError, match=r"ops\.runs cannot be looked at: .* lacks bigquery\.tables\.getData"):
        warehouse.publish([RUNS])
    assert {method for method, *_ in google.requests} == {"GET"}


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, google: Google) -> None:
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__ENDPOINT", "http://127.0.0.1:9")
    with open_bigquery(load_settings()) as warehouse, pytest.raises(WarehouseError) as caught:
        warehouse.query(SELECT)
    assert "http://127.0.0.1:9 does not answer" in str(caught.value)


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.environ["NO_GCE_CHECK"] == "true"
    with pytest.raises(ConfigError, match="gcloud auth application-default login") as caught:
        open_bigquery(load_settings("prod"))
    assert "--profile local" in str(caught.value)


def test_trouble_that_passes_is_tried_again_and_the_job_says_who_asks_and_what_it_may_cost(
    google: Google, warehouse: BigQueryWarehouse,
) -> None:
    trouble = refuse(503, "backendError", "try again")
    done = {"jobReference": {"projectId": "shoplake-dev", "jobId": "j", "location": "europe-west2"}, "status": {
        "state": "DONE"}, "configuration": {"query": {}}, "statistics": {"query": {}}}
    schema = {"fields": [{"name": "batch_id", "type": "INTEGER"}]}
    rows = {"jobReference": done["jobReference"], "jobComplete": True, "totalRows": "1", "schema": schema,
            "rows": [{"f": [{"v": "7"}]}]}
    google.replies = [trouble, trouble, (200, done), trouble, (200, rows)]
    assert warehouse.query(f"{SELECT} WHERE batch_id = @number", {"number": 7})["batch_id"].to_pylist() == [7]
    method, path, body = google.requests[2]
    assert (method, path.split("?")[0]) == ("POST", "/bigquery/v2/projects/shoplake-dev/jobs")
    configuration = body["configuration"]
    assert configuration["labels"]["profile"] == "dev"
    assert set(configuration["labels"]) == {"profile", "command"}
    assert int(configuration["jobTimeoutMs"]) == 120_000
    assert int(configuration["query"]["maximumBytesBilled"]) == 10_000_000_000
    assert configuration["query"]["query"] == "SELECT batch_id FROM `shoplake-dev.ops.ledger` WHERE batch_id = @number"
    (parameter,) = configuration["query"]["queryParameters"]
    assert (parameter["parameterType"]["type"], parameter["parameterValue"]["value"]) == ("INT64", "7")
    assert body["jobReference"]["location"] == "europe-west2"


def test_explain_asks_for_the_bytes_and_runs_nothing(google: Google, warehouse: BigQueryWarehouse) -> None:
    google.replies = [(200, {"jobReference": {"projectId": "shoplake-dev", "jobId": "j"}, "status": {"state": "DONE"},
                             "configuration": {"dryRun": True, "query": {}},
                             "statistics": {"query": {"totalBytesProcessed": "1099511627776"}}})]
    text = warehouse.explain(SELECT)
    assert "1,099,511,627,776 bytes (about $6.250000 on demand)" in text
    assert "`shoplake-dev.ops.ledger`" in text
    (request,) = google.requests
    assert request[2]["configuration"]["dryRun"] is True


def test_personal_columns_get_their_policy_tag(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator forgets policy tags; this is what is sent."""
    tag = "projects/p/locations/eu/taxonomies/1/policyTags/2"
    monkeypatch.setenv("SHOPLAKE_GCP__POLICY_TAGS", json.dumps({"personal": tag}))
    found = {"tableReference": {"projectId": "shoplake-dev", "datasetId": "gold", "tableId": "customer_daily_sales"},
             "schema": {"fields": bigquery_schema(CUSTOMER_DAILY_SALES)},
             "timePartitioning": {"type": "DAY", "field": "event_date"}}
    google.replies = [(200, found)]
    with open_bigquery(load_settings()) as warehouse:
        for table in published_tables():
            warehouse._tag(table, bigquery.Table.from_api_repr(found))
    sent = [(path.split("?")[0].rsplit("/", 1)[1], field["name"], field["policyTags"]["names"])
            for method, path, body in google.requests if method == "PATCH"
            for field in body["schema"]["fields"] if "policyTags" in field]
    personal = [column.name for column in CUSTOMER_DAILY_SALES.columns if column.privacy == "personal"]
    assert sent == [("customer_daily_sales", name, [tag]) for name in personal]
    assert personal == ["user_id"]


def test_a_lake_is_needed_only_to_publish(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", "s3://elsewhere")
    google.replies = [(200, {})]
    with open_bigquery(load_settings()) as warehouse, pytest.raises(ConfigError, match=r"lake\.root"):
        warehouse.publish([RUNS])
    assert google.requests == []


@pytest.mark.parametrize("entry", json.loads((PROJECT_ROOT / "gcp" / "terraform" / "tables.json").read_text()),
                         ids=lambda entry: f"{entry['layer']}.{entry['name']}")
def test_a_table_that_terraform_made_is_the_contracts(entry: dict[str, Any]) -> None:
    table = next(one for one in published_tables() if one.name == f"{entry['layer']}.{entry['name']}")
    made = {"tableReference": {"projectId": "p", "datasetId": entry["layer"], "tableId": entry["name"]},
            "schema": {"fields": entry["schema"]},
            "timePartitioning": {"type": "DAY", "field": entry["partition_by"]} if entry["partition_by"] else None}
    assert find_drift(table, bigquery.Table.from_api_repr(made)) == []
    fields = [{**field, "mode": "NULLABLE"} for field in entry["schema"]]
    assert find_drift(table, bigquery.Table.from_api_repr({**made, "schema": {"fields": fields}}))
