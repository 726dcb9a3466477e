"""The lake's secret key, and the keys for single purposes that are made from it."""

import hmac
import os
import secrets
import stat
from hashlib import sha256

from shoplake.errors import ConfigError
from shoplake.settings import Settings

KEY_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def purpose_key(settings: Settings, purpose: str) -> bytes:
    """Give the 32 bytes of a key for one purpose: of the setting, or of the data folder's key, made at its first use.

    Raises:
        ConfigError: the setting is no key; there is none, and the lake is not on this machine; others may read the
            key's file.
    """
    return hmac.digest(_master_key(settings), purpose.encode(), sha256)


def _master_key(settings: Settings) -> bytes:
    text = settings.governance.key.get_secret_value()
    if text:
        return _parse(text, "SHOPLAKE_GOVERNANCE__KEY")
    file = settings.data_path / "keys" / "governance.key"
    if settings.profile != "local" and not file.exists():
        raise ConfigError(f"the profile {settings.profile} needs the lake's key in SHOPLAKE_GOVERNANCE__KEY, from its "
                          f"secret store. Make one, once: python -c \"import secrets; "
                          f"print(secrets.token_hex({KEY_BYTES}))\"")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
                made.write(secrets.token_hex(KEY_BYTES))
        except FileExistsError:
            pass  # another process was first
    if file.stat().st_mode & _OTHERS:
        raise ConfigError(f"others than its owner may read {file}, which is a secret. Run: chmod 600 {file}")
    return _parse(file.read_text(), str(file))


def _parse(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{where} is no key: {2 * KEY_BYTES} hexadecimal digits are needed")
    return key
