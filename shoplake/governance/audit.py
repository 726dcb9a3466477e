"""ops.audit: who did what, when, with what outcome; it is only ever added to.

Where the log ends is kept outside of the lake, beside its key: so lines that were cut off are missed, and with them the
whole log. A writer notes its lines there first, then adds them: what a killed one has noted and not added, the next one
adds.
"""

import json
import logging
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, Schema, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import AUDIT
from shoplake.errors import AuditError, ConfigError, ShoplakeError, StorageError
from shoplake.governance.audit_archive import (
    ARCHIVE,
    CONTENT,
    MOVED_TO,
    SET_ASIDE,
    check_set_aside,
    digest_content,
)
from shoplake.governance.audit_lines import (
    BEGUN,
    DONE,
    FAILED,
    NO_LINE,
    Act,
    End,
    check_lines,
    keyed_digest,
    last_end,
    make_lines,
)
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, scan_table, table_exists
from shoplake.lake.keys import BOOKMARK, has_key, purpose_key
from shoplake.lake.locks import hold_lock
from shoplake.private_files import key_folder, write_private
from shoplake.settings import Settings, find_resources

LOG = logging.getLogger("shoplake.audit")
_QUERY = "audit"
_ADVICE = "Look with: python utils/verify_audit.py; it says how to go on"
_POLICIES = ("roles.yaml", "sources.yaml")  # who sees what, and what is fetched: not in the settings
_OF_A_PROCESS = ("log_level",)  # settings that say nothing of the platform: each command may have others


@dataclass(frozen=True)
class Bookmark:
    """What is kept beside the key of a lake's log.

    Attributes:
        rows: the last lines, which were added in one commit, or are yet to be.
        sections: the settings' sections at the last line, each by its digest.
        key_check: a digest by which another key is known.
    """

    rows: tuple[Mapping[str, Any], ...] = ()
    sections: Mapping[str, str] = field(default_factory=dict)
    key_check: str = ""

    @property
    def end(self) -> End:
        """Where the log ends when the lines are there."""
        return End(self.rows[-1]["sequence"], self.rows[-1]["digest"]) if self.rows else NO_LINE

    @property
    def count_before(self) -> int:
        """How many lines there were before them."""
        return self.end.sequence - len(self.rows)

    def to_bytes(self) -> bytes:
        """Write it."""
        return json.dumps(vars(self), default=str).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Bookmark":
        """Read it."""
        told = json.loads(content)
        rows = [{**row, "recorded_at": datetime.fromisoformat(row["recorded_at"])} for row in told["rows"]]
        return cls(tuple(rows), told["sections"], told["key_check"])


@dataclass(frozen=True)
class Finding:
    """What a check of the whole log found.

    Attributes:
        ends: of each line, as if it were the last.
        wrong: what is wrong, in words.
        last: the newest lines.
    """

    ends: tuple[End, ...]
    wrong: tuple[str, ...]
    last: tuple[Mapping[str, Any], ...] = ()

    @property
    def end(self) -> End:
        """The last line."""
        return self.ends[-1] if self.ends else NO_LINE


