"""Who is logged in to this dashboard, who may try to be, and with which role."""

import hashlib
import hmac
import logging
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from threading import Lock

from shoplake.dashboards.users import User, is_password, load_users
from shoplake.errors import ConfigError, ShoplakeError
from shoplake.settings import LOOPBACK, Settings, load_settings

LOG = logging.getLogger("shoplake.logins")
COOKIE = "shoplake_session"
_BUCKETS = 4096  # of names that were tried: bounded, whatever is tried
_MOST_SESSIONS = 10_000
_MOST_WAITING = 4  # passwords that are looked at or wait for it; each takes 32 MB and a core


class TooManyTries(Exception):
    """There were too many wrong passwords under this name, or there are too many people at the door."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who may look: the name (empty where no login is asked for) and the role of configs/roles.yaml."""

    name: str
    role: str


@dataclass(frozen=True)
class _Session:
    name: str
    user: User
    until: float


class Logins:
    """The people who are logged in to this process; sessions end with it.

    Where the profile is local and no users' file is there, no login is asked for. The file is read at every look, so
    whoever is taken out of it, or is given another password or role, has to log in again.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        """Take the settings; `now` is a clock in seconds.

        Raises:
            ConfigError: the profile is not local, and there are no users; or their file is not as it should be.
        """
        self._settings = settings
        self._now = now
        self._file = settings.dashboard_users_path
        self._sessions: dict[bytes, _Session] = {}
        self._failures: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=settings.dashboard.login_tries))
        self._pepper = secrets.token_bytes(32)  # nobody can choose a name that fills another one's bucket
        self._lock, self._one_at_a_time, self._waiting = Lock(), Lock(), 0
        if settings.profile != "local" and not load_users(self._file):
            raise ConfigError(
                f"the dashboard of the profile {settings.profile} asks for a login, and {self._file} has no users. "
                "Make one: python utils/dashboard_user.py set NAME --profile " + settings.profile)

    @property
    def is_needed(self) -> bool:
        """Whether somebody must log in; from the first user on, also in a dashboard that runs."""
        return self._settings.profile != "local" or bool(load_users(self._file))

    def log_in(self, name: str, password: str) -> str | None:
        """Give the token of a new session, or None if name and password do not fit.

        Raises:
            TooManyTries: ask again after dashboard.login_wait.
        """
        bucket, limits = self._bucket(name), self._settings.dashboard
        with self._lock:
            tries = self._failures.get(bucket, deque())
            recent = [moment for moment in tries if moment > self._now() - limits.login_wait]
            if len(recent) >= limits.login_tries or self._waiting >= _MOST_WAITING:
                raise TooManyTries
            # Counted before the answer is known: tries at the same time count too.
            self._failures[bucket].append(self._now())
            self._waiting += 1
        try:
            with self._one_at_a_time:
                user = load_users(self._file).get(name)
                fits = is_password(user, password)
        finally:
            with self._lock:
                self._waiting -= 1
        # What was typed as a name may be a password.
        LOG.info("login %s: %s", name if user else "under an unknown name", "done" if fits else "refused")
        if user is None or not fits:
            return None
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._failures.pop(bucket, None)
            self._forget_old()
            self._sessions[_digest(token)] = _Session(name, user, self._now() + limits.session_hours * 3600)
        return token

    def log_out(self, token: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(token), None)

    def find_visitor(self, cookies: Mapping[str, str]) -> Visitor | None:
        """Give who sent these cookies; None if it is nobody who may look."""
        default = self._settings.governance.role
        if not self.is_needed:
            return Visitor("", default)
        with self._lock:
            session = self._sessions.get(_digest(cookies.get(COOKIE, "")))
        if session is None or session.until <= self._now() or load_users(self._file).get(session.name) != session.user:
            return None
        return Visitor(session.name, session.user.role or default)

    def admit(self, cookies: Mapping[str, str]) -> Visitor:
        """Give who sent these cookies.

        Raises:
            ShoplakeError: it is nobody who may look; the login has ended, or no door was before this page.
        """
        visitor = self.find_visitor(cookies)
        if visitor is None:
            raise ShoplakeError("you are not logged in, or not any more; load this page again")
        return visitor

    def _bucket(self, name: str) -> int:
        return int.from_bytes(hmac.digest(self._pepper, name.encode(errors="replace"), "sha256")[:8]) % _BUCKETS

    def _forget_old(self) -> None:
        for key in [key for key, session in self._sessions.items() if session.until <= self._now()]:
            del self._sessions[key]
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]


@cache
def open_logins(profile: str | None) -> Logins:
    """Give this process's one, for the server and for the pages that it shows.

    Raises:
        ConfigError: see Logins.
    """
    return Logins(load_settings(profile))


def check_address(address: str | None, logins: Logins) -> None:
    """Refuse a server that everybody could ask and that asks nobody who they are.

    Args:
        address: on which the server listens; None is every address.

    Raises:
        ConfigError: there is no login, and the address is not this machine's own.
    """
    if not logins.is_needed and address not in LOOPBACK:
        raise ConfigError(f"the dashboard would listen on {address or 'every address'} without a login. Leave out "
                          "--server.address, or make a user: python utils/dashboard_user.py set NAME --role viewer")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
