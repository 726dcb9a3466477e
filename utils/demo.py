"""Run the daily pipeline once, through Airflow, on simulated events, and show what it found.

Starts the embedded broker if none runs, and stops what it started unless KEEP=1 or --keep is given.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from shoplake.errors import EXIT_OK, ConfigError, ShoplakeError
from shoplake.outcome import run_to_exit_code
from shoplake.settings import EMBEDDED, ENV_PREFIX, PROJECT_ROOT, Settings, load_settings

DAG = "ecommerce_pipeline"
MIN_EVENTS = 100  # the DAG takes no fewer
TASK_ENDS = "[DAG TEST] end task task_id="
# heading -> the query's column and how it is set
REVENUE_COLUMNS: dict[str, tuple[str, Literal["left", "right"]]] = {
    "day": ("event_date", "left"), "orders": ("order_count", "right"), "units": ("units", "right"),
    "net": ("net_amount", "right"), "growth in a day": ("net_growth_day", "right"),
    "in a week": ("net_growth_week", "right"),
}
TOP_COLUMNS: dict[str, tuple[str, Literal["left", "right"]]] = {
    "rank": ("units_rank", "right"), "product": ("product_id", "left"), "category": ("category", "left"),
    "orders": ("order_count", "right"), "units": ("units", "right"), "net": ("net_amount", "right"),
}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000,
                        help="events of the simulated history and the day (default: 50000)")
    parser.add_argument("--day", type=date.fromisoformat, help="the shop day to run (default: yesterday)")
    parser.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1",
                        help="leave the broker running")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the demo; see the module's docstring."""
    arguments = parse_arguments(argv)
    return run_to_exit_code(lambda: run_demo(arguments))


def run_demo(arguments: argparse.Namespace) -> int:
    """Start, run, show, stop."""
    settings = load_settings("local")
    if settings.kafka.bootstrap_servers != EMBEDDED:
        raise ConfigError("the demo uses the embedded broker; unset SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS")
    yesterday = datetime.now(ZoneInfo(settings.shop.time_zone)).date() - timedelta(days=1)
    day = arguments.day or yesterday
    if day > yesterday:
        raise ConfigError(f"--day {day} is not over yet in {settings.shop.time_zone}; give {yesterday} or earlier")
    if arguments.events < MIN_EVENTS:
        raise ConfigError(f"--events {arguments.events} is too few for a history and a day; give {MIN_EVENTS} or more")
    started = time.monotonic()
    was_running = broker("status")["running"]
    broker("start")
    try:
        say(f"broker ready; running the DAG {DAG} for {day} on {arguments.events:,} events")
        run_dag(settings, day, arguments.events)
        summary = {**gather(settings, day), "day": day.isoformat(), "seconds": round(time.monotonic() - started, 1)}
    finally:
        if not (arguments.keep or was_running):
            broker("stop")
    if arguments.json:
        print(json.dumps(summary, default=str))
    else:
        show(summary)
    return EXIT_OK


def say(text: str) -> None:
    """Tell on stderr how far it is."""
    print(f"demo: {text}", file=sys.stderr, flush=True)


