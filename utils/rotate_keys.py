"""Put another master key in the place of the lake's: every data key is encrypted with the new one.

The data keys themselves, what they encrypted, and the pseudonyms stay as they are, so no table is written again. With
the master key change: ops.audit, which is checked and set aside whole while another log begins; the hashes that roles
see (so run gcp/bigquery_client.py create after it); the key that signs receipts. For a key that somebody may have
seen, and every so often.

A key in the folder of keys is made anew there. One in SHOPLAKE_GOVERNANCE__KEY or Secret Manager needs the next one in
SHOPLAKE_GOVERNANCE__NEXT_KEY, which must be put in its place when this has ended. Stop the stream first: it would go on
with the old key. Killed in the middle, run it again; if ops.audit is refused then, utils/verify_audit.py --set-aside
first.
"""

import argparse
import sys

from shoplake.errors import EXIT_OK, AuditError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, load_settings


def main(argv: list[str] | None = None) -> int:
    """Rotate; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="rotate_keys.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: rotate(flags))


def rotate(flags: argparse.Namespace) -> int:
    """Encrypt the data keys anew with all writers of records locked out, then change the key."""
    settings = load_settings(flags.profile)
    configure_logging(settings.log_level)
    from pydantic import SecretStr

    from shoplake.governance.audit import audited, set_aside, verify
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.data_keys import WRAPPING, open_data_keys
    from shoplake.lake.keys import next_key, purpose_key, take_next_key
    from shoplake.lake.locks import INGEST, STREAM, hold_lock

    lake = locate_lake(settings)
    # Whatever this run's settings say: keys that are there must not be left with the old one.
    governance = settings.governance.model_copy(update={"pseudonyms": settings.governance.pseudonyms or lake.is_local})
    data_keys = open_data_keys(settings.model_copy(update={"governance": governance}), lake)
    with hold_lock(lake, STREAM, timeout=0), hold_lock(lake, INGEST, settings.lake.lock_timeout):
        if lake.is_local and (wrong := verify(lake, settings).wrong):  # with the old key goes what shows it
            raise AuditError(f"ops.audit is not as it was written ({wrong[0]}); nothing was changed. "
                             "Look with: python utils/verify_audit.py")
        key = next_key(settings)
        with audited(lake, settings, "rotate", "master key"):
            count = data_keys.rewrap(purpose_key(settings, WRAPPING, key)) if data_keys else 0
        take_next_key(settings)
        if lake.is_local:
            changed = settings.governance.model_copy(update={"key": SecretStr(key.hex())})
            set_aside(lake, settings.model_copy(update={"governance": changed}), "the master key was changed")
    is_elsewhere = bool(settings.governance.next_key.get_secret_value())
    report = {"keys": count, "is_elsewhere": is_elsewhere}
    text = f"{count:,} data keys are encrypted with the new master key."
    if is_elsewhere:
        text += ("\nNow put SHOPLAKE_GOVERNANCE__NEXT_KEY's value where the old key is (SHOPLAKE_GOVERNANCE__KEY, or "
                 "the secret), before anything else runs.")
    print_result(report, text, flags.json)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
