"""Secrets taken out of what is logged or said."""

import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"
SHORTEST = 8  # characters: what is shorter stands in words by chance
_SECRET_NAMES = re.compile(r"(?i)SECRET|PASSWORD|PASSWD|TOKEN|_KEY|CREDENTIAL|WEBHOOK|_DSN|DATABASE_URL|JAAS")
_PASSWORD_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(?=@)", re.IGNORECASE)
_NAMED = re.compile(
    r"""(?ix) \b
    ( [\w.-]* (?: password | passwd | secret | token | api[_-]?key | jaas[._]config ) \w* ["']? \s* [=:] \s* )
    ( "[^"]*" | '[^']*' | [^\s,;&"'})\]]+ )""")
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s+)([A-Za-z0-9._~+/=-]{8,})")


def find_secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Give the values of the variables that are named like a secret, and the passwords in addresses; longest first."""
    found = {value for name, value in environment.items() if _SECRET_NAMES.search(name)}
    found |= {match[2] for value in environment.values() for match in _PASSWORD_IN_ADDRESS.finditer(value)}
    written = {way(value) for value in found for way in (str, quote, quote_plus)}
    return tuple(sorted((value for value in written if len(value) >= SHORTEST), key=len, reverse=True))


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Hide secrets, and whatever stands where one belongs: after `password=`, in an address, behind `Bearer`."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _PASSWORD_IN_ADDRESS.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    return _NAMED.sub(
        lambda match: match[0] if HIDDEN in match[2] or match[2].isdigit() else match[1] + HIDDEN, text)
