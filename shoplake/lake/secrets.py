"""Secrets from Google's Secret Manager, for programs that nobody gave an environment."""

import base64
import json
from functools import cache

from shoplake.errors import ConfigError, StorageError

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_GOOGLE = "https://secretmanager.googleapis.com"
_TIMEOUT = 30  # seconds


@cache  # the stream makes clients at each batch; a new version of the secret needs a new process
def read_secret(project: str, name: str, endpoint: str = "") -> dict[str, str]:
    """Give the newest version of a project's secret, which is a JSON object of texts; asked for once in a process.

    Args:
        endpoint: another Secret Manager's address, which is shown no credentials.

    Raises:
        ConfigError: there are no credentials, the secret is not there or not ours to read, or it is no such object.
        StorageError: Secret Manager does not answer.
    """
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession
    from requests import RequestException

    where = f"the secret {name} of the project {project}"
    address = f"{endpoint or _GOOGLE}/v1/projects/{project}/secrets/{name}/versions/latest:access"
    try:
        # Credentials are shown to Google alone.
        credentials = (AnonymousCredentials() if endpoint  # type: ignore[no-untyped-call]
                       else google.auth.default(scopes=[_SCOPE])[0])
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        answer = session.get(address, timeout=_TIMEOUT)
    except GoogleAuthError as error:
        raise ConfigError(f"{where} cannot be read: this machine has no Google credentials") from error
    except RequestException as error:
        raise StorageError(f"{where} cannot be read: {type(error).__name__}") from error
    if answer.status_code in (403, 404):
        raise ConfigError(f"{where} is not there, or this account may not read it (HTTP {answer.status_code})")
    if not answer.ok:
        raise StorageError(f"{where} cannot be read: HTTP {answer.status_code}")
    try:
        told = json.loads(base64.b64decode(answer.json()["payload"]["data"]))
        return {str(key): str(value) for key, value in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{where} is no JSON object such as "
                          '{"username": "shoplake", "password": "…"}') from error