def run_json(*words: str) -> Any:
    """Run one of the project's commands and read its JSON.

    Raises:
        ShoplakeError: it failed; what it said is in the message.
    """
    done = subprocess.run([sys.executable, *words, "--json"], cwd=PROJECT_ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode != EXIT_OK:
        raise ShoplakeError(f"python {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout)


def broker(action: str) -> dict[str, Any]:
    """Start, stop or ask the embedded broker."""
    if action == "status":  # its exit code tells too, and 1 is an answer here
        done = subprocess.run([sys.executable, "kafka/broker.py", "status", "--json"], cwd=PROJECT_ROOT,
                              capture_output=True, text=True, check=False)
        return dict(json.loads(done.stdout or '{"running": false}'))
    return dict(run_json("kafka/broker.py", action))


def run_dag(settings: Settings, day: date, events: int) -> None:
    """Run the daily DAG with `airflow dags test`, naming each step; the whole log lies in the data folder."""
    from shoplake.airflow_environment import airflow_environment

    binaries = Path(sys.executable).parent
    # Airflow 3.3.2 reports a tested run that has a deadline as failed when all is done (its issue 73428).
    untimed = {**os.environ, f"{ENV_PREFIX}AIRFLOW__DEADLINE": "0"}
    environment = airflow_environment(untimed, settings, binaries, settings.airflow.port)
    log = settings.data_path / "airflow" / f"demo-{day}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    airflow = str(binaries / "airflow")
    with log.open("w") as lines:
        migrated = subprocess.run([airflow, "db", "migrate"], env=environment,
                                  stdout=lines, stderr=subprocess.STDOUT, check=False)
        if migrated.returncode != EXIT_OK:
            raise ShoplakeError(f"airflow db migrate failed; see {log}")
        process = subprocess.Popen(
            [airflow, "dags", "test", DAG, f"{day}T12:00:00", "--conf", json.dumps({"events": events})],
            cwd=PROJECT_ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        last = time.monotonic()
        for line in process.stdout or ():
            lines.write(line)
            if TASK_ENDS in line:
                say(f"{line.split(TASK_ENDS)[1].split()[0]} done, {time.monotonic() - last:.0f} s")
                last = time.monotonic()
    if process.wait() != EXIT_OK:
        ending = "".join(log.read_text().splitlines(True)[-15:])
        raise ShoplakeError(f"the DAG {DAG} failed; the last lines of {log}:\n{ending}")


def gather(settings: Settings, day: date) -> dict[str, Any]:
    """Ask the finished lake, through the same commands that a person would use."""
    from shoplake.forecasting.artifact import load_artifact

    week = f"from_date={day - timedelta(days=6)}", f"to_date={day}"
    reports = [run_json("sql/run_analytics.py", "--query", name, "--param", week[0], "--param", week[1])
               for name in ("daily_revenue", "top_selling_products")]
    # The model that forecast this day: one trained later, for another day, may lie beside it.
    manifest = load_artifact(settings.model_path, "xgboost", day, settings.ml.features).manifest
    return {"ledger": run_json("utils/reconcile.py"), "revenue": reports[0], "top": reports[1],
            "accuracy": manifest["metrics"]}


def show(summary: dict[str, Any]) -> None:
    """Print the summary for a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    ledger = summary["ledger"]
    console.rule(f"[bold]shoplake · {summary['day']}[/bold] · {summary['seconds']:.0f} s")
    verdict = "[green]balanced[/green]" if ledger["balanced"] else "[red]NOT balanced[/red]"
    console.print(f"Ledger {verdict}: {ledger['offsets']:,} records in = {ledger['silver']:,} silver "
                  f"+ {ledger['duplicates']:,} duplicates + {ledger['quarantine']['rows']:,} quarantined")
    reasons = sorted(ledger["quarantine"]["by_reason"].items(), key=lambda item: -item[1])
    console.print("Quarantined for: " + ", ".join(f"{reason} {count:,}" for reason, count in reasons))
    for title, report, columns in (("The last days", summary["revenue"], REVENUE_COLUMNS),
                                   ("Top products of the week", summary["top"], TOP_COLUMNS)):
        table = Table(title=title, title_justify="left")
        for heading, (_, justify) in columns.items():
            table.add_column(heading, justify=justify)
        for row in report["rows"][:7]:
            cells = dict(zip(report["columns"], row, strict=True))
            table.add_row(*("" if cells[name] is None else str(cells[name]) for name, _ in columns.values()))
        console.print(table)
    accuracy = Table(title="Forecast accuracy on held-out days (lower is better)", title_justify="left")
    for column in ("horizon", "model", "WAPE", "RMSSE", "bias"):
        accuracy.add_column(column)
    for horizon, models in summary["accuracy"].items():
        for model, scores in models.items():
            accuracy.add_row(horizon, model, *("n/a" if scores[name] is None else f"{scores[name]:.3f}"
                                               for name in ("wape", "rmsse", "bias")))
    console.print(accuracy)
    console.print("Next: python sql/run_analytics.py · python utils/reconcile.py --json · "
                  "python sql/run_analytics.py --sql 'SELECT * FROM silver.latest_window_products LIMIT 5' · make help",
                  soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
