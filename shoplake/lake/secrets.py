"""Secrets from Google's Secret Manager, for programs that nobody gave an environment."""

import base64
import json

from shoplake.errors import ConfigError, StorageError
from shoplake.settings import Settings

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT = 30


def read_secret(settings: Settings, name: str) -> dict[str, str]:
    """Give the newest version of a secret of the project, which is a JSON object of texts.

    Raises:
        ConfigError: there are no credentials, the secret is not there or not ours to read, or it is no such object.
        StorageError: Secret Manager does not answer.
    """
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession
    from requests import RequestException

    where = f"the secret {name} of the project {settings.gcp.project_id}"
    endpoint = settings.gcp.secret_endpoint or "https://secretmanager.googleapis.com"
    address = f"{endpoint}/v1/projects/{settings.gcp.project_id}/secrets/{name}/versions/latest:access"
    try:
        # Credentials are shown to Google alone.
        credentials = (AnonymousCredentials() if settings.gcp.secret_endpoint  # type: ignore[no-untyped-call]
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
