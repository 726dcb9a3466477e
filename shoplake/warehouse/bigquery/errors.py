"""What BigQuery refused, in words a person can act on: who asked, what is missing, the command that mends it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError, Unauthorized
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from requests.exceptions import RequestException

from shoplake.errors import ConfigError, ShoplakeError, WarehouseError
from shoplake.settings import Settings

_LOG_IN = "Log in with `gcloud auth application-default login`, or run as a service account"
_PERMISSION = re.compile(r"\b(bigquery(?:\.\w+){2,})\b")
_QUOTA_REASONS = ("quotaExceeded", "rateLimitExceeded", "jobRateLimitExceeded", "responseTooLarge")
# How Google says that the project is not there, or not for this account: the first thing that any job needs.
_PROJECT_WORDS = ("Not found: Project", "bigquery.jobs.create", "has not enabled BigQuery",
                  "BigQuery API has not been used", "Invalid project ID")


@contextmanager
def explained(settings: Settings, identity: str, what: str) -> Iterator[None]:
    """Turn an error of Google's client inside the block into a ConfigError (exit 2) or a WarehouseError (exit 1).

    Args:
        what: what was under way, as in "publishing gold.daily_sales".
    """
    try:
        yield
    except (GoogleAPICallError, RetryError) as error:
        raise explain(_find_cause(error), settings, identity, what) from error
    except (GoogleAuthError, RequestException, TimeoutError) as error:
        raise explain(error, settings, identity, what) from error


def _find_cause(error: Exception) -> Exception:
    """Give what was wrong at the last of many tries, which may have had tries of their own."""
    while isinstance(error, RetryError) and error.cause is not None:
        error = error.cause
    return error


def explain(error: Exception, settings: Settings, identity: str, what: str) -> ShoplakeError:
    """Give the error that the user shall see for one of Google's."""
    project, said = settings.gcp.project_id, _first_line(error)
    profile = f"--profile {settings.profile}"
    if isinstance(error, DefaultCredentialsError):
        return no_credentials(settings)
    is_network = isinstance(error, (TransportError, RequestException, TimeoutError))
    if isinstance(error, Unauthorized) or (isinstance(error, GoogleAuthError) and not is_network):
        return ConfigError(f"{what}: Google does not take the credentials of {identity}: {said}. {_LOG_IN}.")
    reasons = {str(detail.get("reason", "")) for detail in getattr(error, "errors", ()) if isinstance(detail, dict)}
    if "bytesBilledLimitExceeded" in reasons or "limit for bytes billed" in said:
        return WarehouseError(
            f"{what}: BigQuery refused before reading: {said}. Ask for fewer days, or raise "
            "warehouse.maximum_bytes_billed (SHOPLAKE_WAREHOUSE__MAXIMUM_BYTES_BILLED).")
    if reasons.intersection(_QUOTA_REASONS) or "uota exceeded" in said:
        return WarehouseError(
            f"{what}: a quota of the project {project} is used up, and trying again with growing delays did not help: "
            f"{said}. Wait, or raise the quota (IAM & Admin > Quotas), and run the command again; publishing "
            "goes on from where it stopped.")
    if _is_about_project(said):
        return ConfigError(
            f"{what}: BigQuery knows no project {project} that {identity} may use: {said}. The project is "
            f"gcp.project_id of configs/{settings.profile}.yaml (SHOPLAKE_GCP__PROJECT_ID).")
    if isinstance(error, Forbidden):
        missing = _PERMISSION.search(said)
        lacks = f"lacks {missing[1]}" if missing else "lacks a permission"
        return WarehouseError(
            f"{what}: {identity} {lacks} in {project}: {said}. gcp/terraform/identities.tf says which account has "
            "which role; grant it there, or act as an account that has it.")
    if isinstance(error, NotFound):
        return WarehouseError(
            f"{what}: {said}. Make the datasets, tables and views with: python gcp/bigquery_client.py create {profile} "
            f"(they are looked for in {settings.gcp.location}, gcp.location)")
    if is_network:
        where = settings.warehouse.endpoint or "BigQuery"
        return WarehouseError(f"{what}: {where} does not answer: {said}. Look at the network and warehouse.endpoint.")
    return WarehouseError(f"{what}: BigQuery says: {said}")


def no_credentials(settings: Settings) -> ConfigError:
    """Give the error for a machine that has no Google credentials."""
    return ConfigError(
        f"the profile {settings.profile} asks BigQuery, and this machine has no Google credentials. {_LOG_IN}; without "
        "an account, --profile local answers from the lake.")


def _is_about_project(said: str) -> bool:
    return any(words in said for words in _PROJECT_WORDS)


def _first_line(error: Any) -> str:
    text = str(getattr(error, "message", "") or error)
    # The client puts the request before the message, and repeats it after.
    text = re.sub(r"^\d{3} |^(GET|POST|PUT|PATCH|DELETE) \S+?: ", "", text.strip())
    text = re.sub(r"^(GET|POST|PUT|PATCH|DELETE) \S+?: ", "", text)
    line = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return line.split("; reason:")[0].strip().rstrip(".")[:400]
