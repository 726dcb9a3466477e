"""Keys of persons: made once, found by everybody, gone for good when destroyed."""

import hmac
import os
import secrets
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from raw_records import clear_bytes

from shoplake.errors import ConfigError, LockError, StorageError
from shoplake.lake import data_keys as module
from shoplake.lake.addresses import Lake
from shoplake.lake.data_keys import DataKeys, day_owner, encrypt, key_place, open_data_keys, open_rows
from shoplake.lake.key_files import KeyFiles
from shoplake.lake.keys import next_key, purpose_key, take_next_key
from shoplake.lake.locks import hold_lock
from shoplake.settings import Settings, load_settings

USERS = [f"U{number:06}" for number in range(20)]
AT = "origin/0/7"


@pytest.fixture
def settings(pseudonyms: None) -> Settings:
    return load_settings()


@pytest.fixture
def keys(settings: Settings, lake: Lake) -> DataKeys:
    return another(settings, lake)


def another(settings: Settings, lake: Lake) -> DataKeys:
    """Give the keys as another process sees them."""
    return DataKeys(KeyFiles(key_place(settings, lake), lake), purpose_key(settings, "data keys"), 30)


def files_of(settings: Settings, lake: Lake) -> list[Path]:
    return sorted(Path(key_place(settings, lake)).glob("*.parquet"))


def test_a_person_has_one_key_which_every_process_finds(settings: Settings, lake: Lake, keys: DataKeys) -> None:
    made = keys.find_or_make(USERS)
    assert len({key.key for key in made.values()}) == len({key.data_key_id for key in made.values()}) == len(USERS)
    assert all(len(key.key or b"") == 32 for key in made.values())
    assert another(settings, lake).find_or_make(reversed(USERS)) == made
    assert keys.owners([made["U000003"].data_key_id]) == {made["U000003"].data_key_id: "U000003"}
    assert {key.data_key_id[0] for key in made.values()} == {"u"}
    assert keys.find_or_make([day_owner("2026-01-02")])[day_owner("2026-01-02")].data_key_id[0] == "d"


def test_nothing_of_persons_or_keys_can_be_read_in_the_files(settings: Settings, lake: Lake, keys: DataKeys) -> None:
    made = keys.find_or_make(USERS)
    for file in files_of(settings, lake):
        assert file.stat().st_mode & 0o77 == 0, "others may read it"
        content = clear_bytes(file)
        for user, key in made.items():
            assert user.encode() not in content
            assert keys.pseudonym(user).encode() not in content
            assert (key.key or b"") not in content
            assert repr(key.key).encode() not in content


def test_a_pseudonym_is_the_hmac_that_the_documents_say(settings: Settings, lake: Lake, keys: DataKeys) -> None:
    found = keys.pseudonym("Zoë 1")
    master = bytes.fromhex((settings.data_path / "keys" / "governance.key").read_text())
    wrapping = hmac.new(master, b"data keys", sha256).digest()
    (root,) = (row for file in files_of(settings, lake) for row in pq.read_table(file).to_pylist()
               if row["data_key_id"] == "pseudonyms")
    key = AESGCM(wrapping).decrypt(root["wrapped_key"][:12], root["wrapped_key"][12:], b"pseudonyms")
    assert found == hmac.new(key, "Zoë 1".encode(), sha256).hexdigest()[:32]
    assert another(settings, lake).pseudonym("Zoë 1") == found != keys.pseudonym("Zoë 2")


def test_a_destroyed_key_is_in_no_file_and_no_process_gives_another(
    settings: Settings, lake: Lake, keys: DataKeys,
) -> None:
    other = another(settings, lake)
    made = other.find_or_make(USERS)
    wrapped = {row["data_key_id"]: row["wrapped_key"] for file in files_of(settings, lake)
               for row in pq.read_table(file).to_pylist()}
    gone = made["U000004"].data_key_id
    assert keys.destroy("U000004") == gone
    assert not any(wrapped[gone] in file.read_bytes() for file in files_of(settings, lake))
    after = other.find_or_make(USERS)
    assert after["U000004"].key is None
    assert {user: key for user, key in after.items() if user != "U000004"} == {
        user: key for user, key in made.items() if user != "U000004"}
    before = files_of(settings, lake)
    assert keys.destroy("U000004") == gone
    assert files_of(settings, lake) == before, "a second time changes nothing"
    assert keys.destroyed_ids() == [gone]
    unseen = keys.destroy("never seen")
    assert other.find_or_make(["never seen"])["never seen"] == module.DataKey(unseen, None)


