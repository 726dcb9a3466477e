"""Begin the topic anew: delete its records and the stream's checkpoint together; with --lake all of the lake too.

It says what goes, with counts, and asks first; without a terminal it wants --yes. Refused while a stream or another
writer holds its lock. Only the topic of the settings, on the embedded broker or one on this machine, and folders of the
lake are touched. Killed in the middle, run it again.
"""

import argparse
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ConfigError, ShoplakeError, SourceError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, PROJECT_ROOT, Settings, are_here, load_settings
from shoplake.topics import connect
from shoplake.yaml_files import read_yaml

if TYPE_CHECKING:
    from kafka.admin import KafkaAdminClient

    from shoplake.lake.addresses import Lake


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", action="store_true", help="delete all tables, kept files and exports of the lake too")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Reset; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: reset(arguments))


def reset(arguments: argparse.Namespace) -> int:
    """Say what goes, ask, and delete it with every writer locked out."""
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    import kafka

    from shoplake.governance.audit import audited
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.reset import delete_folders, plan_reset

    lake = locate_lake(settings)
    check_place(settings, lake)
    with ExitStack() as stack, closing(connect(kafka, kafka.KafkaAdminClient, settings)) as admin:
        lock_writers(lake, settings, arguments.lake, stack)
        plan = plan_reset(lake, arguments.lake)
        records = count_records(admin, settings)
        report: dict[str, Any] = {"topic": settings.kafka.topic, "records": records, "lake": lake.root,
                                  "folders": [str(folder) for folder in plan.folders], "rows": plan.rows}
        if records == 0 and not plan.folders:
            print_result({**report, "deleted": False}, f"The topic {settings.kafka.topic} holds no record, and there "
                         "is no checkpoint: there is nothing to reset.", arguments.json)
            return EXIT_OK
        confirm(describe(report), arguments.yes)
        with audited(lake, settings, "reset", "lake" if arguments.lake else "stream", {"rows": plan.rows}):
            renew_topic(admin, settings, is_there=records is not None)
            delete_folders(plan.folders)
    print_result({**report, "deleted": True}, f"The topic {settings.kafka.topic} is new and empty, and "
                 f"{len(plan.folders)} folders were deleted.\nNext: python kafka/producer.py --events 1000",
                 arguments.json)
    return EXIT_OK


def check_place(settings: Settings, lake: "Lake") -> None:
    """Refuse whatever others may use: a lake in a bucket, and a broker elsewhere."""
    if settings.profile != "local" or not lake.is_local:
        raise ConfigError(f"reset is for the local profile on this machine; the profile is {settings.profile}, and its "
                          f"lake {lake.root}. Make another lake instead: SHOPLAKE_LAKE__ROOT=<new folder>")
    servers = settings.bootstrap_servers
    if not are_here(servers):
        raise ConfigError(f"the broker {servers} (kafka.bootstrap_servers) is not on this machine, and may be others': "
                          "its topic is not deleted from here")


def lock_writers(lake: "Lake", settings: Settings, is_whole: bool, stack: ExitStack) -> None:
    """Take the stream's lock and that of the ingest; for the whole lake those of every table that goes."""
    from shoplake.contract.tables import AUDIT, TABLES
    from shoplake.lake.locks import INGEST, STREAM, hold_lock
    from shoplake.lake.maintenance import write_lock

    stack.enter_context(hold_lock(lake, STREAM, timeout=0))
    for name in sorted({write_lock(table) for table in TABLES if table is not AUDIT}) if is_whole else [INGEST]:
        stack.enter_context(hold_lock(lake, name, settings.lake.lock_timeout))


def count_records(admin: "KafkaAdminClient", settings: Settings) -> int | None:
    """Count the records that the topic holds; None where there is no topic."""
    import kafka

    name = settings.kafka.topic
    with closing(connect(kafka, kafka.KafkaConsumer, settings)) as consumer:
        if name not in admin.list_topics():
            return None
        parts = [kafka.TopicPartition(name, number) for number in consumer.partitions_for_topic(name) or ()]
        first, ends = consumer.beginning_offsets(parts), consumer.end_offsets(parts)
    return sum(int(ends[part] - first[part]) for part in parts)


def confirm(what: str, is_sure: bool) -> None:
    """Show what goes, and ask for the word; without a terminal only --yes is an answer."""
    print(what, file=sys.stderr)
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise ConfigError("this is no terminal to ask on, and nothing was deleted. If all of the above shall go: "
                          "python utils/reset.py --yes")
    print("Type yes to delete it: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise ShoplakeError("nothing was deleted")


def renew_topic(admin: "KafkaAdminClient", settings: Settings, is_there: bool) -> None:
    """Delete the topic and make it again as kafka/topics.yaml has it; it gets another id."""
    import time

    from kafka.admin import NewTopic
    from kafka.errors import KafkaError

    name, timeout_ms = settings.kafka.topic, 1000 * settings.kafka.delivery_timeout
    wanted = read_yaml(PROJECT_ROOT / "kafka" / "topics.yaml")
    form = wanted.get(name) or next(iter(wanted.values()))
    deadline = time.monotonic() + settings.kafka.delivery_timeout
    try:
        if is_there:
            admin.delete_topics([name], timeout_ms=timeout_ms)
        while name in admin.list_topics() and time.monotonic() < deadline:
            time.sleep(0.1)
        admin.create_topics([NewTopic(name, form["partitions"], -1, topic_configs=form.get("config", {}))],
                            timeout_ms=timeout_ms, wait_for_metadata=True)
    except KafkaError as error:
        raise SourceError(f"the topic {name} could not be deleted and made again: {type(error).__name__}: {error}. "
                          "Run the command again") from error


def describe(report: dict[str, Any]) -> str:
    """Say what would go."""
    records = "is missing, and will be made" if report["records"] is None else f"{report['records']:,} records"
    lines = [f"To be deleted:\n  topic {report['topic']}: {records}"]
    lines += [f"  folder {Path(folder)}" for folder in report["folders"]]
    lines += [f"    {name}: {count:,} rows" for name, count in report["rows"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
