"""What BigQuery may answer that the emulator never does, in Google's own words, by a server that says only that."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from google.cloud import bigquery

from shoplake.contract.render import bigquery_schema
from shoplake.contract.tables import (
    CUSTOMER_DAILY_SALES,
    DAILY_SALES,
    QUARANTINE_COUNTS,
    RUNS,
    Table,
    View,
    find_table,
)
from shoplake.errors import ConfigError, LockError, ShoplakeError, WarehouseError
from shoplake.lake.addresses import locate_lake
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse.bigquery import BigQueryWarehouse, jobs, open_bigquery, publishing
from shoplake.warehouse.bigquery.drift import find_drift
from shoplake.warehouse.plan import find_published_table, published_tables

SELECT = "SELECT batch_id FROM ops.ledger"
Reply = tuple[int, dict[str, Any]]
Google = Any  # the server of conftest.py


def refuse(status: int, reason: str, message: str) -> Reply:
    """Give an error as BigQuery's REST interface words it."""
    error = {"message": message, "domain": "global", "reason": reason}
    return status, {"error": {"code": status, "message": message, "errors": [error], "status": reason.upper()}}


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
        WarehouseError, 1, ("a quota of the project shoplake-dev is used up", "run the command again")),
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


def a_job(kind: str, state: str, reason: str = "", **statistics: Any) -> Reply:
    """Give a job as BigQuery's REST interface tells it; `reason`: why it failed."""
    status: dict[str, Any] = {"state": state}
    if reason:
        status["errorResult"] = {"reason": reason, "message": "Job execution was cancelled or failed"}
    return 200, {"jobReference": {"projectId": "shoplake-dev", "jobId": "j", "location": "europe-west2"},
                 "status": status, "configuration": {kind: {}}, "statistics": {kind: statistics}}


def a_table(table: Table, **facts: Any) -> Reply:
    return 200, {"tableReference": {"projectId": "shoplake-dev", "datasetId": table.layer,
                                    "tableId": table.name.split(".")[1]}, "schema": {"fields": bigquery_schema(table)},
                 "timePartitioning": {"type": "DAY", "field": table.partition_by} if table.partition_by else None,
                 **facts}


