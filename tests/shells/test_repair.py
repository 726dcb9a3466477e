"""utils/repair.py: what may go is moved aside, all else is refused; never are there fewer rows."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from audit_log import read_acts, read_details, read_lines

from shoplake.contract.tables import (
    AUDIT,
    BRONZE_EVENTS,
    DAILY_SALES,
    DEMAND_PREDICTIONS,
    LEDGER,
    PRODUCT_REVENUE_5MIN,
    SILVER_EVENTS,
    Table,
)
from shoplake.governance.audit import record
from shoplake.governance.audit_lines import Act
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.lake.arrow import open_table, read_table
from shoplake.lake.locks import hold_lock
from shoplake.settings import load_settings
from shoplake.streaming import ingest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPAIR = "utils/repair.py"
STREAM = "spark/streaming_pipeline.py"
Run = Callable[..., tuple[int, str, str]]


class Crash(Exception):
    """The process would die here."""


def crash(*_: Any) -> None:
    raise Crash


def log_of(lake: Lake, table: Table) -> Path:
    return Path(lake.table(table)) / "_delta_log"


def cut(file: Path, share: float) -> None:
    """Cut a file short, as a machine does that loses its power."""
    content = file.read_bytes()
    file.write_bytes(content[:int(len(content) * share)])


def newest_entry(lake: Lake, table: Table) -> Path:
    return max(log_of(lake, table).glob("*.json"))


def forget(spark: "SparkSession") -> None:
    """Let Spark know no more of the tables than a new process would."""
    jvm: Any = spark._jvm
    jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize("name", ["_last_checkpoint", "checkpoint.parquet"])
def test_a_broken_checkpoint_or_pointer_is_moved_aside(
    lake_of_four: Lake, spark: "SparkSession", rows_of: Any, rows_of_four: Any, take_in: Any, run_tool: Run,
    name: str, share: float,
) -> None:
    open_table(lake_of_four, SILVER_EVENTS).create_checkpoint()
    (file,) = log_of(lake_of_four, SILVER_EVENTS).glob(f"*{name}")
    cut(file, share)
    code, out, err = run_tool(REPAIR, "--table", "silver.events")
    assert code == 0, err
    assert f"moved to {lake_of_four.root}/_repair/silver.events." in out
    assert name in out
    assert rows_of(lake_of_four) == rows_of_four
    assert read_acts(lake_of_four) == [("repair", "silver.events", "begun"), ("repair", "silver.events", "done")]
    assert name in read_details(lake_of_four)["moved"][0]
    if share == 0:
        forget(spark)
        take_in(lake_of_four, 3)
        assert rows_of(lake_of_four) == rows_of_four, "Spark reads it too, and knows the batch"
    code, out, _ = run_tool(REPAIR, "--table", "silver.events")
    assert code == 0
    assert "nothing to repair" in out


def test_a_checkpoint_that_the_log_needs_is_refused(lake_of_four: Lake, run_tool: Run) -> None:
    open_table(lake_of_four, SILVER_EVENTS).create_checkpoint()
    log = log_of(lake_of_four, SILVER_EVENTS)
    newest_entry(lake_of_four, SILVER_EVENTS).with_name("00000000000000000001.json").unlink()
    (file,) = log.glob("*.checkpoint.parquet")
    cut(file, 0.5)
    before = sorted(path.name for path in log.iterdir())
    code, _, err = run_tool(REPAIR, "--table", "silver.events")
    assert code == 3
    assert "version 1 of silver.events cannot be read" in err
    assert "spark-submit utils/rebuild.py --from bronze" in err
    assert sorted(path.name for path in log.iterdir()) == before


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize(("table", "message"), [
    (BRONZE_EVENTS, "batch 2 of query put 8 rows there by the ledger, and 0 would be left"),
    (SILVER_EVENTS, "batch 2 of query put 6 rows there by the ledger, and 0 would be left"),
    (PRODUCT_REVENUE_5MIN, "would not be those of silver.events"),
], ids=lambda value: getattr(value, "name", ""))
def test_a_cut_entry_of_a_batch_that_is_done_is_refused(
    lake_of_four: Lake, run_tool: Run, table: Table, message: str, share: float,
) -> None:
    entry = newest_entry(lake_of_four, table)
    cut(entry, share)
    files = {file: file.read_bytes() for file in log_of(lake_of_four, table).iterdir()}
    code, _, err = run_tool(REPAIR, "--table", table.name)
    assert code == 3
    assert message in err
    assert {file: file.read_bytes() for file in log_of(lake_of_four, table).iterdir()} == files


@pytest.mark.parametrize("table", [
    SILVER_EVENTS, *(pytest.param(table, marks=pytest.mark.faults) for table in (PRODUCT_REVENUE_5MIN, LEDGER)),
], ids=lambda table: table.name)
def test_a_cut_entry_of_a_batch_without_ledger_row_is_repeated(
    lake_of_three: Lake, spark: "SparkSession", rows_of: Any, rows_of_four: Any, take_in: Any, run_tool: Run,
    monkeypatch: pytest.MonkeyPatch, table: Table,
) -> None:
    with monkeypatch.context() as patched:
        if table is not LEDGER:
            patched.setattr(ingest, "append_row_once", crash)
        try:
            take_in(lake_of_three, 3)
        except Crash:
            assert table is not LEDGER
    cut(newest_entry(lake_of_three, table), 0)
    code, out, err = run_tool(REPAIR, "--table", table.name)
    assert code == 0, err
    assert "is written again by the next run: spark-submit spark/streaming_pipeline.py --drain" in out
    forget(spark)
    take_in(lake_of_three, 3)
    assert rows_of(lake_of_three) == rows_of_four


@pytest.mark.parametrize(("table", "code", "message"), [
    (DAILY_SALES, 0, "next run: spark-submit spark/batch_processing.py"),
    (DEMAND_PREDICTIONS, 3, "run ml/inference.py again"),
], ids=lambda value: getattr(value, "name", ""))
def test_a_cut_entry_of_gold_is_built_again_and_of_others_refused(
    data_dir: Path, write_table: Any, run_tool: Run, table: Table, code: int, message: str,
) -> None:
    lake = Lake(str(data_dir / "lake"))
    for _ in range(2):
        write_table(lake, table, [])
    cut(newest_entry(lake, table), 0.5)
    exit_code, out, err = run_tool(REPAIR, "--table", table.name)
    assert exit_code == code
    assert message in out + err
    if code == 0:
        assert open_table(lake, table).version() == 0


def test_a_cut_entry_of_the_audit_log_is_written_again(data_dir: Path, run_tool: Run) -> None:
    settings = load_settings()
    lake = locate_lake(settings)
    for name in ("m", "n"):
        record([Act("promote", name)], lake, settings)
    lines = read_lines(lake)
    cut(newest_entry(lake, AUDIT), 0.5)
    assert run_tool("utils/verify_audit.py")[0] == 1
    code, out, err = run_tool(REPAIR, "--table", "ops.audit")
    assert code == 0, err
    assert "python utils/verify_audit.py" in out
    assert run_tool("utils/verify_audit.py")[0] == 0
    assert read_lines(lake) == lines


def test_what_is_whole_or_not_there_is_said(data_dir: Path, write_table: Any, run_tool: Run) -> None:
    lake = Lake(str(data_dir / "lake"))
    write_table(lake, DAILY_SALES, [])
    code, out, _ = run_tool(REPAIR, "--table", "gold.daily_sales")
    assert code == 0
    assert "nothing to repair" in out
    assert run_tool(REPAIR, "--table", "silver.events")[0] == 2
    assert run_tool(REPAIR, "--table", "silver.event")[0] == 2
    code, out, _ = run_tool(REPAIR, "--checkpoint")
    assert code == 0
    assert "there is nothing to repair" in out


@pytest.mark.parametrize("flags", [("--table", "gold.daily_sales"), ("--topic",), ("--checkpoint",)])
def test_it_is_refused_while_the_stream_runs(data_dir: Path, run_tool: Run, flags: tuple[str, ...]) -> None:
    with hold_lock(Lake(str(data_dir / "lake")), "checkpoint-events", timeout=0):
        code, _, err = run_tool(REPAIR, *flags)
    assert code == 1
    assert "the lock 'checkpoint-events'" in err


def make_anew(broker: str, topic: str) -> None:
    """Delete a topic and make one of the same name."""
    import time

    from kafka.admin import KafkaAdminClient, NewTopic

    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        admin.delete_topics([topic], timeout_ms=30_000)
        while topic in admin.list_topics():
            time.sleep(0.1)
        admin.create_topics([NewTopic(topic, 3, 1)], timeout_ms=30_000, wait_for_metadata=True)


@pytest.mark.faults
def test_a_topic_made_anew_and_a_cut_checkpoint(
    broker: str, topic: str, data_dir: Path, spark: "SparkSession", run_tool: Run, monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert spark
    lake = Lake(str(data_dir / "lake"))
    checkpoint = Path(lake.checkpoint("events"))

    def produce(day: int) -> None:
        date = f"2026-06-{day:02d}"
        assert run_tool("kafka/producer.py", "--events", "60", "--from", date, "--to", date, "--seed", str(day))[0] == 0

    def count() -> int:
        assert run_tool("utils/reconcile.py")[0] == 0
        return read_table(lake, BRONZE_EVENTS, ["offset"]).num_rows

    produce(1)
    assert run_tool(STREAM, "--drain")[0] == 0
    code, out, _ = run_tool(REPAIR, "--topic")
    assert code == 0
    assert "nothing to repair" in out
    make_anew(broker, topic)
    produce(2)
    assert run_tool(STREAM, "--drain")[0] == 1, "a loud stop"
    old = {row["origin"] for row in read_table(lake, LEDGER, ["origin"]).to_pylist()}.pop()
    code, out, err = run_tool(REPAIR, "--topic")
    assert code == 0, err
    assert f"_checkpoints/events.{old}." in out
    assert run_tool(STREAM, "--drain")[0] == 0
    assert count() == 120

    cut(checkpoint / "commits" / "0", 0)
    code, out, _ = run_tool(REPAIR, "--checkpoint")
    assert code == 0
    assert "commits/0 could not be read" in out
    produce(3)
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "append_row_once", crash)
        with pytest.raises(Crash):
            run_tool(STREAM, "--drain")
    cut(checkpoint / "offsets" / "0", 0.5)
    code, _, err = run_tool(REPAIR, "--checkpoint")
    assert code == 3
    assert "broke off with 60 records in bronze: finish it with: spark-submit utils/rebuild.py" in err
    assert run_tool("utils/rebuild.py", "--from", "bronze")[0] == 0
    assert run_tool(REPAIR, "--checkpoint")[0] == 0
    assert run_tool(STREAM, "--drain")[0] == 0
    assert count() == 180
