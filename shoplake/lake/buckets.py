"""Objects in a bucket of Cloud Storage, by Google's own client: each write says what it may replace.

Names are whole addresses, gs://bucket/name. A lake's `endpoint` says where Cloud Storage is; only Google's own is shown
credentials, those of the environment (application default).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import ConfigError, ShoplakeError, StorageError
from shoplake.lake.addresses import BUCKETS, Lake, split_address

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

NEW = 0  # the generation of an object that is not there
_LOG_IN = ("Log in with: gcloud auth application-default login; or set GOOGLE_APPLICATION_CREDENTIALS to a service "
           "account's file")


@dataclass(frozen=True)
class StoredObject:
    """An object as it was when it was looked at; `generation` changes with each write, `crc32c` with the bytes."""

    address: str
    generation: int
    byte_count: int
    updated_at: datetime
    crc32c: str


def find_object(lake: Lake, address: str) -> StoredObject | None:
    """Look at an object; None where there is none."""
    with explained(lake, address):
        bucket, name = split_address(address)
        blob = _open_client(lake.endpoint).bucket(bucket).get_blob(name, **_patience(lake))
        return None if blob is None else _describe(blob)


def list_objects(lake: Lake, address: str) -> Iterator[StoredObject]:
    """Give the objects whose addresses begin with `address`, by name."""
    with explained(lake, address):
        bucket, prefix = split_address(address)
        for blob in _open_client(lake.endpoint).list_blobs(bucket, prefix=prefix, **_patience(lake)):
            yield _describe(blob)


def list_folder(lake: Lake, address: str) -> tuple[list[StoredObject], list[str]]:
    """Give the objects directly under `address`, which ends with a slash, and the names of the folders there."""
    with explained(lake, address):
        bucket, prefix = split_address(address)
        found = _open_client(lake.endpoint).list_blobs(bucket, prefix=prefix, delimiter="/", **_patience(lake))
        objects = [_describe(blob) for blob in found]
        return objects, sorted(folder.removeprefix(prefix).rstrip("/") for folder in found.prefixes)


def read_object(lake: Lake, address: str) -> tuple[bytes, StoredObject] | None:
    """Read a small object and what it was when it was read; None where there is none."""
    while (found := find_object(lake, address)) is not None:
        with explained(lake, address):
            try:
                return _blob(lake, address).download_as_bytes(
                    if_generation_match=found.generation, **_patience(lake)), found
            except Exception as error:
                if not _has_changed(error):
                    raise
    return None


def write_object(
    lake: Lake, address: str, content: bytes, replaces: int, content_type: str = "application/json",
) -> StoredObject | None:
    """Write a small object in the place of the generation `replaces` (NEW: of none); None where that is not there."""
    with explained(lake, address):
        blob = _blob(lake, address)
        try:
            blob.upload_from_string(
                content, content_type=content_type, if_generation_match=replaces, **_patience(lake))
        except Exception as error:
            if _is_refused(error):
                return None
            raise
        return _describe(blob)


def upload_file(lake: Lake, path: Path, address: str, replaces: int = NEW) -> StoredObject | None:
    """Upload a file in the place of the generation `replaces`, resumably when it is large; None as in write_object.

    An object with the same bytes is left alone, and given.
    """
    with explained(lake, address):
        blob = _blob(lake, address)
        try:
            blob.upload_from_filename(str(path), if_generation_match=replaces, **_patience(lake))
        except Exception as error:
            if not _is_refused(error):
                raise
        else:
            return _describe(blob)
    there = find_object(lake, address)
    return there if there and there.crc32c == _crc32c(path) else None


def download_file(lake: Lake, stored: StoredObject, path: Path) -> bool:
    """Download that generation of an object to a file; False where it is no longer the newest."""
    with explained(lake, stored.address):
        try:
            _blob(lake, stored.address).download_to_filename(
                str(path), if_generation_match=stored.generation, **_patience(lake))
        except Exception as error:
            if _has_changed(error):
                return False
            raise
    return True


def delete_object(lake: Lake, address: str, generation: int) -> bool:
    """Delete that generation of an object; False where it is no longer the newest."""
    with explained(lake, address):
        try:
            _blob(lake, address).delete(if_generation_match=generation, **_patience(lake))
        except Exception as error:
            if _has_changed(error):
                return False
            raise
    return True


def move_object(lake: Lake, stored: StoredObject, address: str) -> bool:
    """Copy that generation to a new address of the same bucket, then delete it.

    False where it is no longer the newest, or other bytes have the address; then nothing is changed. The same bytes
    there are taken for the copy. Killed between the two steps it lies at both.
    """
    there = find_object(lake, address)
    copy = there or _copy_object(lake, stored, address)
    if copy is None or (copy.crc32c, copy.byte_count) != (stored.crc32c, stored.byte_count):
        return False
    # A deletion whose answer was lost is tried again, and then finds nothing.
    if delete_object(lake, stored.address, stored.generation) or find_object(lake, stored.address) is None:
        return True
    if there is None:
        delete_object(lake, address, copy.generation)
    return False


def _copy_object(lake: Lake, stored: StoredObject, address: str) -> StoredObject | None:
    """Copy to an address that is free, and give what is there then; one whose answer was lost is refused."""
    with explained(lake, address):
        source, target, token = _blob(lake, stored.address), _blob(lake, address), None
        try:
            while True:
                token, _, _ = target.rewrite(source, token=token, if_generation_match=NEW,
                                             if_source_generation_match=stored.generation, **_patience(lake))
                if token is None:
                    break
        except Exception as error:
            if not _has_changed(error):
                raise
    return find_object(lake, address)


def check_access(lake: Lake) -> None:
    """Ask for one object of the lake, so that what is wrong with bucket, rights or network is said in Google's words.

    Raises:
        ConfigError: no credentials, no such bucket, or no right to list it.
        StorageError: Cloud Storage does not answer.
    """
    with explained(lake, lake.root):
        bucket, prefix = split_address(lake.root)
        found = _open_client(lake.endpoint).list_blobs(bucket, prefix=prefix, max_results=1, **_patience(lake))
        next(iter(found), None)


def check_credentials(lake: Lake) -> None:
    """Refuse to go on where Google's own storage would be asked without credentials; looks once in a process.

    Raises:
        ConfigError: there are none.
    """
    if not lake.endpoint:
        with explained(lake, lake.root):
            _open_client(lake.endpoint)


@contextmanager
def explained(lake: Lake, address: str) -> Iterator[None]:
    """Turn what Google's libraries raise inside the block into one message a person can act on.

    Raises:
        ConfigError: no credentials, no such bucket, or a right is missing.
        StorageError: Cloud Storage does not answer, or refuses in another way.
    """
    try:
        yield
    except ShoplakeError:
        raise
    except Exception as error:
        explanation = _explain(lake, address, error)
        if explanation is None:
            raise
        raise explanation from error


def _explain(lake: Lake, address: str, error: Exception) -> ShoplakeError | None:
    import requests
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError, Unauthorized
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError

    bucket = split_address(address)[0]
    if isinstance(error, RetryError) and error.cause is not None:
        error = error.cause
    said = " ".join(str(getattr(error, "message", "") or error).split())[:500]
    if isinstance(error, DefaultCredentialsError):
        return ConfigError(f"no Google credentials are here for {address}. {_LOG_IN}")
    if isinstance(error, RefreshError):
        return ConfigError(f"the Google credentials here were not accepted for {address}: {said}. {_LOG_IN}")
    if isinstance(error, (Forbidden, Unauthorized)):
        return ConfigError(f"{_identity(lake)} may not do this in {BUCKETS}{bucket}: {said} Give it the role "
                           "roles/storage.objectUser there (gcp/terraform does), or use another account")
    if isinstance(error, NotFound):
        return ConfigError(f"the bucket {BUCKETS}{bucket} of {address} does not exist: make it with gcp/terraform, or "
                           "set lake.root (SHOPLAKE_LAKE__ROOT) to one that does")
    if isinstance(error, (requests.RequestException, TransportError, ConnectionError, TimeoutError)):
        where = lake.endpoint or "Google Cloud Storage"
        return StorageError(f"{where} does not answer for {address} within {lake.timeout:g} s (gcp.storage_timeout): "
                            f"{type(error).__name__}. Look at the network, the proxy and gcp.storage_endpoint")
    if isinstance(error, (GoogleAPICallError, GoogleAuthError)):
        return StorageError(f"Cloud Storage refused {address}: {said}")
    return None


def _identity(lake: Lake) -> str:
    if lake.endpoint:
        return "the anonymous user of gcp.storage_endpoint"
    credentials = _open_client(lake.endpoint)._credentials
    return getattr(credentials, "service_account_email", None) or getattr(credentials, "account", None) or "the user"


def _has_changed(error: Exception) -> bool:
    """Tell whether an object is no longer the one that was named: replaced or deleted since the look."""
    from google.api_core.exceptions import NotFound

    return isinstance(error, NotFound) or _is_refused(error)


def _is_refused(error: Exception) -> bool:
    """Tell whether a write was refused because the object is not the one that it may replace."""
    from google.api_core.exceptions import PreconditionFailed

    # A resumable upload learns it from its session's last answer.
    response = getattr(error, "response", None)
    return isinstance(error, PreconditionFailed) or getattr(response, "status_code", None) == 412


@lru_cache
def _open_client(endpoint: str) -> "Client":
    from google.auth import default
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    if endpoint:
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Client(project="emulator", credentials=nobody, client_options={"api_endpoint": endpoint})
    credentials, project = default(scopes=["https://www.googleapis.com/auth/devstorage.read_write"])
    return Client(project=project or "none", credentials=credentials)


def _patience(lake: Lake) -> dict[str, Any]:
    from google.cloud.storage.retry import DEFAULT_RETRY

    # Every write here has a condition, so each may be tried again.
    return {"timeout": lake.timeout, "retry": DEFAULT_RETRY.with_timeout(lake.timeout)}


def _blob(lake: Lake, address: str) -> "Blob":
    bucket, name = split_address(address)
    return _open_client(lake.endpoint).bucket(bucket).blob(name)


def _describe(blob: "Blob") -> StoredObject:
    return StoredObject(f"{BUCKETS}{blob.bucket.name}/{blob.name}", int(blob.generation), int(blob.size), blob.updated,
                        str(blob.crc32c))


def _crc32c(path: Path) -> str:
    import base64

    import google_crc32c

    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            checksum.update(chunk)
    return str(base64.b64encode(checksum.digest()), "ascii")
