"""The lines of ops.audit: each carries a keyed digest of itself, and the digest of the line before it.

Who has not the key can neither change, remove, insert nor reorder a line without being found by `check_lines`.
"""

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from shoplake.contract.tables import AUDIT

DONE, FAILED, BEGUN = "done", "failed", "begun"
_SIGNED = tuple(name for name in AUDIT.column_names if name != "digest")


@dataclass
class Act:
    """What somebody does.

    Attributes:
        action: query, publish, promote, …
        subject: what with; never a value of the data.
        details: more of it, as JSON; never a value of the data.
    """

    action: str
    subject: str
    details: dict[str, Any] = field(default_factory=dict)
    outcome: str = DONE
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class End:
    """A line that is the last: its number from 1, and its digest. 0 and no digest where there is none."""

    sequence: int = 0
    digest: str = ""

    def __str__(self) -> str:
        """Write it as a person keeps it."""
        return f"{self.sequence}:{self.digest}"


NO_LINE = End()


def make_lines(acts: Sequence[Act], after: End, actor: str, key: bytes) -> list[dict[str, Any]]:
    """Give the rows of ops.audit that tell of acts, after a line."""
    rows, end = [], after
    for act in acts:
        row = {"sequence": end.sequence + 1, "recorded_at": act.at, "actor": actor, "action": act.action,
               "subject": act.subject, "outcome": act.outcome,
               "details": json.dumps(act.details, sort_keys=True, default=str), "previous_digest": end.digest}
        end = End(end.sequence + 1, _digest(row, key))
        rows.append({**row, "digest": end.digest})
    return rows


def check_lines(rows: Iterable[Mapping[str, Any]], key: bytes, ends: list[End]) -> Iterator[str]:
    """Give in words what is wrong with all lines of a log, which come in the order of their numbers.

    Args:
        ends: gets the end of each line.
    """
    for expected, row in enumerate(rows, start=1):
        before = last_end(ends).digest
        where = f"line {row['sequence']}"
        if row["sequence"] != expected:
            yield f"{where} stands where line {expected} belongs"
        if row["previous_digest"] != before:
            yield f"{where} does not follow from the line before it"
        if not hmac.compare_digest(str(row["digest"]).encode(), _digest(row, key).encode()):
            yield f"{where} is not as it was written"
        ends.append(End(expected, str(row["digest"])))


def last_end(ends: Sequence[End]) -> End:
    """Give the last one."""
    return ends[-1] if ends else NO_LINE


def keyed_digest(text: str, key: bytes) -> str:
    """Give a text's HMAC-SHA256: unlike its SHA-256, nobody without the key can try which short text it is of."""
    return hmac.new(key, text.encode(errors="surrogatepass"), sha256).hexdigest()


def _digest(row: Mapping[str, Any], key: bytes) -> str:
    told = {name: row[name].astimezone(UTC).isoformat() if isinstance(row[name], datetime) else row[name]
            for name in _SIGNED}
    return keyed_digest(json.dumps(told, sort_keys=True), key)
