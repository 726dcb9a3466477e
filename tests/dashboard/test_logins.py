"""Who may log in, how often one may try, and when a login ends; the command that makes users."""

import hashlib
import io
import json
import runpy
import threading
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from audit_log import read_acts, read_lines

from shoplake.dashboards.logins import COOKIE, Logins, TooManyTries, Visitor, check_address
from shoplake.dashboards.users import load_users, make_user, save_users
from shoplake.errors import ConfigError, ShoplakeError
from shoplake.lake.addresses import locate_lake
from shoplake.settings import PROJECT_ROOT, load_settings

AsPerson = Callable[[str, str], None]


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def log_in(logins: Logins, name: str) -> str:
    token = logins.log_in(name, f"the password of {name}")
    assert token
    return token


def test_only_the_right_password_gives_the_persons_role(as_person: AsPerson) -> None:
    as_person("ada", "viewer")
    as_person("bo", "")
    logins = Logins(load_settings())
    for name, password in (("ada", "the password of bo"), ("ada", ""), ("", ""), ("nobody", "the password of ada"),
                           ("ADA", "the password of ada"), ("bo", "the password of bo ")):
        assert logins.log_in(name, password) is None
    assert logins.find_visitor({COOKIE: log_in(logins, "ada")}) == Visitor("ada", "viewer")
    assert logins.find_visitor({COOKIE: log_in(logins, "bo")}) == Visitor("bo", "admin"), "governance.role"
    assert log_in(logins, "ada") != log_in(logins, "ada")
    for cookies in ({}, {COOKIE: ""}, {COOKIE: "ada"}, {COOKIE: "\udce4"}):
        assert logins.find_visitor(cookies) is None
        with pytest.raises(ShoplakeError, match="not logged in"):
            logins.admit(cookies)


def test_the_file_holds_what_scrypt_makes_and_is_the_owners_alone(as_person: AsPerson) -> None:
    as_person("ada", "viewer")
    as_person("bo", "viewer")
    file = load_settings().dashboard_users_path
    assert file.stat().st_mode & 0o777 == 0o600
    held = json.loads(file.read_text())
    digest = hashlib.scrypt(b"the password of ada", salt=b64decode(held["ada"]["salt"]), n=32768, r=8, p=3,
                            maxmem=2**26, dklen=32)
    assert b64decode(held["ada"]["digest"]) == digest
    assert held["ada"]["salt"] != held["bo"]["salt"]
    assert "password" not in file.read_text()
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Logins(load_settings())


@pytest.mark.parametrize("text", ["[]", "{", '{"ada": {"role": "x"}}', '{"ada": 1}', '"sesame"'])
def test_a_file_of_something_else_is_refused_and_not_told(as_person: AsPerson, text: str) -> None:
    as_person("ada", "viewer")
    load_settings().dashboard_users_path.write_text(text)
    with pytest.raises(ConfigError, match="holds no users") as raised:
        Logins(load_settings())
    assert "sesame" not in str(raised.value)


def test_tries_are_bounded_by_name_and_only_for_a_while(as_person: AsPerson) -> None:
    for name in ("ada", "bo"):
        as_person(name, "viewer")
    clock = Clock()
    logins = Logins(load_settings(), clock)
    for name in ("ada", "nobody"):  # one who is not there is treated alike
        for _ in range(5):
            assert logins.log_in(name, "guess") is None
        with pytest.raises(TooManyTries):
            logins.log_in(name, "the password of ada")
    log_in(logins, "bo")
    clock.now += 299
    with pytest.raises(TooManyTries):
        logins.log_in("ada", "the password of ada")
    clock.now += 2
    log_in(logins, "ada")
    for _ in range(4):  # a login that succeeds begins a new count
        logins.log_in("ada", "guess")
    log_in(logins, "ada")


