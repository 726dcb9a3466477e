"""The lake's secret key, and the keys for single purposes that are made from it."""

import hmac
import secrets
from hashlib import sha256
from pathlib import Path

from shoplake.errors import ConfigError
from shoplake.lake.secrets import read_secret
from shoplake.private_files import key_folder, read_private, write_private
from shoplake.settings import Settings

KEY_BYTES = 32
VARIABLE = "SHOPLAKE_GOVERNANCE__KEY"
NEXT_VARIABLE = "SHOPLAKE_GOVERNANCE__NEXT_KEY"
_NEXT = "next.key"
BOOKMARK = "audit-*.json"  # the names of files that say where a log ends which was written with the key


def purpose_key(settings: Settings, purpose: str, master_key: bytes | None = None) -> bytes:
    """Give the 32 bytes of a key for one purpose: of the setting, or of the data folder's key, made at its first use.

    Args:
        master_key: another one to make it from.

    Raises:
        ConfigError: the setting is no key; there is none, and the profile is not local, or something was written with
            one that is gone; others may read its file.
    """
    return hmac.digest(master_key or _master_key(settings), purpose.encode(), sha256)


def has_key(settings: Settings) -> bool:
    """Tell whether there is a key already."""
    governance = settings.governance
    return bool(governance.key.get_secret_value() or governance.key_secret) or _key_file(settings).exists()


def next_key(settings: Settings) -> bytes:
    """Give the master key that shall take the place of the present one: governance.next_key, or one that is made here.

    What was made stays until `take_next_key`, so that a rotation that was killed goes on with the same.

    Raises:
        ConfigError: the present key is in the environment, and the next one is not.
    """
    if text := settings.governance.next_key.get_secret_value():
        return _parse(text, NEXT_VARIABLE)
    if settings.governance.key.get_secret_value() or settings.governance.key_secret:
        raise ConfigError(f"the lake's key is not in the folder of keys: the one that shall take its place must be in "
                          f"{NEXT_VARIABLE}")
    file = _key_file(settings).with_name(_NEXT)
    if not file.exists():
        write_private(file, secrets.token_hex(KEY_BYTES).encode(), replace=False)
    return _parse(read_private(file), str(file))


def take_next_key(settings: Settings) -> None:
    """Put the next master key in the place of the present one, where both are in the folder of keys."""
    file = _key_file(settings).with_name(_NEXT)
    if file.exists():
        file.replace(_key_file(settings))


def _key_file(settings: Settings) -> Path:
    return key_folder(settings) / "governance.key"


def _master_key(settings: Settings) -> bytes:
    if text := settings.governance.key.get_secret_value():
        return _parse(text, VARIABLE)
    if name := settings.governance.key_secret:
        told = read_secret(settings.gcp.project_id, name, settings.gcp.secret_endpoint)
        return _parse(told.get("key", ""), f"the secret {name} of Secret Manager")
    file = _key_file(settings)
    if not file.exists():
        if settings.profile != "local":
            raise ConfigError(f"the profile {settings.profile} needs the lake's key, in {VARIABLE} or in the secret "
                              "that governance.key_secret names. Make one, once: python -c \"import secrets; "
                              f"print(secrets.token_hex({KEY_BYTES}))\"")
        if any(file.parent.glob(BOOKMARK)):
            raise ConfigError(f"{file} is gone, and a log was written with it. Put it back; if it is lost, go on with: "
                              "python utils/verify_audit.py --set-aside 'the key is lost'")
        write_private(file, secrets.token_hex(KEY_BYTES).encode(), replace=False)
    return _parse(read_private(file), str(file))


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{where} is no key: {2 * KEY_BYTES} hexadecimal digits are needed. Put back the one that "
                          "the lake was begun with: another one does not fit what that one wrote")
    return key
