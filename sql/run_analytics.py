"""Answer questions about the shop from the served tables: the queries of sql/, or one SELECT of your own in GoogleSQL.

Without flags all queries run and are printed as tables.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoplake.errors import EXIT_OK, ConfigError
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, load_settings

if TYPE_CHECKING:
    import pyarrow as pa

    from shoplake.warehouse import Warehouse
    from shoplake.warehouse.googlesql import Value
    from shoplake.warehouse.named_queries import NamedQuery

FOLDER = Path(__file__).parent
TABLE_ROWS = 20
LOG_WIDTH = 200  # columns where stdout is a file or a pipe
FREE_QUERY = "sql"


def main(argv: list[str] | None = None) -> int:
    """Run the command and give its exit code."""
    arguments = _parse(argv)
    return run_to_exit_code(lambda: _run(arguments))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run_analytics.py", description=(__doc__ or "").strip())
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--query", metavar="NAME", help="run one query of sql/, such as daily_revenue")
    what.add_argument("--sql", metavar="SELECT", help="run one read-only SELECT in GoogleSQL over the served tables")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE",
        help="set a parameter; with --sql also NAME:TYPE=VALUE (DATE, INT64, NUMERIC, STRING)")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("--limit", type=_positive, metavar="N",
                        help=f"rows to print (default: {TABLE_ROWS} for tables, else warehouse.max_rows)")
    parser.add_argument("--explain", action="store_true", help="print the text that would run; run nothing")
    parser.add_argument("--role", metavar="NAME", default="",
                        help="see what this role of configs/roles.yaml sees (default: governance.role)")
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    arguments = parser.parse_args(argv)
    if arguments.format == "csv" and not (arguments.query or arguments.sql) and not arguments.explain:
        parser.error("--format csv writes one result: name it with --query, or give --sql")
    if arguments.param and not (arguments.query or arguments.sql):
        parser.error("--param belongs to one query: name it with --query, or give --sql")
    return arguments


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.profile)
    configure_logging(settings.log_level)
    from shoplake.warehouse import open_warehouse

    most = min(arguments.limit or settings.warehouse.max_rows, settings.warehouse.max_rows)
    with open_warehouse(settings, arguments.role) as warehouse:
        questions = _find_questions(arguments, warehouse)
        if arguments.explain:
            texts = {query.name: warehouse.explain(query.sql, values) for query, values in questions}
            print_result({"explain": texts}, "\n\n".join(texts.values()), arguments.format == "json")
            return EXIT_OK
        documents = [_answer(query, values, warehouse, most, arguments) for query, values in questions]
    if arguments.format == "json":
        is_single = arguments.query is not None or arguments.sql is not None
        print_result(documents[0] if is_single else {"results": documents}, "", as_json=True)
    return EXIT_OK


def _find_questions(
    arguments: argparse.Namespace, warehouse: "Warehouse",
) -> "Iterator[tuple[NamedQuery, dict[str, Value]]]":
    from shoplake.warehouse.named_queries import NamedQuery, load_queries, parse_free_value, resolve_parameters

    given = _split_parameters(arguments.param)
    if arguments.sql is not None:
        values = dict(parse_free_value(name, text) for name, text in given.items())
        yield NamedQuery(FREE_QUERY, "Your query", arguments.sql, ()), values
        return
    queries = load_queries(FOLDER)
    if arguments.query is not None and arguments.query not in queries:
        raise ConfigError(f"no query {arguments.query!r} in {FOLDER}; there are {', '.join(queries)}")
    for query in queries.values() if arguments.query is None else [queries[arguments.query]]:
        yield query, resolve_parameters(query, given, warehouse)


def _split_parameters(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for name, sign, _ in pairs:
        if not (name and sign):
            raise ConfigError(f"--param takes NAME=VALUE, as in --param from_date=2026-01-01; seen: {name}")
    return {name: value for name, _, value in pairs}


def _answer(
    query: "NamedQuery", values: "dict[str, Value]", warehouse: "Warehouse", most: int, arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Run one query, print it as asked (JSON is printed at the end), and give its JSON form."""
    from shoplake.warehouse.named_queries import explain_no_rows
    from shoplake.warehouse.presentation import as_csv, as_document

    found = warehouse.query(query.sql, values, most + 1)
    answer = found.slice(0, most)
    if arguments.format == "csv":
        sys.stdout.write(as_csv(answer))
    elif arguments.format == "table":
        _print_table(query.title, values, answer, arguments.limit or TABLE_ROWS)
    if found.num_rows > most:
        print(f"{query.name}: cut after {most:,} rows (--limit, or warehouse.max_rows)", file=sys.stderr)
    if found.num_rows == 0 and query.name != FREE_QUERY:
        print(explain_no_rows(query), file=sys.stderr)
    return as_document(query.name, values, answer)


def _print_table(title: str, parameters: "dict[str, Value]", answer: "pa.Table", shown: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from shoplake.warehouse.presentation import format_cell, rows_of

    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    asked = ", ".join(f"{name} {value}" for name, value in parameters.items())
    console.print(Text(f"\n{title}" + (f" ({asked})" if asked else ""), style="bold"))
    table = Table()
    for field in answer.schema:
        is_number = str(field.type).startswith(("int", "decimal", "double"))
        table.add_column(Text(field.name.replace("_", " ")), justify="right" if is_number else "left", overflow="fold")
    for row in rows_of(answer.slice(0, shown)):
        cells = (format_cell(column, value) for column, value in zip(answer.column_names, row, strict=True))
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table if answer.num_rows else "no rows")
    if answer.num_rows > shown:
        console.print(f"{shown} of {answer.num_rows:,} rows; more with --limit N", highlight=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
