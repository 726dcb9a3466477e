"""What a daily gold run takes as the history grows, and a full build against DuckDB and Polars, as one JSON object.

A month is simulated into a file, and stands in silver.events 1, 10 and 30 times, each time 30 days later, with its own
identities; content_hash is left empty, as no gold table reads it. The last days come one by one: each is a daily run.
All runs are spark/batch_processing.py as shipped.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT

if TYPE_CHECKING:
    import duckdb

HERE = PROJECT_ROOT / "benchmarks"
FIRST_DAY, MONTH = date(2024, 5, 1), 30
TIMES = (1, 10, 30)
PEERS_AT = 10
SEED = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", help="not used: gold is built from silver")
    parser.add_argument("--folder", type=Path, required=True, help="an empty one")
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="Python of the peers' environment")
    parser.add_argument("--events", type=int, default=1_000_000, help="of a month")
    parser.add_argument("--repeat", type=int, default=3, help="daily runs of which the median is taken")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Build each lake and measure its runs."""
    folder = flags.folder.resolve()
    history = folder / "history.parquet"
    subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "kafka/producer.py"), "--events", str(flags.events), "--seed", str(SEED),
         "--from", str(FIRST_DAY), "--to", str(FIRST_DAY + timedelta(days=MONTH - 1)), "--to-file", str(history)],
        check=True, stdout=sys.stderr)
    growth: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    for times in TIMES:
        lake = folder / f"lake_{times}"
        growth[f"{times}x"] = grow(lake, history, times, flags.repeat)
        if times == PEERS_AT:
            peers = {engine: build_with(engine, lake, flags.peers) for engine in ("duckdb", "polars")}
        shutil.rmtree(lake)
    largest, at_peers = growth[f"{TIMES[-1]}x"], growth[f"{PEERS_AT}x"]
    print(json.dumps({
        "growth": growth, "peers": peers,
        "gold": {engine: round(at_peers["rows"] / built["cpu_seconds"]) for engine, built in
                 {"ours": at_peers["rebuild"], **peers}.items()},
        "daily_gold_30x": round(largest["daily_cpu_seconds"] / growth["1x"]["daily_cpu_seconds"], 3),
        "daily_gold_against_rebuild": round(
            largest["daily_cpu_seconds"] / largest["rebuild"]["cpu_seconds"], 3),
    }))
    return EXIT_OK


