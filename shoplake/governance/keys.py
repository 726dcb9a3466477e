"""The lake's secret key, and the keys for single purposes that are made from it."""

import hmac
import secrets
from hashlib import sha256
from pathlib import Path

from shoplake.errors import ConfigError
from shoplake.private_files import key_folder, read_private, write_private
from shoplake.settings import Settings

KEY_BYTES = 32
VARIABLE = "SHOPLAKE_GOVERNANCE__KEY"
BOOKMARK = "audit-*.json"  # the names of files that say where a log ends which was written with the key


def purpose_key(settings: Settings, purpose: str) -> bytes:
    """Give the 32 bytes of a key for one purpose: of the setting, or of the data folder's key, made at its first use.

    Raises:
        ConfigError: the setting is no key; there is none, and the profile is not local, or something was written with
            one that is gone; others may read its file.
    """
    return hmac.digest(_master_key(settings), purpose.encode(), sha256)


def has_key(settings: Settings) -> bool:
    """Tell whether there is a key already."""
    return bool(settings.governance.key.get_secret_value()) or _key_file(settings).exists()


def _key_file(settings: Settings) -> Path:
    return key_folder(settings) / "governance.key"


def _master_key(settings: Settings) -> bytes:
    if text := settings.governance.key.get_secret_value():
        return _parse(text, VARIABLE)
    file = _key_file(settings)
    if not file.exists():
        if settings.profile != "local":
            raise ConfigError(f"the profile {settings.profile} needs the lake's key in {VARIABLE}, from its secret "
                              f"store. Make one, once: python -c \"import secrets; "
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
