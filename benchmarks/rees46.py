"""What months of a large shop take from files to every gold table: CPU-seconds of each step and table, peak memory.

Rows of the form of the REES46 store are generated into files: visits of some five events, few of them orders. They are
taken in by spark/batch_processing.py as shipped, file by file; then it builds each table by itself, in a process of its
own, whose start is told too. At the end a file of one new day comes, and the days that the run writes are told. Prints
one JSON object; takes an hour for ten million rows.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from shoplake.batch.job import BUILT_TABLES
from shoplake.contract.tables import USER_SEGMENTS
from shoplake.errors import EXIT_OK, ConfigError, ShoplakeError
from shoplake.outcome import run_to_exit_code
from shoplake.settings import PROJECT_ROOT

FIRST_DAY, DAYS = date(2019, 10, 1), 60
# A visit that goes on past midnight, and orders that are cancelled later: so many days are built again for a new one.
MOST_DAYS = 4
USERS, PRODUCTS, CATEGORIES, BRANDS = 400_000, 30_000, 120, 400
EVENTS_A_VISIT, SECONDS_BETWEEN = 5, 40
KINDS, SHARES = ("view", "cart", "remove_from_cart", "purchase"), (0.92, 0.045, 0.015, 0.02)
HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="an empty one; a lake of 2 GB comes into it")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=20, choices=[n for n in range(1, DAYS + 1) if DAYS % n == 0],
                        help=f"of as many days each, {DAYS} days together (default: 20)")
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
    days = DAYS // flags.files
    draw = np.random.default_rng(46)
    for number in range(flags.files):
        write_file(files / f"part-{number:03}.csv", draw, FIRST_DAY + timedelta(days=number * days), days,
                   flags.rows // flags.files)
    ingest = submit(folder, "--historical-csv", str(files), "--source", "rees46", "--ingest-only")
    tables = {table.name: submit(folder, "--table", table.name) for table in BUILT_TABLES if table is not USER_SEGMENTS}
    start = submit(folder, "--table", USER_SEGMENTS.name)  # there are no users: it starts, looks and ends
    write_file(files / "part-new.csv", draw, FIRST_DAY + timedelta(days=DAYS), 1, flags.rows // DAYS)
    again = submit(folder, "--historical-csv", str(files), "--source", "rees46")
    written = {table: built for table, built in again["report"]["built"].items() if built}
    print(json.dumps({
        "rows": flags.rows, "files": flags.files, "ingest": told(ingest), "start": told(start),
        "tables": {name: told(one) for name, one in tables.items()}, "one_more_day": told(again),
        "days_written": {table: len(built) for table, built in written.items()},
        "records_of_it": again["report"]["ingested"]["records"]}))
    if too_many := [table for table, built in written.items() if len(built) > MOST_DAYS]:
        raise ShoplakeError(f"one new day has built more than {MOST_DAYS} days of {', '.join(too_many)}")
    return EXIT_OK


def told(run: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a run's figures what the platform itself reported."""
    return {name: value for name, value in run.items() if name != "report"}


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
