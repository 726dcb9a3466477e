"""Data keys in a bucket: as in a folder, for every process alike."""

import pytest

from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.buckets import list_objects, read_object
from shoplake.lake.data_keys import DataKeys
from shoplake.lake.key_files import KeyFiles
from shoplake.settings import load_settings

pytestmark = pytest.mark.cloud
USERS = [f"user-{number}" for number in range(5)]


@pytest.fixture
def place(bucket: str) -> str:
    return f"gs://{bucket}/keys"


@pytest.fixture
def lake(bucket: str) -> Lake:
    return locate_lake(load_settings())


def open_keys(place: str, lake: Lake) -> DataKeys:
    return DataKeys(KeyFiles(place, lake), b"w" * 32, 30)


def test_keys_are_made_found_and_destroyed(place: str, lake: Lake) -> None:
    first, second = open_keys(place, lake), open_keys(place, lake)
    made = first.find_or_make(USERS)
    assert second.find_or_make(USERS) == made
    assert second.pseudonym("user-1") == first.pseudonym("user-1")
    before = {one.address for one in list_objects(lake, f"{place}/")}
    second.destroy("user-1")
    after = {one.address for one in list_objects(lake, f"{place}/")}
    assert len(before - after) == len(after - before) == 1, "the file with the key is another one now"
    assert not any((made["user-1"].key or b"") in (read_object(lake, address) or (b"",))[0] for address in after)
    assert first.find_or_make(USERS)["user-1"].key is None
    assert first.find_or_make(USERS)["user-2"] == made["user-2"]
    first.rewrap(b"x" * 32)
    with pytest.raises(Exception, match="not encrypted with this master key"):
        second.find_or_make(USERS)