def test_what_a_killed_destruction_left_is_destroyed_by_the_next(
    settings: Settings, lake: Lake, keys: DataKeys, monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys.find_or_make(USERS)

    def die(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeyFiles, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            keys.destroy("U000004")
    # The old file is there beside the new one: the destroyed row holds, whichever is read first.
    assert another(settings, lake).find_or_make(["U000004"])["U000004"].key is None
    assert len([1 for file in files_of(settings, lake) if pq.read_table(file).num_rows >= len(USERS)]) == 2
    another(settings, lake).destroy("U000004")
    rows = [row for file in files_of(settings, lake) for row in pq.read_table(file).to_pylist()]
    assert not [row for row in rows if row["data_key_id"] in keys.destroyed_ids() and row["wrapped_key"]]
    assert another(settings, lake).find_or_make(USERS[:3]) == keys.find_or_make(USERS[:3])


def test_many_small_files_become_one(
    settings: Settings, lake: Lake, keys: DataKeys, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MANY_FILES", 4)
    reader = another(settings, lake)
    made = {}
    for user in USERS:
        made |= keys.find_or_make([user])
        assert reader.find_or_make([user]) == {user: made[user]}
    assert len(files_of(settings, lake)) <= 4
    assert another(settings, lake).find_or_make(USERS) == made


def make_in_a_process(place: str, root: str, wrapping_key: bytes) -> dict[str, str]:
    keys = DataKeys(KeyFiles(place, Lake(root)), wrapping_key, 60)
    return {user: key.data_key_id for user, key in keys.find_or_make(USERS).items()}


def test_processes_that_make_keys_at_once_agree(settings: Settings, lake: Lake) -> None:
    wrapping_key, place = purpose_key(settings, "data keys"), key_place(settings, lake)
    with ProcessPoolExecutor(3) as pool:
        found = [*pool.map(make_in_a_process, [place] * 6, [lake.root] * 6, [wrapping_key] * 6)]
    assert found.count(found[0]) == 6
    assert len(set(found[0].values())) == len(USERS)


def test_another_master_key_opens_nothing_and_a_rotation_changes_no_data_key(
    settings: Settings, lake: Lake, keys: DataKeys, monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, pseudonym = keys.find_or_make(USERS), keys.pseudonym("U000001")
    keys.destroy("U000009")
    stranger = DataKeys(KeyFiles(key_place(settings, lake), lake), secrets.token_bytes(32), 30)
    with pytest.raises(ConfigError, match="not encrypted with this master key"):
        stranger.find_or_make(USERS)

    wanted = purpose_key(settings, "data keys", next_key(settings))
    write, written = KeyFiles.write, []

    def write_two(self: KeyFiles, rows: pa.Table) -> str:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(rows)
        return write(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(KeyFiles, "write", write_two)
        with pytest.raises(KeyboardInterrupt):
            keys.rewrap(wanted)
    again = another(settings, lake)  # a new process, with the old master key still
    assert again.rewrap(wanted) == len(USERS) - 1 + 2, "two roots, and one key was destroyed"
    take_next_key(settings)
    after = another(settings, lake)
    assert after.pseudonym("U000001") == pseudonym
    assert {user: key.key for user, key in after.find_or_make(USERS).items()} == {
        user: None if user == "U000009" else key.key for user, key in made.items()}
    assert purpose_key(settings, "data keys") == wanted
    assert not (settings.data_path / "keys" / "next.key").exists()


def test_payloads_open_only_as_and_where_they_were_encrypted(keys: DataKeys) -> None:
    made = keys.find_or_make(["U1", "U2", day_owner("2026-01-02")])
    mine, day = made["U1"], made[day_owner("2026-01-02")]
    value = encrypt(mine.key or b"", b"{}", f"{AT}/value".encode())
    opener = open_rows(keys, [key.data_key_id for key in made.values()])
    assert opener.open(mine.data_key_id, value, AT, "value") == b"{}"
    assert opener.open(mine.data_key_id, b"", AT, "key") == b"U1"
    assert opener.open(mine.data_key_id, None, AT, "key") is None
    assert open_rows(None, [None]).open(None, b"k", AT, "key") == b"k"
    assert opener.open(day.data_key_id, encrypt(day.key or b"", b"", f"{AT}/key".encode()), AT, "key") == b""
    for name, sealed, place, part in (
        (mine.data_key_id, value, "origin/0/8", "value"), (made["U2"].data_key_id, value, AT, "value"),
        (mine.data_key_id, value, AT, "key"), (mine.data_key_id, value[:-1] + b"x", AT, "value"),
        (mine.data_key_id, value[:20], AT, "value"),
    ):
        with pytest.raises(ConfigError, match="somebody has changed it"):
            opener.open(name, sealed, place, part)
    with pytest.raises(InvalidTag):
        module.decrypt(made["U2"].key or b"", value, f"{AT}/value".encode())
    with pytest.raises(ConfigError, match="no data key uffff"):
        open_rows(keys, ["uffff"])
    with pytest.raises(ConfigError, match="pseudonyms is off"):
        open_rows(None, [mine.data_key_id])
    keys.destroy("U1")
    with pytest.raises(ConfigError, match="erased"):
        open_rows(keys, [mine.data_key_id]).open(mine.data_key_id, value, AT, "value")


def test_a_process_with_the_old_master_key_adds_no_key_that_nobody_could_open(
    settings: Settings, lake: Lake, keys: DataKeys,
) -> None:
    keys.find_or_make(USERS)
    old = another(settings, lake)
    old.find_or_make(USERS[:1])
    keys.rewrap(b"n" * 32)
    with pytest.raises(ConfigError, match="not encrypted with this master key"):
        old.find_or_make(["somebody new"])
    assert keys.find_owner("somebody new") is None
    assert len(keys.find_or_make([*USERS, "somebody new"])) == len(USERS) + 1


def test_two_lakes_that_share_a_folder_of_keys_share_its_lock(settings: Settings, lake: Lake, keys: DataKeys) -> None:
    keys.find_or_make(USERS[:1])
    files = KeyFiles(key_place(settings, lake), Lake(f"{lake.root}-other"))
    other = DataKeys(files, purpose_key(settings, "data keys"), 0)
    with hold_lock(Lake(key_place(settings, lake)), "data_keys", 0), pytest.raises(LockError):
        other.find_or_make(["bob"])
    assert other.find_or_make(["bob"]) == keys.find_or_make(["bob"])


def test_what_a_killed_writer_left_goes_with_the_next_destruction(
    settings: Settings, lake: Lake, keys: DataKeys, monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys.find_or_make(USERS)
    place = Path(key_place(settings, lake))
    whole = next(file for file in place.glob("*.parquet") if pq.read_table(file).num_rows == len(USERS))
    (place / f".{whole.name}.x7").write_bytes(whole.read_bytes())
    keys.destroy("U000002")
    assert not [*place.glob(".*.parquet.*")]


def test_others_may_not_look_into_the_folder_whatever_the_umask_is(
    settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = os.umask(0o002)
    try:
        another(settings, lake).find_or_make(USERS)
    finally:
        os.umask(before)
    folder = Path(key_place(settings, lake))
    assert [one.stat().st_mode & 0o777 for one in (folder, folder.parent)] == [0o700, 0o700]
    folder.chmod(0o770)
    with pytest.raises(ConfigError, match=f"chmod 700 {folder}"):
        another(settings, lake).find_or_make(["another"])


def test_keys_lie_outside_of_the_lake(settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_place(settings, lake) == str(settings.data_path.resolve() / "keys" / "data_keys")
    bucket = Lake("gs://shop/lake")
    with pytest.raises(ConfigError, match="SHOPLAKE_GOVERNANCE__DATA_KEYS"):
        key_place(settings, bucket)
    for place, message in (("gs://shop/lake/keys/", "lies below the lake"), ("/somewhere", "it may be gs://")):
        monkeypatch.setenv("SHOPLAKE_GOVERNANCE__DATA_KEYS", place)
        with pytest.raises(ConfigError, match=message):
            key_place(load_settings(), bucket)
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__DATA_KEYS", "gs://shop-keys/lake/")
    assert key_place(load_settings(), bucket) == "gs://shop-keys/lake"
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__PSEUDONYMS", "false")
    assert open_data_keys(load_settings(), lake) is None


def test_a_damaged_file_of_keys_is_told(settings: Settings, lake: Lake, keys: DataKeys) -> None:
    keys.find_or_make(USERS)
    file = files_of(settings, lake)[0]
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StorageError, match="cannot be read"):
        another(settings, lake).find_or_make(USERS)
