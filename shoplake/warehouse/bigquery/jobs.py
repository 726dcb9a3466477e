"""Google's client and the jobs that it runs: who asks, what they may cost, how long they may take."""

import re
from collections.abc import Mapping
from typing import Any

import google.auth
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY

from shoplake.errors import WarehouseError
from shoplake.settings import Settings
from shoplake.warehouse.bigquery.errors import no_credentials
from shoplake.warehouse.googlesql import PARAMETER_TYPES, Value

# Seconds of one call, and of one job, with all its tries; of the first wait between two, of the longest.
_CALL_TIMEOUT, _JOB_TIMEOUT, _FIRST_WAIT, _LONGEST_WAIT = 30.0, 60.0, 0.5, 10.0
RETRY = bigquery.DEFAULT_RETRY.with_timeout(_CALL_TIMEOUT).with_delay(_FIRST_WAIT, _LONGEST_WAIT, 2.0)
_CANCEL_TIMEOUT = 60.0  # seconds that a job may take to end after it was asked to
_STOPPED_REASONS = ("stopped", "timeout")  # how Google says that it has ended a job
_JOB_RETRY = DEFAULT_JOB_RETRY.with_timeout(_JOB_TIMEOUT).with_delay(_FIRST_WAIT, _LONGEST_WAIT, 2.0)


def open_client(settings: Settings) -> bigquery.Client:
    """Make Google's client for the profile's project; with `warehouse.endpoint` it shows no credentials.

    Raises:
        ConfigError: this machine has no Google credentials.
    """
    options = None
    if settings.warehouse.endpoint:
        credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
        options = ClientOptions(api_endpoint=settings.warehouse.endpoint)
    else:
        try:
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        except DefaultCredentialsError as error:
            raise no_credentials(settings) from error
    return bigquery.Client(project=settings.gcp.project_id, credentials=credentials, location=settings.gcp.location,
                           client_options=options)


class Jobs:
    """Runs statements and load jobs; each carries the profile and the command as labels and has the profile's limits.

    They are tried again with growing delays where Google says that this helps.
    """

    def __init__(self, client: bigquery.Client, settings: Settings, command: str) -> None:
        """Take a client; `command` is who asks, for the bill."""
        self.client = client
        self.settings = settings
        self._labels = {"profile": settings.profile, "command": re.sub(r"[^a-z0-9_-]", "-", command.lower())[:63]}

    @property
    def identity(self) -> str:
        """Who asks, as far as the credentials say."""
        if self.settings.warehouse.endpoint:
            return "the anonymous user of warehouse.endpoint"
        credentials = self.client._credentials
        account = getattr(credentials, "service_account_email", None) or getattr(credentials, "account", None)
        return str(account) if account else "the user of gcloud's application-default login"

    def run(
        self, sql: str, parameters: Mapping[str, Value], limit: int | None = None, fills: str | None = None,
    ) -> tuple[Any, bigquery.QueryJob]:
        """Run a statement and give its rows and its job; a failure that Google calls passing is tried again.

        Nothing is read by one that would cost more than warehouse.maximum_bytes_billed.

        Args:
            fills: the table that it makes or fills, if it is no question.

        Raises:
            WarehouseError: it took longer than warehouse.query_timeout; it was stopped.
        """
        rows, job = _JOB_RETRY(self._run_once)(sql, parameters, limit, fills)
        return rows, job

    def _run_once(
        self, sql: str, parameters: Mapping[str, Value], limit: int | None, fills: str | None,
    ) -> tuple[Any, bigquery.QueryJob]:
        configuration = self._configure(parameters)
        configuration.maximum_bytes_billed = self.settings.warehouse.maximum_bytes_billed
        configuration.job_timeout_ms = self.settings.warehouse.query_timeout * 1000
        # Google's own repetition of jobs goes on for ten minutes and more.
        job = self.client.query(sql, job_config=configuration, retry=RETRY, job_retry=None)
        return self._wait(job, fills, max_results=limit, job_retry=None), job

    def estimate(self, sql: str, parameters: Mapping[str, Value]) -> int:
        """Give the bytes that a statement would read, by a dry run; it costs nothing."""
        configuration = self._configure(parameters)
        configuration.dry_run, configuration.use_query_cache = True, False
        job = self.client.query(sql, job_config=configuration, retry=RETRY, job_retry=None)
        return int(job.total_bytes_processed or 0)

    def load(
        self, source: Any, target: bigquery.TableReference, schema: list[bigquery.SchemaField], fills: str,
    ) -> int:
        """Make the rows of one Parquet file a table's only rows, in one step; give how many.

        Args:
            source: its address in a bucket, or an open file.
            fills: the table that is published.

        Raises:
            WarehouseError: it took longer than warehouse.query_timeout; it was stopped.
        """
        count: int = _JOB_RETRY(self._load_once)(source, target, schema, fills)
        return count

    def _load_once(
        self, source: Any, target: bigquery.TableReference, schema: list[bigquery.SchemaField], fills: str,
    ) -> int:
        options = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
        options.enable_list_inference = True  # an array is an array, and not a record with a list in it
        configuration = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET, write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER, schema=schema, labels=self._labels,
            parquet_options=options)
        configuration.job_timeout_ms = self.settings.warehouse.query_timeout * 1000
        if isinstance(source, str):
            job = self.client.load_table_from_uri(source, target, job_config=configuration, retry=RETRY)
        else:
            job = self.client.load_table_from_file(source, target, rewind=True, job_config=configuration)
        self._wait(job, fills)
        return int(job.output_rows or 0)

    def _wait(self, job: Any, fills: str | None, **options: Any) -> Any:
        """Give a job's result; one that takes too long has ended when this does, or the error says that it has not."""
        try:
            try:
                return job.result(timeout=self.settings.warehouse.query_timeout, retry=RETRY, **options)
            except TimeoutError:  # of concurrent.futures, which is the built-in one
                job.cancel(retry=RETRY)
            # A cancellation is a request: the job may still succeed, and must not write after the lock is given away.
            return job.result(timeout=_CANCEL_TIMEOUT, retry=RETRY, **options)
        except TimeoutError as error:
            how = f"still runs, {_CANCEL_TIMEOUT:g} s after it was asked to stop"
            raise self._took_too_long(job, fills, how) from error
        except GoogleAPICallError as error:
            if not any(detail.get("reason") in _STOPPED_REASONS for detail in error.errors):
                raise
            raise self._took_too_long(job, fills, "was stopped") from error

    def _took_too_long(self, job: Any, fills: str | None, how: str) -> WarehouseError:
        limit = f"{self.settings.warehouse.query_timeout} s (warehouse.query_timeout)"
        advice = ("raise it (SHOPLAKE_WAREHOUSE__QUERY_TIMEOUT) and run the command again" if fills
                  else "ask for fewer days")
        which = f" that fills {fills}" if fills else ""
        return WarehouseError(f"BigQuery's job {job.job_id}{which} took longer than {limit} and {how}; {advice}")

    def _configure(self, parameters: Mapping[str, Value]) -> bigquery.QueryJobConfig:
        return bigquery.QueryJobConfig(labels=self._labels, query_parameters=[
            bigquery.ScalarQueryParameter(name, PARAMETER_TYPES[type(value)], value)
            for name, value in parameters.items()
        ])
