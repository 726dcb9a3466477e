"""Signed receipts of erasures: who has one and the lake's public key can prove what was promised."""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shoplake.lake.keys import purpose_key
from shoplake.settings import Settings


def make_receipt(user: str, facts: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Give a receipt: what was done, with a digest of whose data it was, signed with a key of the lake's master key.

    The digest is SHA-256 over a nonce and the user's id: who knows the id can check it; who can guess ids, too.
    """
    nonce = secrets.token_hex(16)
    stated = {"user_nonce": nonce, "user_digest": _digest(nonce, user), "made_at": datetime.now(UTC).isoformat(),
              **facts}
    return {"receipt": stated, "public_key": public_key_of(settings),
            "signature": _private_key(settings).sign(_canonical(stated)).hex()}


def public_key_of(settings: Settings) -> str:
    """Give the lake's public key for receipts, in hexadecimal digits.

    Raises:
        ConfigError: see purpose_key.
    """
    return _private_key(settings).public_key().public_bytes_raw().hex()


def check_receipt(signed: Mapping[str, Any], public_key: str, user: str) -> str | None:
    """Say what is wrong with a receipt; None if nothing.

    Args:
        public_key: with which it must be signed; the one that stands in it could be anybody's.
        user: whose it must be.
    """
    try:
        stated = signed["receipt"]
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(
            bytes.fromhex(signed["signature"]), _canonical(stated))
        if stated["user_digest"] != _digest(str(stated["user_nonce"]), user):
            return "it is of another user"
    except InvalidSignature:
        return "its signature is not of this key, or it was changed"
    except (KeyError, TypeError, ValueError) as error:
        return f"it is no receipt: {type(error).__name__}"
    return None


def _private_key(settings: Settings) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(purpose_key(settings, "receipts"))


def _digest(nonce: str, user: str) -> str:
    return sha256(f"{nonce}{user}".encode()).hexdigest()


def _canonical(stated: Mapping[str, Any]) -> bytes:
    return json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()