def grow(lake: Path, history: Path, times: int, repeat: int) -> dict[str, Any]:
    """Make a lake of so many months; give what its full build and its daily runs took."""
    build_gold(lake)  # makes the tables, empty
    sql = connect(history)
    days = [FIRST_DAY + timedelta(days=number) for number in range(MONTH * times)]
    for month in range(times):
        wanted = [day for day in days[:-repeat] if (day - FIRST_DAY).days // MONTH == month]
        append_silver(sql, lake, wanted)
    append_ledger(lake, 0, days[:-repeat])
    rebuild = build_gold(lake)
    daily = []
    for number, day in enumerate(days[-repeat:], 1):
        append_silver(sql, lake, [day])
        append_ledger(lake, number, [day])
        daily.append(build_gold(lake))
    return {"days": len(days), "rows": count_rows(lake), "rebuild": rebuild,
            "daily_cpu_seconds": statistics.median(run["cpu_seconds"] for run in daily), "daily": daily}


def build_gold(lake: Path) -> dict[str, float]:
    """Run the batch job on the lake."""
    environment = {**os.environ, "SHOPLAKE_LAKE__ROOT": str(lake), "SHOPLAKE_DATA_DIR": str(lake.parent)}
    return measure(lake, ["spark-submit", str(PROJECT_ROOT / "spark/batch_processing.py")], environment)


def build_with(engine: str, lake: Path, python: str) -> dict[str, Any]:
    """Build the same tables with a peer; say whether they are equal."""
    target = lake.with_name(engine)
    command = [python, str(HERE / "gold_peer.py"), "--engine", engine, "--lake", str(lake), "--to", str(target)]
    figures: dict[str, Any] = measure(lake, command, dict(os.environ))
    compared = subprocess.run([sys.executable, str(HERE / "compare.py"), str(lake), str(target), "--gold", "--json"],
                              stdout=subprocess.PIPE, check=False)
    shutil.rmtree(target)
    return {**figures, "compared": json.loads(compared.stdout)}


def measure(lake: Path, command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a command under measure.py."""
    figures, log = lake.with_name("figures.json"), lake.with_name("run.log")
    measured = [sys.executable, str(HERE / "measure.py"), "--to", str(figures), "--log", str(log), "--", *command]
    if subprocess.run(measured, env=environment, check=False).returncode:
        raise SystemExit(f"error: {' '.join(command)} failed: {log.read_text()[-1500:]}")
    answer = json.loads(figures.read_text())
    return {name: answer[name] for name in ("cpu_seconds", "wall_seconds", "peak_rss_bytes")}


def connect(history: Path) -> "duckdb.DuckDBPyConnection":
    """Open a DuckDB with the month's events, one row for each identity, as rows of silver but for their days."""
    import duckdb

    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        f"""CREATE TABLE month AS SELECT *, CAST(timezone('Europe/London', event_time) AS DATE) AS event_date
        FROM (SELECT * REPLACE (coalesce(event_id, 'v1-' || row_number() OVER ()) AS event_id) FROM '{history}')
        QUALIFY row_number() OVER (PARTITION BY event_date, event_id ORDER BY price, quantity) = 1""")
    return connection


def append_silver(sql: "duckdb.DuckDBPyConnection", lake: Path, days: Sequence[date]) -> None:
    """Append days to silver.events; all of them are of one month."""
    from deltalake import write_deltalake

    from shoplake.contract.events import EXCHANGE_RATE_TYPE, PRICE_TYPE
    from shoplake.contract.tables import SILVER_EVENTS

    moved = (days[0] - FIRST_DAY).days // MONTH * MONTH
    made = {
        "event_date": f"event_date + {moved}", "event_time": f"event_time + INTERVAL {moved} DAY",
        "event_id": f"event_id || '-{moved}'", "order_id": f"order_id || '-{moved}'",
        "currency": "coalesce(currency, 'GBP')", "is_guest": "coalesce(is_guest, false)",
        "schema_version": "coalesce(schema_version, 1)", "ingest_time": f"event_time + INTERVAL {moved} DAY",
        "ingest_date": f"CAST(event_time + INTERVAL {moved} DAY AS DATE)", "is_late": "false", "content_hash": "''",
        "origin": "'bench'", "topic": "'bench'", "partition": "CAST(0 AS INT)", "offset": "CAST(0 AS BIGINT)",
        "query_id": "'bench'", "batch_id": "CAST(0 AS BIGINT)",
        "original_price": f"CAST(NULL AS {PRICE_TYPE})", "exchange_rate": f"CAST(NULL AS {EXCHANGE_RATE_TYPE})",
    }
    columns = ", ".join(f'{made.get(name, name)} AS "{name}"' for name in SILVER_EVENTS.column_names)
    rows = sql.execute(f"SELECT {columns} FROM month WHERE event_date + {moved} BETWEEN ? AND ?",
                       [days[0], days[-1]])
    write_deltalake(str(lake / "silver/events"), rows.to_arrow_reader(), mode="append")


def append_ledger(lake: Path, batch_id: int, days: Sequence[date]) -> None:
    """Append the ledger row that names the days; the build asks it for nothing else."""
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    place = str(lake / "ops/ledger")
    schema = pa.schema(DeltaTable(place).schema().to_arrow())
    row = dict.fromkeys(schema.names) | {"query_id": "bench", "batch_id": batch_id, "event_dates": list(days)}
    write_deltalake(place, pa.Table.from_pylist([row], schema), mode="append")


def count_rows(lake: Path) -> int:
    """Give the rows of silver.events."""
    from deltalake import DeltaTable

    files = DeltaTable(str(lake / "silver/events")).get_add_actions(flatten=True)
    return sum(files["num_records"].to_pylist())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
