"""A key for each person, under which their records lie encrypted, and the pseudonym that stands for them.

Data keys are random and kept encrypted ("wrapped") with a key made from the lake's master key. Who destroys a person's
data key makes all their ciphertext unreadable, wherever copies of it are. What remains is a keyed digest of whose key
it was: what comes in of that person later is not kept either.
"""

import hmac
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shoplake.contract.events import CONTROL_CHARACTERS, MAX_TEXT_LENGTH
from shoplake.errors import ConfigError
from shoplake.lake.addresses import BUCKETS, Lake
from shoplake.lake.key_files import SCHEMA, KeyFiles
from shoplake.lake.keys import KEY_BYTES, purpose_key
from shoplake.lake.locks import HeldLock, hold_lock
from shoplake.private_files import key_folder
from shoplake.settings import Settings

LOCK = "data_keys"
WRAPPING = "data keys"  # the purpose of the key that encrypts data keys
PSEUDONYM_LENGTH = 32  # hexadecimal digits, the first 128 bits of the HMAC
_NONCE_BYTES = 12
_ID_BYTES = 8
_MANY_FILES, _SMALL_FILE = 64, 10_000  # keys in a file that is rewritten with others
KEY, VALUE, HEADER = "key", "value", "header"  # the parts of a row that are encrypted, each bound to its name
# No user's id begins like this: a record whose texts have a control character has its day's key.
DAY = "\x00day "
THE_OWNER = b""  # in place of a record's key that is its user's id
DAY_KEY, _USER_KEY = "d", "u"  # how ids of data keys begin
OUTSIDE = "erased"  # in place of a data key's id: the payload was taken out of the lake
# Keys of the whole lake among those of persons, each with its name for its data_key_id.
_SUBJECTS, _PSEUDONYMS, _DIGESTS = "subjects", "pseudonyms", "digests"


@dataclass(frozen=True)
class DataKey:
    """A person's key; `key` is None once it is destroyed."""

    data_key_id: str
    key: bytes | None = field(repr=False)