@contextmanager
def audited(
    lake: Lake, settings: Settings, action: str, subject: str, details: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Record that an act begins, and when it has ended, well or not; the block may add details. See Act.

    Nothing is done that cannot be recorded: the first record fails, and the block is not entered.

    Raises:
        AuditError: the log is not as it was written; or the act is done, and that it ended could not be recorded.
    """
    act = Act(action, subject, dict(details or {}), BEGUN)
    record([act], lake, settings)
    try:
        yield act.details
    except BaseException as error:
        try:
            record([fail(act, error)], lake, settings)
        except (ShoplakeError, OSError) as lost:  # must not hide what went wrong first
            LOG.error("the failure is not in ops.audit: %s", lost)
        raise
    act.outcome, act.at = DONE, datetime.now(UTC)
    try:
        record([act], lake, settings)
    except (ShoplakeError, OSError) as error:
        raise AuditError(f"the {action} of {subject} is done, but its end is not in ops.audit: {error}") from error


def fail(act: Act, error: BaseException) -> Act:
    """Mark an act as failed, by the error's kind: its words may hold values."""
    act.outcome, act.at = FAILED, datetime.now(UTC)
    act.details["error"] = type(error).__name__
    return act


def record(acts: Sequence[Act], lake: Lake, settings: Settings) -> None:
    """Add acts to ops.audit in one commit, after one that says which settings have changed since the last line.

    A lake in a bucket has no such log: there Google's own Cloud Audit Logs tell who read and wrote what.

    Raises:
        AuditError: the log does not end where it should; nothing is added to it any more.
        ConfigError: the key is no key, or others may read it.
        LockError: another writer holds the log for longer than `lake.lock_timeout`.
    """
    if not lake.is_local or not acts:
        return
    with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
        known = _find_bookmark(lake, settings)
        key = purpose_key(settings, "audit")
        sections = _digest_sections(settings, key)
        if changed := sorted(name for name, digest in sections.items() if known.sections.get(name) != digest):
            acts = [Act("configuration", settings.profile, {"sections": changed}), *acts]
        noted = Bookmark(tuple(make_lines(acts, known.end, _user(), key)), sections, _key_check(key))
        _keep_bookmark(lake, settings, noted)
        _add_lines(lake, noted)


def check_end(lake: Lake, settings: Settings) -> None:
    """Refuse to go on where what is done could not be recorded.

    Raises:
        AuditError: the log does not end where it should.
        LockError: another writer holds it for longer than `lake.lock_timeout`.
    """
    if lake.is_local:
        with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
            _find_bookmark(lake, settings)


def verify(lake: Lake, settings: Settings, shown: int = 0) -> Finding:
    """Check every line of the log, and where it ends; give the last `shown` lines too.

    Raises:
        ConfigError: the lake is in a bucket; the key is no key, or others may read it.
        LockError: another writer holds the log for longer than `lake.lock_timeout`.
    """
    _refuse_bucket(lake)
    with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
        try:
            known = _find_bookmark(lake, settings)
        except (AuditError, StorageError) as error:
            return Finding((), (str(error),))
        if known.end == NO_LINE:
            return Finding((), ())
        ends: list[End] = []
        try:
            lines = _read_lines(lake)
            wrong = [*check_lines(lines, purpose_key(settings, "audit"), ends)]
        except (AuditError, StorageError, OSError, pa.ArrowException, OverflowError, ValueError) as error:
            return Finding((), (f"ops.audit cannot be read: {error}",))
        if not wrong:
            wrong += check_set_aside(lake, lines)
        if not wrong and ends[-1:] != [known.end]:
            wrong.append(f"line {known.end.sequence} was written as the last, and line {last_end(ends).sequence} is")
        return Finding(tuple(ends), tuple(wrong), tuple(lines[max(0, len(lines) - shown):]))


def set_aside(lake: Lake, settings: Settings, reason: str) -> Path | None:
    """Move the log out of the way, whatever is wrong with it, and begin another one whose first line says so and why.

    Returns:
        Where it is now; None if there was none.

    Raises:
        ConfigError: the lake is in a bucket; the key is no key, or others may read it.
    """
    _refuse_bucket(lake)
    with hold_lock(lake, AUDIT.name, settings.lake.lock_timeout):
        file, there = _bookmark_file(lake, settings), Path(lake.table(AUDIT))
        mark = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
        moved = Path(lake.root) / ARCHIVE / mark if os.path.lexists(there) else None
        try:
            old = _read_bookmark(file)
        except AuditError:
            old = None
        if not has_key(settings):  # another one may be made only where no log waits for the old one
            for bookmark in key_folder(settings).glob(BOOKMARK):
                bookmark.rename(bookmark.with_name(f"{mark}-{bookmark.name}.old"))
        key = purpose_key(settings, "audit")
        act = Act(SET_ASIDE, "ops.audit", {
            "reason": reason, MOVED_TO: str(moved) if moved else None, "end": str(old.end) if old else None,
            CONTENT: digest_content(there) if moved else None})
        noted = Bookmark(tuple(make_lines([act], NO_LINE, _user(), key)), {}, _key_check(key))
        _keep_bookmark(lake, settings, noted)
        if moved:
            moved.parent.mkdir(parents=True, exist_ok=True)
            there.rename(moved)
        _add_lines(lake, noted)
    return moved


def _refuse_bucket(lake: Lake) -> None:
    if not lake.is_local:
        raise ConfigError(f"{lake.root} is in a bucket, and has no ops.audit: Google's Cloud Audit Logs tell there who "
                          "read and wrote what (gcp/terraform/audit.tf)")


def _find_bookmark(lake: Lake, settings: Settings) -> Bookmark:
    """Give where the log ends, after the lines that a killed writer has noted are there; the caller holds its lock.

    Raises:
        AuditError: it does not end there.
    """
    file = _bookmark_file(lake, settings)
    known, committed = _read_bookmark(file), _committed(lake)
    if known is None:
        if committed != 0 or os.path.lexists(lake.table(AUDIT)):
            raise AuditError(f"there is an ops.audit in {lake.root}, but {file} is gone, which says where it ends. "
                             f"Put it back, with the lake's key. {_ADVICE}")
        return Bookmark()
    if not has_key(settings):
        raise AuditError(f"the lake's key is gone, and ops.audit of {lake.root} cannot go on without it. Put it back "
                         f"into {key_folder(settings)}. {_ADVICE}")
    if known.key_check != _key_check(purpose_key(settings, "audit")):
        raise AuditError(f"the key is not the one that ops.audit of {lake.root} was begun with. Put that one back: "
                         f"SHOPLAKE_GOVERNANCE__KEY, else the file in {key_folder(settings)}. {_ADVICE}")
    if committed == known.count_before:  # its writer died, or a power cut has undone the commit
        _add_lines(lake, known)
    elif committed != known.end.sequence:
        raise AuditError(f"ops.audit in {lake.root} ends with line {committed}, and line {known.end.sequence} was "
                         f"written as the last ({file}). {_ADVICE}")
    return known


def _committed(lake: Lake) -> int | None:
    """Give the number of the last line by the table's own log: 0 where there is no table, None where it does not say.

    Raises:
        AuditError: there is something else in its place.
        StorageError: the table's own log cannot be read.
    """
    if not table_exists(lake, AUDIT):
        return 0
    try:
        version: int | None = open_table(lake, AUDIT).transaction_version(_QUERY)
    except TableNotFoundError as error:
        raise AuditError(f"{lake.table(AUDIT)} is no table. {_ADVICE}") from error
    return version


def _add_lines(lake: Lake, noted: Bookmark) -> None:
    with delta_errors(lake):
        write_deltalake(
            lake.table(AUDIT), pa.Table.from_pylist(list(noted.rows), schema=arrow_schema(AUDIT)), mode="append",
            commit_properties=CommitProperties(app_transactions=[Transaction(_QUERY, noted.end.sequence)]))


def _read_bookmark(file: Path) -> Bookmark | None:
    """Read it; None where there is none.

    Raises:
        AuditError: it cannot be read.
    """
    if not file.exists():
        return None
    try:
        return Bookmark.from_bytes(file.read_bytes())
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError(f"{file}, which says where ops.audit ends, cannot be read. {_ADVICE}") from error


def _keep_bookmark(lake: Lake, settings: Settings, bookmark: Bookmark) -> None:
    write_private(_bookmark_file(lake, settings), bookmark.to_bytes(), replace=True)


def _bookmark_file(lake: Lake, settings: Settings) -> Path:
    # By its place beside the data folder: both may be moved together.
    place = os.path.relpath(Path(lake.root).resolve(), settings.data_path.resolve())
    return key_folder(settings) / BOOKMARK.replace("*", keyed_digest(place, b"")[:16])


def _key_check(key: bytes) -> str:
    return keyed_digest("the key of this log", key)


def _digest_sections(settings: Settings, key: bytes) -> dict[str, str]:
    told = settings.model_dump(mode="json")  # of a secret it tells only that it is there
    policies = {name: find_resources("configs").joinpath(name).read_text(encoding="utf-8") for name in _POLICIES}
    return {name: keyed_digest(json.dumps(value, sort_keys=True), key) for name, value in {**told, **policies}.items()
            if name not in _OF_A_PROCESS}


def _read_lines(lake: Lake) -> list[dict[str, Any]]:
    """Give all lines in the order of their numbers.

    Raises:
        AuditError: the table has other columns.
    """
    with delta_errors(lake):
        seen = open_table(lake, AUDIT).schema()
        promised = Schema.from_arrow(arrow_schema(AUDIT))
        if [(one.name, one.type) for one in seen.fields] != [(one.name, one.type) for one in promised.fields]:
            raise AuditError(f"it has the columns {', '.join(one.name for one in seen.fields)}, and not those that "
                             "were written")
        lines = scan_table(lake, AUDIT).to_table()
    rows: list[dict[str, Any]] = lines.sort_by([("sequence", "ascending"), ("recorded_at", "ascending")]).to_pylist()
    return rows


def _user() -> str:
    # By number, as the system has it: the environment's LOGNAME may say anything.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
