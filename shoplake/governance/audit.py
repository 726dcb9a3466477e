"""ops.audit: who did what, when, with what outcome; it is only ever added to.

Where the log ends is kept outside of the lake, beside its key: so lines that were cut off are missed, and with them the
whole log. A writer notes there first with what the log will end, then adds the lines, then notes that it has.
"""

import hmac
import json
import logging
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, Schema, Transaction, write_deltalake

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import AUDIT, TABLES
from shoplake.errors import AuditError, ConfigError, ShoplakeError
from shoplake.governance.audit_lines import BEGUN, FAILED, NO_LINE, Act, End, check_lines, make_lines
from shoplake.governance.keys import has_key, key_folder, purpose_key, write_private
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, scan_table, table_exists
from shoplake.lake.locks import hold_lock
from shoplake.settings import Settings

LOG = logging.getLogger("shoplake.audit")
_QUERY = "audit"
_VERIFY = "python utils/verify_audit.py"


@dataclass(frozen=True)
class Bookmark:
    """What is kept beside the key of a lake's log.

    Attributes:
        end: of the log.
        intended: the end that a writer has begun to write.
        sections: the settings' sections at the last line, each by its digest.
        lost: where a log ended that is gone with all other tables of the lake; never written.
    """

    end: End = NO_LINE
    intended: End = NO_LINE
    sections: Mapping[str, str] = field(default_factory=dict)
    lost: End = NO_LINE

    def to_bytes(self) -> bytes:
        """Write it."""
        return json.dumps({"end": vars(self.end), "intended": vars(self.intended),
                           "sections": dict(self.sections)}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Bookmark":
        """Read it."""
        told = json.loads(content)
        return cls(End(**told["end"]), End(**told["intended"]), told["sections"])


@dataclass(frozen=True)
class Finding:
    """What a check of the whole log found: its lines, each as the end that it once was, and what is wrong, in words."""

    ends: tuple[End, ...]
    wrong: tuple[str, ...]

    @property
    def end(self) -> End:
        """The last line."""
        return self.ends[-1] if self.ends else NO_LINE


@contextmanager
def audited(
    lake: Lake, settings: Settings, action: str, subject: str, details: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Record that an act begins, and when it has ended, well or not. See Act for what may be told of it.

    Nothing is done that cannot be recorded: the first record fails, and the block is not entered.

    Raises:
        AuditError: the log is not as it was written.
    """
    record([Act(action, subject, dict(details or {}), BEGUN)], lake, settings)
    act = Act(action, subject, dict(details or {}))
    try:
        yield
    except BaseException as error:
        try:
            record([fail(act, error)], lake, settings)
        except ShoplakeError as lost:  # must not hide what went wrong first
            LOG.error("the failure is not in ops.audit: %s", lost)
        raise
    act.at = datetime.now(UTC)
    record([act], lake, settings)


def fail(act: Act, error: BaseException) -> Act:
    """Mark an act as failed, by the error's kind: its words may hold values."""
    act.outcome, act.at = FAILED, datetime.now(UTC)
    act.details["error"] = type(error).__name__
    return act


def record(acts: Sequence[Act], lake: Lake, settings: Settings) -> None:
    """Add acts to ops.audit in one commit, after one that says which settings have changed since the last line.

    A lake in a bucket has no such log: there Google's own Cloud Audit Logs tell who read and wrote what.

    Raises:
        AuditError: the log is not as it was written; nothing is added to it any more.
        LockError: another writer holds it for longer than `lake.lock_timeout`.
    """
    if not lake.is_local or not acts:
        return
    with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
        known = _find_bookmark(lake, settings)
        key = purpose_key(settings, "audit")
        sections = digest_sections(settings, key)
        if changed := sorted(name for name, digest in sections.items() if known.sections.get(name) != digest):
            acts = [Act("configuration", settings.profile, {"sections": changed}), *acts]
        if known.lost != NO_LINE:
            acts = [Act("new_lake", "ops.audit", {"lost": str(known.lost)}), *acts]
        rows = make_lines(acts, known.end, _user(), key)
        end = End(rows[-1]["sequence"], rows[-1]["digest"])
        _keep_bookmark(lake, settings, Bookmark(known.end, end, known.sections))
        with delta_errors(lake):
            write_deltalake(
                lake.table(AUDIT), pa.Table.from_pylist(rows, schema=arrow_schema(AUDIT)), mode="append",
                commit_properties=CommitProperties(app_transactions=[Transaction(_QUERY, end.sequence)]))
        _keep_bookmark(lake, settings, Bookmark(end, NO_LINE, sections))


def check_end(lake: Lake, settings: Settings) -> None:
    """Refuse to go on where what is done could not be recorded.

    Raises:
        AuditError: the log does not end where it should.
        LockError: another writer holds it for longer than `lake.lock_timeout`.
    """
    if lake.is_local:
        with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
            _find_bookmark(lake, settings)


def verify(lake: Lake, settings: Settings) -> Finding:
    """Check every line of the log, and where it ends.

    Raises:
        ConfigError: the lake is in a bucket.
        LockError: another writer holds the log for longer than `lake.lock_timeout`.
        StorageError: the table's own log cannot be read.
    """
    if not lake.is_local:
        raise ConfigError(f"{lake.root} is in a bucket, and has no ops.audit: Google's Cloud Audit Logs tell there who "
                          "read and wrote what (gcp/terraform/audit.tf)")
    with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
        wrong: list[str] = []
        try:
            known = _find_bookmark(lake, settings)
        except AuditError as error:
            known = Bookmark()
            wrong.append(str(error))
        if not table_exists(lake, AUDIT):
            return Finding((), tuple(wrong))
        if other := _other_columns(lake):
            return Finding((), (*wrong, other))
        ends: list[End] = []
        wrong += check_lines(_read_lines(lake), purpose_key(settings, "audit"), ends)
        if not wrong and (last := ends[-1] if ends else NO_LINE) != known.end:
            wrong.append(f"line {known.end.sequence} was written as the last, and line {last.sequence} is")
        return Finding(tuple(ends), tuple(wrong))


def set_aside(lake: Lake, settings: Settings, reason: str) -> Path | None:
    """Move the log out of the way, whatever is wrong with it, and begin another one that says so and why.

    Returns:
        Where it is now; None if there was none.
    """
    with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
        there = Path(lake.table(AUDIT))
        moved = Path(lake.root) / "_audit" / f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
        if there.exists():
            moved.parent.mkdir(parents=True, exist_ok=True)
            there.rename(moved)
        bookmark = _bookmark_file(lake, settings)
        bookmark.unlink(missing_ok=True)
    record([Act("set_aside", "ops.audit", {"reason": reason, "moved_to": moved.name})], lake, settings)
    return moved if moved.exists() else None


def read_last(lake: Lake, count: int) -> list[dict[str, Any]]:
    """Give the newest lines, in the order of their numbers."""
    if not table_exists(lake, AUDIT) or _other_columns(lake):
        return []
    with delta_errors(lake):
        lines = scan_table(lake, AUDIT).to_table().sort_by("sequence")
    rows: list[dict[str, Any]] = lines.slice(max(0, lines.num_rows - count)).to_pylist()
    return rows


def digest_sections(settings: Settings, key: bytes) -> dict[str, str]:
    """Give each section of the settings by a keyed digest; of secrets only that they are there counts."""
    told = settings.model_dump(mode="json")
    return {name: keyed_digest(json.dumps(value, sort_keys=True), key) for name, value in told.items()}


def keyed_digest(text: str, key: bytes) -> str:
    """Give a text's HMAC-SHA256: unlike its SHA-256, nobody without the key can try which short text it is of."""
    return hmac.new(key, text.encode(), sha256).hexdigest()


def _find_bookmark(lake: Lake, settings: Settings) -> Bookmark:
    """Give where the log ends; the caller holds its lock.

    Raises:
        AuditError: it does not end there.
    """
    file = _bookmark_file(lake, settings)
    with delta_errors(lake):
        committed = open_table(lake, AUDIT).transaction_version(_QUERY) if table_exists(lake, AUDIT) else 0
    advice = f"Look with: {_VERIFY}; it tells how to go on"
    if not file.exists() or not has_key(settings):
        if committed != 0:
            lost = file if has_key(settings) else "the lake's key"
            raise AuditError(f"there is an ops.audit in {lake.root}, but {lost} is gone. Put it back. {advice}")
        return Bookmark()
    try:
        known = Bookmark.from_bytes(file.read_bytes())
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError(f"{file}, which says where ops.audit ends, cannot be read. {advice}") from error
    if committed == known.end.sequence:
        return known
    if committed and committed == known.intended.sequence:  # its writer died before it could say so
        return Bookmark(known.intended, NO_LINE, known.sections)
    if not any(table_exists(lake, table) for table in TABLES):  # somebody made room for a new lake: its log says so
        return Bookmark(lost=known.end)
    raise AuditError(f"ops.audit in {lake.root} ends with line {committed}, and line {known.end.sequence} was written "
                     f"as the last ({file}). {advice}")


def _keep_bookmark(lake: Lake, settings: Settings, bookmark: Bookmark) -> None:
    write_private(_bookmark_file(lake, settings), bookmark.to_bytes(), replace=True)


def _bookmark_file(lake: Lake, settings: Settings) -> Path:
    root = sha256(str(Path(lake.root).resolve()).encode()).hexdigest()
    return key_folder(settings) / f"audit-{root[:16]}.json"


def _other_columns(lake: Lake) -> str:
    with delta_errors(lake):
        seen = open_table(lake, AUDIT).schema()
    promised = Schema.from_arrow(arrow_schema(AUDIT))
    if [(one.name, one.type) for one in seen.fields] == [(one.name, one.type) for one in promised.fields]:
        return ""
    return f"ops.audit has the columns {', '.join(one.name for one in seen.fields)}, and not those that were written"


def _read_lines(lake: Lake) -> Iterator[dict[str, Any]]:
    with delta_errors(lake):
        lines = scan_table(lake, AUDIT).to_table()
    order = lines.sort_by([("sequence", "ascending"), ("recorded_at", "ascending")])
    for batch in order.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _user() -> str:
    # By number, as the system has it: the environment's LOGNAME may say anything.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