def test_a_load_job_that_fails_by_googles_own_trouble_is_begun_again_with_the_whole_file(
    google: Google, warehouse: BigQueryWarehouse, write_table: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The 503 comes twice: to the request, and as the end of a job."""
    monkeypatch.setattr(jobs, "_JOB_RETRY", jobs._JOB_RETRY.with_timeout(60))  # the client's upload waits a second
    write_table(locate_lake(load_settings()), RUNS, [])
    trouble = refuse(503, "backendError", "Retrying may solve the problem.")
    begun: Reply = (200, {})
    google.replies = [a_table(RUNS), a_table(RUNS), begun, trouble, a_job("load", "DONE", "backendError"),
                      begun, a_job("load", "DONE", outputRows="0"), a_table(RUNS)]
    (published,) = warehouse.publish([RUNS])
    assert published.message == "0 rows loaded"
    whole = [content for (method, *_), content in zip(google.requests, google.contents, strict=True) if method == "PUT"]
    assert len(whole) == 3
    assert whole[0] == whole[1] == whole[2]
    assert whole[0].startswith(b"PAR1")
    jobs_asked = [body["configuration"] for method, _, body in google.requests if method == "POST"]
    assert {int(asked["jobTimeoutMs"]) for asked in jobs_asked} == {120_000}


@pytest.mark.parametrize(("kind", "end", "words"), [
    ("load", "stopped", ("job j that fills ops.runs took longer than 1 s (warehouse.query_timeout) and was stopped",
                         "SHOPLAKE_WAREHOUSE__QUERY_TIMEOUT")),
    ("load", "", ()),
    ("load", "running", ("job j that fills ops.runs", "still runs, 1 s after it was asked to stop")),
    ("query", "stopped", ("job j took longer than 1 s", "was stopped; ask for fewer days")),
    ("query", "", ()),
])
def test_a_job_that_takes_too_long_is_waited_for_until_it_has_ended(
    kind: str, end: str, words: tuple[str, ...], google: Google, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cancellation is a request only: a job that still succeeds counts, and no other begins before it has ended."""
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__QUERY_TIMEOUT", "1")
    monkeypatch.setattr(jobs, "_CANCEL_TIMEOUT", 1.0 if end == "running" else 60.0)
    cancelled_at: list[int] = []

    def respond(method: str, path: str) -> Reply:
        if path.split("?")[0].endswith("/cancel"):
            cancelled_at.append(len(google.requests))
            return 200, {"job": a_job(kind, "RUNNING")[1]}
        # It goes on for two answers more.
        has_ended = bool(cancelled_at) and len(google.requests) > cancelled_at[0] + 2 and end != "running"
        reason = end if has_ended else ""
        if "/queries/" in path and not reason:
            return 200, {"jobReference": a_job(kind, "DONE")[1]["jobReference"], "jobComplete": has_ended,
                         "totalRows": "0", "schema": {"fields": [{"name": "batch_id", "type": "INTEGER"}]}}
        if "/queries/" in path:
            return refuse(400, reason, "Job execution was cancelled")
        return a_job(kind, "DONE" if has_ended else "RUNNING", reason, outputRows="7")

    google.respond = respond
    with open_bigquery(load_settings()) as warehouse:
        def ask() -> Any:
            if kind == "query":
                return warehouse.query(SELECT).num_rows
            target = bigquery.TableReference.from_string("shoplake-dev.ops.runs")
            return warehouse._jobs.load("gs://b/a.parquet", target, [], "ops.runs")

        if end:
            with pytest.raises(WarehouseError) as caught:
                ask()
            assert all(word in str(caught.value) for word in words), caught.value
        else:
            assert ask() == (7 if kind == "load" else 0)
    assert len(cancelled_at) == 1
    if end != "running":
        assert len(google.requests) > cancelled_at[0] + 2


@pytest.mark.parametrize(("relation", "check", "sent"), [
    (DAILY_SALES, 1, []),
    (DAILY_SALES, 2, ["POST tables", "POST load", "DELETE staging"]),
    (RUNS, 1, []),
    (QUARANTINE_COUNTS, 1, []),
], ids=lambda value: getattr(value, "name", None))
def test_a_publisher_that_lost_its_lock_writes_nothing_more(
    relation: Table | View, check: int, sent: list[str], google: Google, warehouse: BigQueryWarehouse,
    write_table: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lost before the load: no table is made and no load job begun; lost during the load: no MERGE."""
    for table in (DAILY_SALES, RUNS, *map(find_table, QUARANTINE_COUNTS.reads)):
        write_table(locate_lake(load_settings()), table, [])

    class LostLock:
        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks >= check:
                raise LockError("the lease ran out")

        def announce_ready(self) -> None:
            raise AssertionError

    monkeypatch.setattr(publishing, "hold_lock", lambda *arguments: nullcontext(LostLock()))
    google.respond = lambda method, path: (
        a_job("load", "DONE", outputRows="0") if "/jobs" in path or path == "/upload"
        else a_table(find_published_table(relation)))
    with pytest.raises(LockError, match="the lease ran out"):
        warehouse.publish([relation])
    changes = []
    for method, path, body in google.requests:
        if method in ("GET", "PUT"):  # PUT brings the content of the load job that was begun before
            continue
        what = next(iter(set(body["configuration"]) & {"load", "query"})) if "configuration" in body else (
            path.split("?")[0].rsplit("/", 1)[1].split("_")[0])
        changes.append(f"{method} {what}")
    assert changes == sent


def test_two_publications_share_no_staging_table(
    google: Google, warehouse: BigQueryWarehouse, write_table: Callable[..., None],
) -> None:
    """What another staged is neither emptied nor removed; each MERGE reads its own, which expires by itself."""
    write_table(locate_lake(load_settings()), DAILY_SALES, [])

    def respond(method: str, path: str) -> Reply:
        if path == "/upload":
            return a_job("load", "DONE", outputRows="0")
        if "/queries/" in path:
            return 200, {"jobReference": a_job("query", "DONE")[1]["jobReference"], "jobComplete": True}
        if "/jobs" in path:
            return a_job("query", "DONE", numDmlAffectedRows="0")
        return 200, {**a_table(DAILY_SALES)[1], **(google.requests[-1][2] if path.endswith("/tables?prettyPrint=false")
                                                   else {})}

    google.respond = respond
    for _ in range(2):
        warehouse.publish([DAILY_SALES])
    made = [body for method, path, body in google.requests if method == "POST" and "tableReference" in body]
    names = [body["tableReference"]["tableId"] for body in made]
    assert len(set(names)) == 2
    assert all(name.startswith("staging_daily_sales_") for name in names)
    assert all(body["expirationTime"] for body in made)
    removed = [path.split("?")[0].rsplit("/", 1)[1] for method, path, _ in google.requests if method == "DELETE"]
    assert removed == names
    loaded = [body["configuration"]["load"]["destinationTable"]["tableId"] for *_, body in google.requests
              if "load" in body.get("configuration", {})]
    assert loaded == names
    merges = [body["configuration"]["query"]["query"] for *_, body in google.requests
              if "query" in body.get("configuration", {})]
    assert [name in merge for name, merge in zip(names, merges, strict=True)] == [True, True]


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
    tables = published_tables()
    found = {table.name: {
        "tableReference": dict(zip(("projectId", "datasetId", "tableId"), ("p", *table.name.split(".")), strict=True)),
        "schema": {"fields": bigquery_schema(table)}} for table in tables}
    google.replies = [(200, found[CUSTOMER_DAILY_SALES.name])]
    with open_bigquery(load_settings()) as warehouse:
        for table in tables:
            warehouse._tag(table, bigquery.Table.from_api_repr(found[table.name]))
    sent = [(path.split("?")[0].rsplit("/", 1)[1], field["name"], field["policyTags"]["names"])
            for method, path, body in google.requests if method == "PATCH"
            for field in body["schema"]["fields"] if "policyTags" in field]
    assert {(name, column) for name, column, _ in sent} == {
        (table.name.split(".")[1], column.name) for table in tables for column in table.columns
        if column.privacy == "personal"}
    assert {tuple(names) for *_, names in sent} == {(tag,)}
    assert ("customer_daily_sales", "user_id", [tag]) in sent


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
    texts = [{name: str(value) if name in ("precision", "scale") else value for name, value in field.items()}
             for field in entry["schema"]]
    assert find_drift(table, bigquery.Table.from_api_repr({**made, "schema": {"fields": texts}})) == []
    for size in ("precision", "scale"):
        other = [{**field, size: "2"} if size in field else field for field in texts]
        problems = find_drift(table, bigquery.Table.from_api_repr({**made, "schema": {"fields": other}}))
        assert len(problems) == sum(size in field for field in texts)
