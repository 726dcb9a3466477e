"""Secrets taken out of what is logged or said."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"
SHORTEST = 8  # characters: what is shorter stands in words by chance
_SECRET_NAMES = re.compile(
    r"(?i)SECRET|PASS(WORD|WD|PHRASE)?(_|$)|_PWD|TOKEN|_?KEY$|CREDENTIAL|WEBHOOK|_DSN|DATABASE_URL|JAAS|_AUTH$|SASL")
_PLACES = re.compile(r"(?i)(_FILE|_PATH|_DIR|_CMD|_VERSION|APPLICATION_CREDENTIALS)$")  # where a secret is, not itself
# Each pattern begins at a fixed word or sign, and what follows is bounded: none takes longer than the text is long.
_IN_ADDRESS = re.compile(r"(://)([^\s/@]{1,200}:)?([^\s\"'<>]{1,500})(?=@[\w.-])")
_QUOTED = r"""\\?"(?:\\.|[^"\\\n]){0,500}\\?"|'(?:\\.|[^'\\\n]){0,500}'"""
_NAMED = re.compile(
    r"""(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|jaas[._]config)"""
    r"""(?:\\?["'])?\s{0,3}(?:=|:(?!//)|(?<=word)\s|(?<=token)\s(?=["']))\s{0,3})"""
    rf"""({_QUOTED}|[^\s,;&"'}})\]]{{1,500}})""")
_HEADER = re.compile(
    r"""(?i)(authorization\\?["']?\s{0,3}[:=]\s{0,3}\\?["']?(?:bearer|basic|token)\s+|\bbearer\s+)"""
    r"""([^\s"',;\\]+)""")
# What a message says of a setting of that name: `viewer.classes.secret: should be …`, and numbers of versions.
_NO_SECRET = re.compile(r"(?i)should |must |field |input |seen|extra |\d{1,3}$")


def find_secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Give what the variables hold that are named like a secret, as it may be written; the longest first.

    Of several lines each one too; and what is named so in a JSON object, and the passwords in addresses.
    """
    found = {text for name, value in environment.items()
             if _SECRET_NAMES.search(name) and not _PLACES.search(name) for text in _parts(value)}
    found |= {text for value in environment.values() if value.startswith("{") for text in _read_json(value)}
    found |= {match[3] for value in environment.values() for match in _IN_ADDRESS.finditer(value)}
    written = {way(value) for value in found for way in (str, quote, quote_plus, lambda text: json.dumps(text)[1:-1])}
    return tuple(sorted((value for value in written if len(value) >= SHORTEST), key=len, reverse=True))


def _parts(value: str) -> Iterator[str]:
    yield value.strip()
    yield from (line.strip() for line in value.splitlines())


def _read_json(value: str) -> Iterator[str]:
    with suppress(ValueError):
        yield from _texts(json.loads(value))


def _texts(value: object, name: str = "") -> Iterator[str]:
    """Give the texts in a JSON value that are named like a secret there: not the user's name beside the password."""
    if isinstance(value, str) and _SECRET_NAMES.search(name):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(part, key)


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Hide secrets, and whatever stands where one belongs: after `password=`, in an address, behind `Bearer`."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _IN_ADDRESS.sub(rf"\1\2{HIDDEN}", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    return _NAMED.sub(
        lambda match: match[0] if HIDDEN in match[2] or _NO_SECRET.match(match[2] + " ") or _NO_SECRET.match(match[2])
        else match[1] + HIDDEN, text)
