"""Who may log in to the dashboard: a file of names, roles and hashes of passwords, which only its owner may read."""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from shoplake.errors import ConfigError
from shoplake.private_files import read_private, write_private

SHORTEST, LONGEST = 12, 256  # characters of a password
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
# OWASP's third choice for scrypt: 32 MB and a quarter of a second on a slow core, for each guess.
_COST, _BLOCK, _LANES = 2**15, 8, 3
_SALT_BYTES, _HASH_BYTES = 16, 32
_MEMORY = 64 * 2**20
_HOW = "python utils/dashboard_user.py set NAME"


@dataclass(frozen=True)
class User:
    """A person's role of configs/roles.yaml (empty: governance.role), and the salt and hash of the password, base64."""

    role: str
    salt: str
    digest: str


def load_users(file: Path) -> dict[str, User]:
    """Read the users by name; no file, no users.

    Raises:
        ConfigError: others may read the file, or it holds something else.
    """
    if not file.exists():
        return {}
    try:
        return {name: User(**entry) for name, entry in json.loads(read_private(file)).items()}
    except (ValueError, TypeError, AttributeError) as error:
        # What it holds is not told.
        raise ConfigError(f"{file} holds no users of the dashboard. Move it away, and make them anew: "
                          f"{_HOW}") from error


def save_users(file: Path, users: Mapping[str, User]) -> None:
    """Write the users, for their owner alone."""
    text = json.dumps({name: asdict(user) for name, user in users.items()}, indent=1)
    write_private(file, text.encode(), replace=True)


def make_user(name: str, role: str, password: str) -> User:
    """Give a user with a new salt.

    Raises:
        ConfigError: a name that all try first, or one of other signs; a password that is too short or too long.
    """
    if not _NAME.fullmatch(name) or name.lower() in ("admin", "administrator", "root"):
        raise ConfigError(f"{name!r} is no name for a user: letters, digits and _ . @ - are allowed, up to 64, and "
                          "neither admin nor root, which everybody tries first")
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(f"the password has {len(password)} characters; {SHORTEST} to {LONGEST} are allowed")
    salt = secrets.token_bytes(_SALT_BYTES)
    return User(role, _write(salt), _write(_hash(password, salt)))


def is_password(user: User | None, password: str) -> bool:
    """Tell whether it is the user's password; for nobody it takes as long, so that no name can be found out."""
    expected = base64.b64decode(user.digest if user else _NOBODY.digest)
    seen = _hash(password[:LONGEST + 1], base64.b64decode(user.salt if user else _NOBODY.salt))
    return hmac.compare_digest(seen, expected) and user is not None


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_LANES, maxmem=_MEMORY, dklen=_HASH_BYTES)


def _write(content: bytes) -> str:
    return base64.b64encode(content).decode()


_NOBODY = User("", _write(bytes(_SALT_BYTES)), _write(bytes(_HASH_BYTES)))