def test_tries_at_the_same_time_are_counted_too(as_person: AsPerson) -> None:
    as_person("ada", "viewer")
    logins = Logins(load_settings())
    looked: list[bool] = []

    def guess() -> None:
        with suppress(TooManyTries):
            looked.append(logins.log_in("ada", "guess") is None)

    threads = [threading.Thread(target=guess) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(looked) <= 5


def test_a_login_ends(as_person: AsPerson) -> None:
    for name in ("ada", "bo", "cy", "dee"):
        as_person(name, "viewer")
    clock, file = Clock(), load_settings().dashboard_users_path
    logins = Logins(load_settings(), clock)
    cookies = {name: {COOKIE: log_in(logins, name)} for name in ("ada", "bo", "cy", "dee")}
    logins.log_out(cookies["ada"][COOKIE])
    as_person("bo", "admin")  # another salt, another role
    save_users(file, {name: user for name, user in load_users(file).items() if name != "cy"})
    assert [name for name, sent in cookies.items() if logins.find_visitor(sent)] == ["dee"]
    clock.now += 12 * 3600 - 1
    assert logins.find_visitor(cookies["dee"])
    clock.now += 1
    assert logins.find_visitor(cookies["dee"]) is None
    assert Logins(load_settings()).find_visitor(cookies["dee"]) is None, "another process knows nobody"


@pytest.mark.parametrize("profile", ["dev", "staging", "prod"])
def test_no_profile_but_local_goes_without_users(profile: str) -> None:
    with pytest.raises(ConfigError, match=rf"dashboard_user.py set NAME --profile {profile}"):
        Logins(load_settings(profile))


def test_the_laptop_asks_for_no_login_on_its_own_address_only(data_dir: Path) -> None:
    settings = load_settings()
    logins = Logins(settings)
    assert logins.find_visitor({}) == Visitor("", "admin")
    for address in ("127.0.0.1", "localhost"):
        check_address(address, logins)
    for elsewhere in ("0.0.0.0", None, "::", "192.168.1.2", "127.0.0.1.evil.test"):
        with pytest.raises(ConfigError, match="without a login"):
            check_address(elsewhere, logins)
    save_users(settings.dashboard_users_path, {"ada": make_user("ada", "viewer", "the password of ada")})
    assert logins.find_visitor({}) is None, "a dashboard that runs asks from then on, too"
    check_address("0.0.0.0", Logins(settings))


def run_command(monkeypatch: pytest.MonkeyPatch, *words: str, typed: str = "") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    code: int = runpy.run_path(str(PROJECT_ROOT / "utils" / "dashboard_user.py"))["main"](list(words))
    return code


def test_the_command_makes_changes_and_removes_users(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(monkeypatch, "set", "ada", "--role", "viewer", typed="correct horse battery\n") == 0
    assert run_command(monkeypatch, "set", "bo", "--json", typed="correct horse battery\r\n") == 0
    out = capsys.readouterr().out
    assert '"bo": "admin"' in out
    assert "horse" not in out
    logins = Logins(load_settings())
    assert logins.log_in("ada", "correct horse battery")
    assert logins.log_in("bo", "correct horse battery")
    assert run_command(monkeypatch, "remove", "bo") == 0
    assert logins.log_in("bo", "correct horse battery") is None
    assert run_command(monkeypatch, "list") == 0
    assert "ada  viewer" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "typed", "message"), [
    (("set", "ada"), "short\n", "5 characters"), (("set", "ada"), "", "0 characters"),
    (("set", "ada"), "x" * 257, "257 characters"), (("set", "admin"), "correct horse battery", "'admin' is no name"),
    (("set", "a b"), "correct horse battery", "is no name"), (("set",), "correct horse battery", "is no name"),
    (("set", "ada", "--role", "queen"), "correct horse battery", "queen"), (("remove", "ada"), "", "no user 'ada'"),
])
def test_the_command_refuses(
    words: tuple[str, ...], typed: str, message: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(monkeypatch, *words, typed=typed) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "horse" not in said
    assert not load_settings().dashboard_users_path.exists()


def test_who_lets_whom_in_is_in_the_audit_log(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = runpy.run_path(str(PROJECT_ROOT / "utils" / "dashboard_user.py"))["main"]
    monkeypatch.setattr("sys.stdin", io.StringIO("the password of ada\n"))
    assert main(["set", "ada", "--role", "viewer"]) == 0
    assert main(["list"]) == 0
    assert main(["remove", "ada"]) == 0
    lake = locate_lake(load_settings())
    assert read_acts(lake) == [(action, "ada", outcome) for action in ("set_login", "remove_login")
                               for outcome in ("begun", "done")]
    assert "password" not in json.dumps(read_lines(lake), default=str)
