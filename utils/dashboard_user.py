"""Say who may log in to the dashboard, and what each of them sees.

`set NAME` makes a user or gives one another password and role; the password is asked for, or is the first line of the
standard input where that is no terminal. `remove NAME` takes one out, and whoever is logged in under the name is out at
once. The file of the users (dashboard.users_file) holds hashes of the passwords, and is for its owner alone.
"""

import argparse
import getpass
import sys
from pathlib import Path

from shoplake.errors import EXIT_OK, ConfigError
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, load_settings


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("set", "remove", "list"))
    parser.add_argument("name", nargs="?", default="", help="the user's name")
    parser.add_argument("--role", default="", help="of configs/roles.yaml (default: governance.role)")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: change_users(arguments))


def change_users(arguments: argparse.Namespace) -> int:
    """Do it, and print who may log in now."""
    from shoplake.dashboards.users import load_users, make_user, save_users
    from shoplake.governance.audit import audited
    from shoplake.lake.addresses import locate_lake

    settings = load_settings(arguments.profile)
    file = settings.dashboard_users_path
    users, name = load_users(file), arguments.name
    if arguments.action == "set":
        check_role(arguments.role or settings.governance.role)
        users[name] = make_user(name, arguments.role, read_password(name))
    elif arguments.action == "remove":
        if name not in users:
            raise ConfigError(f"there is no user {name!r} in {file}; there are: {', '.join(users) or 'none'}")
        del users[name]
    if arguments.action != "list":
        details = {"role": users[name].role} if name in users else {}
        with audited(locate_lake(settings), settings, f"{arguments.action}_login", name, details):
            save_users(file, users)
    roles = {one: user.role or settings.governance.role for one, user in users.items()}
    print_result({"file": str(file), "users": roles}, render_users(roles, file), arguments.json)
    return EXIT_OK


def check_role(role: str) -> None:
    """Refuse a role that is none, before anybody has it."""
    from shoplake.governance.roles import find_role

    find_role(role)


def read_password(name: str) -> str:
    """Ask for a password twice, or take it from the standard input.

    Raises:
        ConfigError: it was typed in two ways.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Once more: ") != first:
        raise ConfigError("these are two passwords; nothing was changed")
    return first


def render_users(roles: dict[str, str], file: Path) -> str:
    """Write the users for a person."""
    if not roles:
        return f"nobody may log in: {file} has no users"
    return "\n".join([f"in {file}:", *(f"  {name}  {role}" for name, role in roles.items())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
