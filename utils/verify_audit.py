"""Check that ops.audit is as it was written, line by line, and show its newest lines.

Keep the head that it prints where nobody who can write to the lake can write, and give it back with --expect: so even a
lake that was put back whole to an earlier state is found.
"""

import argparse
import re
import sys
from typing import Any

from shoplake.errors import EXIT_OK, AuditError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, load_settings

_HEAD = re.compile(r"(\d{1,12}):([0-9a-f]{64})")


def main(argv: list[str] | None = None) -> int:
    """Verify; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expect", type=read_head, metavar="N:DIGEST", help="a head that an earlier run printed")
    parser.add_argument("--last", type=int, default=10, metavar="N", help="show so many lines (default: 10)")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if not 0 <= flags.last <= 10_000:
        parser.error(f"argument --last: {flags.last}; allowed: 0 to 10,000")
    return run_to_exit_code(lambda: verify_log(flags))


def read_head(text: str) -> tuple[int, str]:
    """Read a head as it is printed."""
    match = _HEAD.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no head; it is printed like 12:3fa9…, with 64 digits")
    return int(match[1]), match[2]


def verify_log(flags: argparse.Namespace) -> int:
    """Check the log; what is wrong is an error."""
    settings = load_settings(flags.profile)
    configure_logging(settings.log_level)
    from shoplake.governance.audit import read_lines, verify
    from shoplake.lake.addresses import locate_lake

    lake = locate_lake(settings)
    head, findings = verify(lake, settings)
    lines = read_lines(lake)
    if flags.expect and not any((line["sequence"], line["digest"]) == flags.expect for line in lines):
        findings.append(f"line {flags.expect[0]} is not the one that was printed earlier")
    result = {"head": f"{head.sequence}:{head.digest}", "lines": len(lines), "findings": findings,
              "last": [{**line, "recorded_at": line["recorded_at"].isoformat()} for line in
                       lines[len(lines) - min(flags.last, len(lines)):]]}
    print_result(result, describe(result), flags.json)
    if findings:
        raise AuditError(f"the audit log is not as it was written, at {len(findings)} places: {findings[0]}. Keep the "
                         "lake as it is, find out who could write to it, and go on with another one")
    return EXIT_OK


def describe(result: dict[str, Any]) -> str:
    """Say in words what was found."""
    names = ("sequence", "recorded_at", "actor", "action", "subject", "outcome", "details")
    lines = ["  ".join(str(line[name]) for name in names) for line in result["last"]]
    return "\n".join([*lines, *result["findings"], f"{result['lines']:,} lines; head {result['head']}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
