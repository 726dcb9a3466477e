"""Check that ops.audit is as it was written, line by line, and show its newest lines.

Keep the end that it prints where nobody who can write on this machine can write, and give it back with --expect: so
even a machine that was put back whole to an earlier state is found.

A log that does not end where it should is not written to any more, and what it would tell of is refused. After a look
at who could write to the lake, or where it was put back from a backup, moved without its keys or deleted by hand,
--set-aside moves the log away, whole, and begins another one, whose first line says why. An end that was printed before
is not in the new log.
"""

import argparse
import re
import sys
from typing import Any

from shoplake.errors import EXIT_OK, AuditError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, load_settings

MAX_SHOWN = 10_000
MAX_REASON = 500
FIRST_FINDINGS = 20
_END = re.compile(r"0:|\d{1,12}:[0-9a-f]{64}")


def main(argv: list[str] | None = None) -> int:
    """Verify; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="verify_audit.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expect", type=read_end, metavar="N:DIGEST", help="an end that an earlier run printed")
    parser.add_argument("--last", type=int, default=10, metavar="N", help="show so many lines (default: 10)")
    parser.add_argument("--set-aside", type=str.strip, metavar="REASON",
                        help="move the log away, begin another one, and say why (1 to 500 characters)")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    if not 0 <= flags.last <= MAX_SHOWN:
        parser.error(f"argument --last: {flags.last}; allowed: 0 to {MAX_SHOWN:,}")
    reason = flags.set_aside
    if reason is not None and (flags.expect or not (1 <= len(reason) <= MAX_REASON and reason.isprintable())):
        parser.error(f"argument --set-aside: wants 1 to {MAX_REASON} characters that say why, and no --expect")
    return run_to_exit_code(lambda: run(flags))


def read_end(text: str) -> str:
    """Read an end as it is printed."""
    if _END.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no end of a log; it is printed like 12:3fa9…, with 64 digits")
    return text


def run(flags: argparse.Namespace) -> int:
    """Check the log, where what is wrong is an error; or set it aside."""
    settings = load_settings(flags.profile)
    configure_logging(settings.log_level)
    from shoplake.governance.audit import set_aside, verify
    from shoplake.governance.audit_lines import NO_LINE
    from shoplake.lake.addresses import locate_lake

    lake = locate_lake(settings)
    if flags.set_aside is not None:
        moved = set_aside(lake, settings, flags.set_aside)
        print_result({"moved_to": str(moved) if moved else None},
                     f"The log is in {moved} now, and another one has begun." if moved else
                     "There was no log; one has begun.", flags.json)
        return EXIT_OK
    found = verify(lake, settings, flags.last)
    wrong = list(found.wrong)
    if flags.expect and flags.expect not in map(str, [NO_LINE, *found.ends]):
        wrong.append(f"line {flags.expect.split(':')[0]} is not the one that was printed earlier")
    result = {"end": str(found.end), "lines": len(found.ends), "findings": wrong,
              "last": [{**line, "recorded_at": line["recorded_at"] and line["recorded_at"].isoformat()}
                       for line in found.last]}
    print_result(result, describe(result), flags.json)
    if wrong:
        raise AuditError(f"ops.audit in {lake.root} is not as it was written, at {len(wrong):,} places. Keep a copy of "
                         "the lake, and find out who could write to it. Then: "
                         "python utils/verify_audit.py --set-aside 'what was found'")
    return EXIT_OK


def describe(result: dict[str, Any]) -> str:
    """Say in words what was found."""
    names = ("sequence", "recorded_at", "actor", "action", "subject", "outcome", "details")
    lines = ["  ".join(str(line[name]) for name in names) for line in result["last"]]
    lines += [f"wrong: {finding}" for finding in result["findings"][:FIRST_FINDINGS]]
    if len(result["findings"]) > FIRST_FINDINGS:
        lines.append(f"and {len(result['findings']) - FIRST_FINDINGS:,} more (--json tells all)")
    return "\n".join([*lines, f"{result['lines']:,} lines; the end is {result['end']}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