def encrypt(key: bytes, clear: bytes, bound_to: bytes) -> bytes:
    """Encrypt with AES-256-GCM: nonce, ciphertext and tag in one, as Spark's `aes_encrypt` has them.

    Args:
        bound_to: must be given again to decrypt; it is not in the result.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, clear, bound_to)


def decrypt(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    """Decrypt what `encrypt` or Spark's `aes_encrypt` gave.

    Raises:
        InvalidTag: another key, other bytes, or bound to something else.
    """
    return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)


class DataKeys:
    """The keys of a lake; see open_data_keys."""

    def __init__(self, files: KeyFiles, wrapping_key: bytes, lock_timeout: float) -> None:
        """Read nothing yet."""
        self._files = files
        self._wrapping_key = wrapping_key
        self._lock_timeout = lock_timeout
        self._tables: dict[str, pa.Table] = {}  # by the name of their file
        self._by_subject: dict[bytes, str] = {}
        self._by_id: dict[str, tuple[bytes | None, bytes | None]] = {}  # wrapped key, sealed owner
        self._roots: dict[str, bytes] = {}

    def pseudonym(self, user: str) -> str:
        """Give what stands for a user from silver on: the first 128 bits of a HMAC-SHA256, in hexadecimal digits."""
        return hmac.digest(self._root(_PSEUDONYMS), user.encode(), sha256).hex()[:PSEUDONYM_LENGTH]

    def digest_key(self) -> bytes:
        """Give the key with which digests of what a record says are made, from silver on.

        Without it, who has the lake could try which user's id gives a row's digest.
        """
        return self._root(_DIGESTS)

    def check(self) -> str:
        """Give a digest by which these pseudonyms are told from those of other keys."""
        return self.pseudonym("\x00check")

    def find_or_make(self, owners: Iterable[str]) -> dict[str, DataKey]:
        """Give the key of each owner; those who have none get one, which is durable when this returns.

        Raises:
            LockError: another process held the keys for the lake's lock_timeout.
        """
        found = {owner: self._subject(owner) for owner in owners}
        self._refresh()
        if any(subject not in self._by_subject for subject in found.values()):
            with self._locked() as lock:
                missing = {owner: subject for owner, subject in found.items() if subject not in self._by_subject}
                self._write_new([self._make_row(owner, subject) for owner, subject in missing.items()], lock)
        return {owner: self._read(self._by_subject[subject]) for owner, subject in found.items()}

    def find(self, data_key_ids: Iterable[str]) -> dict[str, DataKey]:
        """Give the keys with these ids."""
        self._refresh()
        return {name: self._read(name) for name in data_key_ids}

    def find_owner(self, owner: str) -> DataKey | None:
        """Give an owner's key, if there is one."""
        self._refresh()
        name = self._by_subject.get(self._subject(owner))
        return None if name is None else self._read(name)

    def owners(self, data_key_ids: Iterable[str]) -> dict[str, str]:
        """Give whose keys these are, of those that are not destroyed."""
        keys = self.find(data_key_ids)
        return {name: decrypt(data_key.key, sealed, name.encode()).decode() for name, data_key in keys.items()
                if data_key.key is not None and (sealed := self._by_id[name][1]) is not None}

    def destroyed_ids(self) -> list[str]:
        """Give the ids of the keys that were destroyed."""
        self._refresh()
        return [name for name, (wrapped, _) in self._by_id.items() if wrapped is None]

    def destroy(self, owner: str) -> str:
        """Destroy an owner's key for good, also where there is none yet; give its id. Again, it changes nothing."""
        subject = self._subject(owner)
        with self._locked() as lock:
            self._files.delete_leftovers()
            name = self._by_subject.get(subject, _new_id(owner))
            gone = {"data_key_id": name, "subject": subject, "wrapped_key": None, "sealed_owner": None}
            if name not in self._by_id:
                self._replace([], [_rows([gone])], lock)
            # A killed run may have left the file that it had replaced.
            for file, rows in list(self._tables.items()):
                mine = rows.filter(pc.equal(rows["data_key_id"], name))
                if mine.num_rows and mine.to_pylist() != [gone]:
                    others = rows.filter(pc.not_equal(rows["data_key_id"], name))
                    self._replace([file], [others, _rows([gone])], lock)
            self._refresh()
        return name

    def rewrap(self, wrapping_key: bytes) -> int:
        """Encrypt every key with another wrapping key; the data keys, and what they encrypted, stay as they are.

        One that a killed run has encrypted with it already is left alone.

        Returns:
            How many keys there are.
        """
        with self._locked() as lock:
            self._files.delete_leftovers()
            for file, rows in list(self._tables.items()):
                self._replace([file], [_rows([self._rewrap_row(row, wrapping_key) for row in rows.to_pylist()])], lock)
            self._wrapping_key = wrapping_key
            self._refresh()
        return sum(wrapped is not None for wrapped, _ in self._by_id.values())

    def _rewrap_row(self, row: Mapping[str, Any], wrapping_key: bytes) -> dict[str, Any]:
        name, wrapped = row["data_key_id"], row["wrapped_key"]
        if wrapped is None:
            return dict(row)
        try:
            decrypt(wrapping_key, wrapped, name.encode())
        except InvalidTag:
            wrapped = encrypt(wrapping_key, self._unwrap(name, wrapped), name.encode())
        return {**row, "wrapped_key": wrapped}

    def _subject(self, owner: str) -> bytes:
        return hmac.digest(self._root(_SUBJECTS), owner.encode(), sha256)

    def _root(self, name: str) -> bytes:
        """Give a key of the whole lake; the first time it is made."""
        if name not in self._roots:
            self._refresh()
            if name not in self._by_id:
                with self._locked() as lock:
                    if name not in self._by_id:
                        wrapped = encrypt(self._wrapping_key, secrets.token_bytes(KEY_BYTES), name.encode())
                        self._write_new([{"data_key_id": name, "subject": name.encode(), "sealed_owner": None,
                                          "wrapped_key": wrapped}], lock)
            self._roots[name] = self._unwrap(name, self._by_id[name][0] or b"")
        return self._roots[name]

    def _read(self, name: str) -> DataKey:
        if name not in self._by_id:
            raise ConfigError(f"there is no data key {name} in {self._files.place}, with which rows of this lake are "
                              "encrypted. Put back the folder of keys that belongs to the lake")
        wrapped = self._by_id[name][0]
        return DataKey(name, None if wrapped is None else self._unwrap(name, wrapped))

    def _unwrap(self, name: str, wrapped: bytes) -> bytes:
        try:
            return decrypt(self._wrapping_key, wrapped, name.encode())
        except (InvalidTag, ValueError) as error:
            raise ConfigError(f"the data keys in {self._files.place} were not encrypted with this master key. Put back "
                              "the one that they belong to; a rotation that was killed is ended by: python "
                              "utils/rotate_keys.py") from error

    def _make_row(self, owner: str, subject: bytes) -> dict[str, object]:
        name, key = _new_id(owner), secrets.token_bytes(KEY_BYTES)
        return {"data_key_id": name, "subject": subject,
                "wrapped_key": encrypt(self._wrapping_key, key, name.encode()),
                "sealed_owner": encrypt(key, owner.encode(), name.encode())}

    @contextmanager
    def _locked(self) -> Iterator[HeldLock]:
        """Keep all other writers of these files out, and know what they have written."""
        self._files.make_place()
        with hold_lock(self._files.lock_place, LOCK, self._lock_timeout) as lock:
            self._refresh()
            yield lock

    def _write_new(self, rows: Sequence[Mapping[str, object]], lock: HeldLock) -> None:
        """Add rows; many small files become one first."""
        if not rows:
            return
        live = next(((name, wrapped) for name, (wrapped, _) in self._by_id.items() if wrapped is not None), None)
        if live:
            self._unwrap(*live)  # a master key that was changed meanwhile must not be used any more
        small = [file for file, one in self._tables.items() if one.num_rows < _SMALL_FILE]
        old = small if len(small) >= _MANY_FILES else []
        self._replace(old, [_rows(rows), *(self._tables[file] for file in old)], lock)
        self._refresh()

    def _replace(self, old: Iterable[str], tables: Sequence[pa.Table], lock: HeldLock) -> None:
        lock.check()
        self._files.write(pa.concat_tables(tables))
        for file in old:
            lock.check()
            self._files.delete(file)

    def _refresh(self) -> None:
        while (names := self._files.names()) != self._tables.keys():
            read = {name: self._files.read(name) for name in names - self._tables.keys()}
            added = {name: rows for name, rows in read.items() if rows is not None}
            if gone := self._tables.keys() - names:
                for name in gone:
                    del self._tables[name]
                self._by_subject, self._by_id = {}, {}
            for rows in (self._tables | added if gone else added).values():
                self._index(rows)
            self._tables |= added

    def _index(self, rows: pa.Table) -> None:
        for name, subject, wrapped, sealed in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            # Of two rows, which a killed run has left, the destroyed one holds.
            if self._by_id.get(name, (b"", b""))[0] is not None:
                self._by_id[name] = (wrapped, sealed)
                self._by_subject[subject] = name


