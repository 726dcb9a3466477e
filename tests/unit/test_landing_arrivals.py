"""Files in the landing folder: which are whole, and that leaving it loses and overwrites nothing."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from shoplake.arrivals import (
    MAX_NAME_BYTES,
    Arrival,
    clean_name,
    find_arrivals,
    is_settled,
    is_unchanged,
    move_to_done,
    open_arrival,
    set_aside,
)

SHA = "0123456789abcdef" * 4


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "landing"
    (folder / "events").mkdir(parents=True)
    return folder


def put(path: Path, text: str = "x\n") -> Arrival:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    landing = path.parents[1]
    return next(arrival for arrival in find_arrivals(landing) if arrival.path == path)


def test_a_landing_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert find_arrivals(tmp_path / "absent") == []


def test_what_lies_there_is_found_with_its_folder_and_ours_and_hidden_names_are_not(landing: Path) -> None:
    for name in ("events/a.csv", "events/.b.csv", ".hidden/c.csv", "done/events/d.csv", "rejected/e.csv", "other/f",
                 "g.csv"):
        (landing / name).parent.mkdir(parents=True, exist_ok=True)
        (landing / name).touch()
    assert {(arrival.folder, arrival.path.name) for arrival in find_arrivals(landing)} == {
        ("events", "a.csv"), ("other", "f"), (None, "g.csv")}


@pytest.mark.parametrize(("module", "name"), [(os, "scandir"), (Path, "lstat")], ids=["no r", "no x"])
def test_a_folder_that_cannot_be_read_does_not_stop_the_others(
    landing: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, module: Any, name: str,
) -> None:
    """Deny it here, for the tests may run as root, who reads everything."""
    put(landing / "online_retail" / "a.csv")
    put(landing / "events" / "b.csv")
    closed, call = landing / "online_retail", getattr(module, name)

    def deny(path: Path) -> Any:
        if closed in ([path] if name == "scandir" else path.parents):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return call(path)

    monkeypatch.setattr(module, name, deny)
    assert [arrival.label for arrival in find_arrivals(landing)] == ["events/b.csv"]
    [warning] = caplog.messages
    assert "online_retail" in warning
    assert "Permission denied" in warning


def test_a_landing_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "landing").touch()
    with pytest.raises(NotADirectoryError):
        find_arrivals(tmp_path / "landing")


def test_the_oldest_comes_first(landing: Path) -> None:
    for name in ("b", "c", "a"):
        put(landing / "events" / name)
        time.sleep(0.02)  # the file system's clock ticks in milliseconds
    (landing / "events" / "b").write_text("again")
    assert [arrival.name for arrival in find_arrivals(landing)] == ["c", "a", "b"]


def test_links_folders_and_pipes_are_no_files_and_a_linked_folder_is_not_entered(landing: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").touch()
    (landing / "linked").symlink_to(secret)
    (landing / "events" / "link").symlink_to(secret / "key")
    (landing / "events" / "folder").mkdir()
    os.mkfifo(landing / "events" / "pipe")
    found = find_arrivals(landing)
    assert {arrival.label for arrival in found} == {"linked", "events/link", "events/folder", "events/pipe"}
    assert not any(arrival.is_file for arrival in found)


def test_a_file_is_whole_when_nobody_touched_it_for_a_while(landing: Path) -> None:
    file = landing / "events" / "a.csv"
    assert not is_settled(put(file), 0.2)
    os.utime(file, (1, 1))  # a copy that keeps the old times: 1970 does not make it whole
    assert not is_settled(find_arrivals(landing)[0], 0.2)
    time.sleep(0.25)
    assert is_settled(find_arrivals(landing)[0], 0.2)
    with file.open("a") as growing:
        growing.write("more")
    assert not is_settled(find_arrivals(landing)[0], 0.2)


@pytest.mark.parametrize("name", ["a.csv.part", "a.TMP", "a.csv~", "x.crdownload", "n" * 200 + ".filepart"])
def test_a_temporary_name_is_never_whole(landing: Path, name: str) -> None:
    assert not is_settled(put(landing / "events" / name), 0)


def test_a_change_is_seen_even_if_size_and_time_were_put_back(landing: Path) -> None:
    file = landing / "events" / "a.csv"
    arrival = put(file, "abc")
    assert is_unchanged(arrival)
    times = file.stat()
    time.sleep(0.02)
    file.write_text("xyz")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not is_unchanged(arrival)
    file.unlink()
    assert not is_unchanged(arrival)


@pytest.mark.parametrize(("name", "clean"), [
    ("a b.csv", "a b.csv"), ("größe.csv", "größe.csv"), ("a\nb\x1b[31m.csv", "a_b_[31m.csv"),
    ("\u202egpj.csv", "_gpj.csv"), (os.fsdecode(b"\xff.csv"), "\ufffd.csv"), ("-rf", "-rf"), ("", ""),
    ("ä" * 120 + ".csv", "ä" * 88 + ".csv"), ("n" * 250, "n" * MAX_NAME_BYTES), ("." + "n" * 250, "." + "n" * 179),
])
def test_names_can_be_printed_and_are_short(name: str, clean: str) -> None:
    assert clean_name(name) == clean
    assert len(clean_name(name).encode()) <= MAX_NAME_BYTES


def test_done_overwrites_nothing(landing: Path) -> None:
    places = [move_to_done(put(landing / "events" / "a.csv", text), landing, SHA) for text in ("1", "2", "3", "4")]
    names = [place.name if place else None for place in places]
    assert names == ["a.csv", "a.0123456789ab.csv", "a.0123456789ab.2.csv", "a.0123456789ab.3.csv"]
    assert [place.read_text() for place in places if place] == ["1", "2", "3", "4"]
    assert {place.parent for place in places if place} == {landing / "done" / "events"}
    assert find_arrivals(landing) == []


def test_a_rejected_file_has_its_reason_beside_it_and_neither_overwrites_another(landing: Path) -> None:
    # one file is called as the reason of the other would be
    set_aside(put(landing / "events" / "a.csv.reason.txt", "a file"), landing, "first", SHA)
    set_aside(put(landing / "events" / "a.csv", "data"), landing, "second", SHA)
    folder = landing / "rejected" / "events"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "a.csv.reason.txt": "a file", "a.csv.reason.txt.reason.txt": "first\n",
        "a.0123456789ab.csv": "data", "a.0123456789ab.csv.reason.txt": "second\n"}


def test_the_longest_name_there_is_can_be_set_aside(landing: Path) -> None:
    for content in ("1", "2"):
        place = set_aside(put(landing / "events" / ("n" * 251 + ".csv"), content), landing, "broken", SHA)
        assert place is not None
        assert place.read_text() == content
        assert place.with_name(place.name + ".reason.txt").read_text() == "broken\n"


def test_a_link_is_moved_itself_and_its_target_stays(landing: Path, tmp_path: Path) -> None:
    target = tmp_path / "passwords"
    target.write_text("secret")
    (landing / "events" / "link.csv").symlink_to(target)
    place = set_aside(find_arrivals(landing)[0], landing, "a link")
    assert place is not None
    assert place.is_symlink()
    assert target.read_text() == "secret"


def test_a_folder_is_moved_with_all_that_is_in_it(landing: Path) -> None:
    (landing / "events" / "many").mkdir()
    (landing / "events" / "many" / "a.csv").write_text("1")
    place = set_aside(find_arrivals(landing)[0], landing, "a folder")
    assert place is not None
    assert (place / "a.csv").read_text() == "1"


def test_what_took_a_files_place_stays_for_the_next_look(landing: Path) -> None:
    file = landing / "events" / "a.csv"
    arrival = put(file, "old")
    other = landing / "events" / ".new"
    other.write_text("new")
    other.rename(file)
    assert move_to_done(arrival, landing, SHA) is None
    assert set_aside(arrival, landing, "broken", SHA) is None
    assert file.read_text() == "new"
    assert [path for path in landing.rglob("*") if path.is_file()] == [file]


def test_what_took_a_files_place_in_the_very_moment_of_the_move_comes_back(
    landing: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = landing / "events" / "a.csv"
    arrival = put(file, "old")
    rename = Path.rename

    def replace_first(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        newer = landing / "events" / ".new"
        newer.write_text("new")
        newer.rename(file)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", replace_first)
    assert move_to_done(arrival, landing, SHA) is None
    assert file.read_text() == "new"
    assert not list((landing / "done" / "events").iterdir())


@pytest.mark.parametrize("name", ["done", "rejected"])
@pytest.mark.parametrize("deep", [False, True])
def test_nothing_is_moved_through_a_link(landing: Path, tmp_path: Path, name: str, deep: bool) -> None:
    """Who may put files here could else write anywhere with our rights."""
    outside = tmp_path / "outside"
    outside.mkdir()
    arrival = put(landing / "events" / "profile")
    link = landing / name / "events" if deep else landing / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(OSError, match="is a link"):
        move_to_done(arrival, landing, SHA) if name == "done" else set_aside(arrival, landing, "why", SHA)
    assert [one for one in outside.rglob("*") if not one.is_dir()] == []
    assert is_unchanged(arrival)


def test_a_reason_is_not_written_through_a_link(landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that appears between the look and the writing."""
    outside = tmp_path / "outside"
    outside.write_text("ours")
    arrival = put(landing / "events" / "a.csv")
    (landing / "rejected" / "events").mkdir(parents=True)
    (landing / "rejected" / "events" / "a.csv.reason.txt").symlink_to(outside)
    monkeypatch.setattr("shoplake.arrivals._is_free", lambda path: True)
    with pytest.raises(FileExistsError):
        set_aside(arrival, landing, "why", SHA)
    assert outside.read_text() == "ours"


@pytest.mark.parametrize("trick", ["link", "another", "pipe", "gone", "folder", "grown"])
def test_what_took_a_files_place_is_not_opened(landing: Path, tmp_path: Path, trick: str) -> None:
    file = landing / "events" / "a.csv"
    arrival = put(file)
    outside = tmp_path / "key"
    outside.write_text("ours")
    if trick == "folder":  # the file itself stays as it was, elsewhere
        file.parent.rename(landing / "other")
        file.parent.symlink_to(tmp_path)
        (tmp_path / "a.csv").write_text("ours")
    elif trick == "grown":
        time.sleep(0.02)
        file.write_text("more")
    else:
        file.unlink()
    if trick == "link":
        file.symlink_to(outside)
    elif trick == "another":
        time.sleep(0.02)
        file.write_text("x\n")
    elif trick == "pipe":
        os.mkfifo(file)
    assert open_arrival(arrival) is None


def test_the_file_that_was_found_is_opened(landing: Path) -> None:
    opened = open_arrival(put(landing / "events" / "a.csv", "abc"))
    assert opened is not None
    with opened:
        assert opened.read() == b"abc"
