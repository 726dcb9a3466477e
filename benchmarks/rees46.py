"""What months of a large shop take from files to every gold table: CPU-seconds of each step and table, peak memory.

Rows of the form of the REES46 store are generated into files: visits of some five events, few of them orders. They are
taken in by spark/batch_processing.py as shipped, file by file; then each table is built by itself in one Spark session,
so that its CPU-seconds can be told apart. At the end a file of one new day comes, and the days that the run writes are
told. Prints one JSON object; takes half an hour for ten million rows.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shoplake.errors import EXIT_OK, ConfigError
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT

FIRST_DAY, MONTH = date(2019, 10, 1), 30
USERS, PRODUCTS, CATEGORIES, BRANDS = 400_000, 30_000, 120, 400
EVENTS_A_VISIT, SECONDS_BETWEEN = 5, 40
KINDS, SHARES = ("view", "cart", "remove_from_cart", "purchase"), (0.92, 0.045, 0.015, 0.02)
HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="an empty one; a lake of 2 GB comes into it")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=8, help="of as many days each, 60 days together")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: run(flags))


def run(flags: argparse.Namespace) -> int:
    """Generate, take in, build, and come with another day."""
    folder = flags.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; give another --folder")
    os.environ |= {"SHOPLAKE_DATA_DIR": str(folder / "data"), "SHOPLAKE_SHOP__CURRENCY": "USD",
                   "SHOPLAKE_SHOP__TIME_ZONE": "UTC"}
    files = folder / "files"
    files.mkdir()
    days = 2 * MONTH // flags.files
    draw = np.random.default_rng(46)
    for number in range(flags.files):
        write_file(files / f"part-{number:03}.csv", draw, FIRST_DAY + timedelta(days=number * days), days,
                   flags.rows // flags.files)
    ingest = submit(folder, "--historical-csv", str(files), "--source", "rees46", "--ingest-only")
    tables = build_one_by_one()
    write_file(files / "part-new.csv", draw, FIRST_DAY + timedelta(days=flags.files * days), 1,
               flags.rows // (2 * MONTH))
    again = submit(folder, "--historical-csv", str(files), "--source", "rees46")
    print(json.dumps({
        "rows": flags.rows, "files": flags.files, "ingest": ingest, "tables": tables,
        "one_more_day": {name: again[name] for name in ("cpu_seconds", "wall_seconds", "peak_rss_bytes")},
        "days_written": {table: len(written) for table, written in again["report"]["built"].items()},
        "records_of_it": again["report"]["ingested"]["records"]}))
    return EXIT_OK


def write_file(path: Path, draw: np.random.Generator, first: date, days: int, rows: int) -> None:
    """Write so many rows of so many days."""
    visits = -(-rows // EVENTS_A_VISIT)
    lengths = draw.geometric(1 / EVENTS_A_VISIT, 2 * visits)
    lengths = lengths[:np.searchsorted(np.cumsum(lengths), rows) + 1]
    visit = np.repeat(np.arange(len(lengths)), lengths)[:rows]
    start = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
    begun = draw.integers(0, days * 86_400 - 3600, len(lengths))
    pauses = draw.exponential(SECONDS_BETWEEN, rows)
    since = np.cumsum(pauses)
    firsts = np.searchsorted(visit, np.arange(len(lengths)))
    moment = start + begun[visit] + (since - since[firsts[np.minimum(visit, len(firsts) - 1)]]).astype(int)
    user = np.minimum(draw.zipf(1.3, len(lengths)) * 7919 + draw.integers(0, USERS, len(lengths)), 10**9) % USERS
    product = (draw.zipf(1.2, rows) + draw.integers(0, 50, len(lengths))[visit] * 97) % PRODUCTS
    kind = draw.choice(len(KINDS), rows, p=SHARES)
    texts = np.datetime_as_string(moment.astype("datetime64[s]"))
    with path.open("w") as file:
        file.write(HEADER + "\n")
        for at, what, item, who, when in zip(texts, kind, product, user[visit], visit, strict=True):
            code = "" if item % 3 == 0 else f"group{item % 9}.kind{item % CATEGORIES}"
            brand = "" if item % 4 == 0 else f"brand{item % BRANDS}"
            file.write(f"{at.replace('T', ' ')} UTC,{KINDS[what]},{item},{2053 + item % CATEGORIES},{code},{brand},"
                       f"{item * 37 % 90_000 / 100:.2f},{who},{path.stem}-{when:x}\n")


def submit(folder: Path, *words: str) -> dict[str, Any]:
    """Run the batch job under measure.py; give its figures and its own report."""
    figures, log = folder / "figures.json", folder / "run.log"
    command = ["spark-submit", str(PROJECT_ROOT / "spark" / "batch_processing.py"), *words, "--json"]
    measured = [sys.executable, str(Path(__file__).with_name("measure.py")), "--to", str(figures), "--log", str(log),
                "--", *command]
    if subprocess.run(measured, check=False).returncode:
        raise SystemExit(f"error: {' '.join(command)} failed: {log.read_text()[-1500:]}")
    report = next(json.loads(line) for line in reversed(log.read_text().splitlines()) if line.startswith("{"))
    answer = json.loads(figures.read_text())
    thirds = np.array_split([rss for *_, rss in answer["samples"]], 3)
    return {**{name: answer[name] for name in ("cpu_seconds", "wall_seconds", "peak_rss_bytes")},
            "peak_rss_by_third": [int(max(third, default=0)) for third in thirds], "report": report}


def build_one_by_one() -> dict[str, float]:
    """Build every table alone, one after the other; give the CPU-seconds of each."""
    from pyspark.sql import SparkSession

    from shoplake.batch.build import (
        GOLD_BUILDS,
        SNAPSHOT_BUILDS,
        build_dimension,
        build_gold_table,
        build_snapshot,
        find_as_of,
    )
    from shoplake.contract.tables import PRODUCTS_DIM
    from shoplake.lake.addresses import locate_lake
    from shoplake.lake.delta import create_tables, session_options
    from shoplake.settings import load_settings

    settings = load_settings()
    lake = locate_lake(settings)
    spark = SparkSession.builder.config(map={**session_options(settings)}).getOrCreate()
    taken: dict[str, float] = {}

    def measure(name: str, build: Callable[[], Any]) -> None:
        before = cpu_seconds()
        build()
        taken[name] = round(cpu_seconds() - before, 1)

    try:
        tables = [*(gold.table for gold in GOLD_BUILDS), PRODUCTS_DIM, *(one.table for one in SNAPSHOT_BUILDS)]
        create_tables(lake, tables, settings.shop)
        for gold in GOLD_BUILDS:
            measure(gold.table.name, lambda gold=gold: build_gold_table(spark, lake, gold, 60))  # type: ignore[misc]
        measure(PRODUCTS_DIM.name, lambda: build_dimension(spark, lake, 60, is_wanted=False))
        as_of = find_as_of(lake) or FIRST_DAY
        for one in SNAPSHOT_BUILDS:
            measure(one.table.name, lambda one=one: build_snapshot(  # type: ignore[misc]
                spark, lake, one, as_of, 60, is_wanted=False))
    finally:
        spark.stop()
    return taken


def cpu_seconds() -> float:
    """Give the CPU-seconds of this process and its children, Spark's JVM among them."""
    root = psutil.Process()
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