def open_data_keys(settings: Settings, lake: Lake) -> DataKeys | None:
    """Give the lake's data keys; None where `governance.pseudonyms` is off.

    Raises:
        ConfigError: there is no master key, or no place outside of the lake.
    """
    if not settings.governance.pseudonyms:
        return None
    return _open(key_place(settings, lake), lake, purpose_key(settings, WRAPPING), settings.lake.lock_timeout)


def list_destroyed(settings: Settings, lake: Lake) -> list[str]:
    """Give the ids of the lake's keys that were destroyed; it takes no master key, and makes none."""
    if not settings.governance.pseudonyms:
        return []
    return DataKeys(KeyFiles(key_place(settings, lake), lake), b"", settings.lake.lock_timeout).destroyed_ids()


@cache  # a process reads each file of keys once
def _open(place: str, lake: Lake, wrapping_key: bytes, lock_timeout: float) -> DataKeys:
    return DataKeys(KeyFiles(place, lake), wrapping_key, lock_timeout)


@dataclass(frozen=True)
class Opener:
    """Opens rows that are encrypted with some keys; see open_rows.

    Attributes:
        keys: by their ids.
        owners: the id of a key that is not destroyed -> whose it is.
    """

    keys: Mapping[str, DataKey]
    owners: Mapping[str, str]

    def is_erased(self, data_key_id: str | None) -> bool:
        """Tell whether what has this key cannot be opened any more."""
        return data_key_id == OUTSIDE or (data_key_id is not None and self.keys[data_key_id].key is None)

    def open(self, data_key_id: str | None, sealed: bytes | None, place: str, part: str) -> bytes | None:
        """Give a part of a row as it came.

        Args:
            data_key_id: the row's; None where it is in the clear.
            place: the row's coordinates, `origin/partition/offset`.
            part: key, value or header.

        Raises:
            ConfigError: the key was destroyed, or the row is not what was encrypted.
        """
        if data_key_id is None or sealed is None:
            return sealed
        if self.is_erased(data_key_id):
            raise ConfigError(f"the row {place} is of a user who was erased, and was left by a run that broke off. Run "
                              "utils/erase_user.py with that user again")
        if part == KEY and sealed == THE_OWNER:
            return self.owners[data_key_id].encode()
        try:
            return decrypt(self.keys[data_key_id].key or b"", sealed, f"{place}/{part}".encode())
        except InvalidTag as error:
            raise ConfigError(f"the {part} of the row {place} is not what was encrypted there: somebody has changed "
                              "it, or has put it there from another row") from error


