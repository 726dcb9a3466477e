"""ops.audit: who did what, when, with what outcome. Each line carries the digest of the one before it.

Digests are keyed, so who can write into the lake but has not its key can neither change, remove, insert nor reorder a
line without being found out by `verify`. The head, a small file beside the tables, says where the log ends: so that
lines cut off its end are missed too. A lake that is put back whole, head and all, to an earlier state looks like that
earlier state: hold the head that `utils/verify_audit.py` prints against it.
"""

import getpass
import hmac
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, Transaction, write_deltalake

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import AUDIT
from shoplake.errors import AuditError
from shoplake.governance.keys import purpose_key
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, read_table, table_exists
from shoplake.lake.files import read_bytes, write_bytes
from shoplake.lake.locks import hold_lock
from shoplake.settings import Settings

DONE, FAILED, BEGUN = "done", "failed", "begun"
_QUERY = "audit"
_COLUMNS = tuple(name for name in AUDIT.column_names if name != "digest")


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
class Head:
    """Where the log ends.

    Attributes:
        sequence: the number of the last line, from 1; 0 where there is none.
        digest: of that line.
        sections: the settings' sections at that line, each by its SHA-256.
    """

    sequence: int = 0
    digest: str = ""
    sections: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self, key: bytes) -> bytes:
        """Write it with its own digest."""
        content = {"sequence": self.sequence, "digest": self.digest, "sections": dict(self.sections)}
        return json.dumps({**content, "mac": _digest(content, key)}).encode()

    @classmethod
    def from_bytes(cls, content: bytes, key: bytes) -> "Head":
        """Read it.

        Raises:
            AuditError: it was not written with this key.
        """
        try:
            told = json.loads(content)
            mac = told.pop("mac")
            head = cls(int(told["sequence"]), str(told["digest"]), dict(told["sections"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AuditError("the audit log's head cannot be read") from error
        if not hmac.compare_digest(str(mac), _digest(told, key)):
            raise AuditError("the audit log's head was not written with the lake's key")
        return head


@contextmanager
def audited(lake: Lake, settings: Settings, act: Act, *, announce: bool = True) -> Iterator[Act]:
    """Record an act when it has ended, well or not; and before it, if it changes something.

    Nothing is done that cannot be recorded: the first record fails, and the block is not entered.
    """
    if announce:
        record([Act(act.action, act.subject, dict(act.details), BEGUN)], lake, settings)
    try:
        yield act
    except BaseException as error:
        act.outcome, act.at = FAILED, datetime.now(UTC)
        act.details["error"] = type(error).__name__  # its message may hold values
        record([act], lake, settings)
        raise
    act.at = datetime.now(UTC)
    record([act], lake, settings)


def record(acts: Sequence[Act], lake: Lake, settings: Settings) -> None:
    """Append acts to ops.audit in one commit, after one that says which settings have changed since the last line.

    A lake in a bucket has no such log: there Google's own Cloud Audit Logs tell who read and wrote what.

    Raises:
        AuditError: the log was tampered with; nothing is appended to it any more.
        LockError: another writer holds it for longer than `lake.lock_timeout`.
    """
    if not lake.is_local or not acts:
        return
    key = purpose_key(settings, "audit")
    with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
        head = find_head(lake, key)
        sections = digest_sections(settings)
        if changed := sorted(name for name, digest in sections.items() if head.sections.get(name) != digest):
            acts = [Act("configuration", settings.profile, {"sections": changed}), *acts]
        rows = list(_chain(acts, head, settings.governance.actor or _user(), key))
        last = rows[-1]
        with delta_errors(lake):
            write_deltalake(
                lake.table(AUDIT), pa.Table.from_pylist(rows, schema=arrow_schema(AUDIT)), mode="append",
                commit_properties=CommitProperties(app_transactions=[Transaction(_QUERY, last["sequence"])]))
        write_bytes(lake, lake.audit_head, Head(last["sequence"], last["digest"], sections).to_bytes(key))


def check_log(lake: Lake, settings: Settings) -> None:
    """Refuse to go on where what is done could not be recorded.

    Raises:
        AuditError: the log is not as it was written.
    """
    if lake.is_local:
        find_head(lake, purpose_key(settings, "audit"))


def find_head(lake: Lake, key: bytes) -> Head:
    """Give where the log ends: what the head says, or beyond it the lines that a writer left who died before it.

    Raises:
        AuditError: head and log do not go together.
    """
    content = read_bytes(lake, lake.audit_head)
    head = Head() if content is None else Head.from_bytes(content, key)
    committed = 0
    if table_exists(lake, AUDIT):
        with delta_errors(lake):
            committed = open_table(lake, AUDIT).transaction_version(_QUERY) or 0
    if committed == head.sequence:
        return head
    if committed < head.sequence:
        raise AuditError(f"ops.audit ends with line {committed}, but {head.sequence} were written: lines are missing")
    rows = read_lines(lake, head.sequence)
    if findings := list(check_chain(rows, head, key)):
        raise AuditError(f"ops.audit does not go on where its head says: {findings[0]}")
    return Head(rows[-1]["sequence"], rows[-1]["digest"], head.sections) if rows else head


def verify(lake: Lake, settings: Settings) -> tuple[Head, list[str]]:
    """Check every line and the head; give the head, and what is wrong, in words."""
    key = purpose_key(settings, "audit")
    content = read_bytes(lake, lake.audit_head)
    if not table_exists(lake, AUDIT):
        return Head(), [] if content is None else ["there is a head, but no ops.audit"]
    rows = read_lines(lake)
    findings = list(check_chain(rows, Head(), key))
    if content is None:
        # A first writer that died between its line and the head leaves this too; the next one mends it.
        return Head(), [*findings, *(["the head is missing"] if rows else [])]
    try:
        head = find_head(lake, key)
    except AuditError as error:
        return Head(), [*findings, str(error)]
    last = rows[-1] if rows else {"sequence": 0, "digest": ""}
    if (last["sequence"], last["digest"]) != (head.sequence, head.digest):
        findings.append(f"the head says that line {head.sequence} is the last, but line {last['sequence']} is")
    return head, findings


def check_chain(rows: Sequence[Mapping[str, Any]], head: Head, key: bytes) -> Iterator[str]:
    """Give what is wrong with the lines that follow a head, in the order of their numbers."""
    before = head
    for row in rows:
        where = f"line {row['sequence']}"
        if row["sequence"] != before.sequence + 1:
            yield f"{where} follows line {before.sequence}"
        if row["previous_digest"] != before.digest:
            yield f"{where} does not follow from the line before it"
        if not hmac.compare_digest(str(row["digest"]), _line_digest(row, key)):
            yield f"{where} is not as it was written"
        before = Head(row["sequence"], row["digest"])


def digest_sections(settings: Settings) -> dict[str, str]:
    """Give each section of the settings by its SHA-256; of secrets only that they are there."""
    told = settings.model_dump(mode="json")
    return {name: sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() for name, value in told.items()}


def _chain(acts: Sequence[Act], head: Head, actor: str, key: bytes) -> Iterator[dict[str, Any]]:
    sequence, digest = head.sequence, head.digest
    for act in acts:
        sequence += 1
        row = {"sequence": sequence, "recorded_at": act.at, "actor": actor, "action": act.action,
               "subject": act.subject, "outcome": act.outcome,
               "details": json.dumps(act.details, sort_keys=True, ensure_ascii=False), "previous_digest": digest}
        digest = _line_digest(row, key)
        yield {**row, "digest": digest}


def _line_digest(row: Mapping[str, Any], key: bytes) -> str:
    return _digest({name: row[name].astimezone(UTC).isoformat() if isinstance(row[name], datetime) else row[name]
                    for name in _COLUMNS}, key)


def _digest(content: Mapping[str, Any], key: bytes) -> str:
    return hmac.new(key, json.dumps(content, sort_keys=True, ensure_ascii=False).encode(), sha256).hexdigest()


def read_lines(lake: Lake, after: int = 0) -> list[dict[str, Any]]:
    """Give the lines with a number beyond `after`, in the order of their numbers."""
    if not table_exists(lake, AUDIT):
        return []
    lines = read_table(lake, AUDIT)
    rows: list[dict[str, Any]] = lines.filter(pc.greater(lines["sequence"], after)).sort_by("sequence").to_pylist()
    return rows


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