def open_rows(data_keys: DataKeys | None, data_key_ids: Iterable[str | None]) -> Opener:
    """Give what opens rows with these keys.

    Args:
        data_keys: the lake's; None where it has none.

    Raises:
        ConfigError: a key is not here.
    """
    names = {name for name in data_key_ids if name not in (None, OUTSIDE)}
    if names and data_keys is None:
        raise ConfigError("rows of the lake are encrypted, and governance.pseudonyms is off. Set it to true")
    return Opener(data_keys.find(names), data_keys.owners(names)) if data_keys else Opener({}, {})


def is_user_id(text: str) -> bool:
    """Tell whether a text can be a user's id: as `shoplake.streaming.seal` takes one."""
    return 1 <= len(text) <= MAX_TEXT_LENGTH and re.search(CONTROL_CHARACTERS, text) is None


def day_owner(day: str) -> str:
    """Give the owner of the key for what a day brought and no user is told of."""
    return f"{DAY}{day}"


def key_place(settings: Settings, lake: Lake) -> str:
    """Give where the data keys lie: governance.data_keys, or for a lake on this machine a folder beside its key.

    Raises:
        ConfigError: it is not said for a lake in a bucket, or lies below the lake.
    """
    place = settings.governance.data_keys.rstrip("/")
    if not place:
        if not lake.is_local:
            raise ConfigError(f"the lake {lake.root} is in a bucket: governance.data_keys (SHOPLAKE_GOVERNANCE__"
                              "DATA_KEYS) must say where its data keys lie, gs://another-bucket/prefix")
        return str(key_folder(settings) / LOCK)
    if not place.startswith(BUCKETS):
        raise ConfigError(f"governance.data_keys is {place}; it may be gs://bucket/prefix, or nothing for a lake on "
                          "this machine, whose keys lie in <data_dir>/keys")
    if f"{place}/".startswith(f"{lake.root.rstrip('/')}/"):
        raise ConfigError(f"governance.data_keys, {place}, lies below the lake {lake.root}: an old copy of the lake "
                          "would hold keys that were destroyed since. Name another bucket")
    return place


def _new_id(owner: str) -> str:
    return (DAY_KEY if owner.startswith(DAY) else _USER_KEY) + secrets.token_hex(_ID_BYTES)


def _rows(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
