"""GoogleSQL, the one dialect that queries are written in: what may run, and what its columns and types are.

The list of constructs is closed. What stands in it was compared with Google's own engine, by results; a construct
that is missing is refused by name, because sqlglot translates several of them silently wrong.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError, ParseError, TokenError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.schema import MappingSchema

from shoplake.contract.render import bigquery_type
from shoplake.contract.tables import Table, View
from shoplake.errors import QueryRefusedError
from shoplake.warehouse.partition_filters import UnfilteredScan, find_line, find_unfiltered
from shoplake.warehouse.reading_bounds import bounded, check_text

DIALECT = "bigquery"
Value = date | int | str | Decimal
PARAMETER_TYPES: dict[type, str] = {date: "DATE", int: "INT64", str: "STRING", Decimal: "NUMERIC"}

_STRUCTURE: tuple[type[exp.Expr], ...] = (
    exp.Select, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Qualify, exp.Order, exp.Ordered, exp.Limit,
    exp.Offset, exp.With, exp.CTE, exp.Subquery, exp.Union, exp.Except, exp.Intersect, exp.Distinct, exp.Table,
    exp.TableAlias, exp.Unnest, exp.Column, exp.Identifier, exp.Alias, exp.Star, exp.Paren, exp.Literal, exp.Null,
    exp.Boolean, exp.Parameter, exp.Var, exp.DataType, exp.Interval, exp.Window, exp.WindowSpec, exp.Array,
)
_OPERATORS: tuple[type[exp.Expr], ...] = (
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg, exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT,
    exp.LTE, exp.Is, exp.In, exp.Between, exp.Exists, exp.Like, exp.DPipe, exp.NullSafeEQ, exp.NullSafeNEQ,
)
_FUNCTIONS: tuple[type[exp.Expr], ...] = (
    exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.Cast, exp.TryCast, exp.SafeDivide,
    exp.IntDiv, exp.Mod, exp.Abs, exp.Ceil, exp.Floor, exp.Round, exp.Sqrt, exp.Sum, exp.Count, exp.CountIf,
    exp.Avg, exp.Min, exp.Max, exp.LogicalAnd, exp.LogicalOr, exp.RowNumber,
    exp.Rank, exp.DenseRank, exp.Ntile, exp.PercentRank, exp.CumeDist, exp.Lag, exp.Lead, exp.FirstValue,
    exp.LastValue, exp.CurrentDate, exp.Date, exp.DateAdd, exp.DateSub, exp.DateDiff, exp.DateTrunc, exp.WeekStart,
    exp.Extract, exp.GenerateDateArray, exp.TimestampTrunc, exp.Concat, exp.Length,
    exp.StartsWith, exp.EndsWith, exp.Right, exp.SHA2Digest, exp.LowerHex,
)
ALLOWED = frozenset((*_STRUCTURE, *_OPERATORS, *_FUNCTIONS))
# Arguments that are no nodes of their own, and switch a node to something that is not proven.
_REFUSED_ARGUMENTS: dict[type[exp.Expr], tuple[str, ...]] = {
    exp.Select: ("kind", "operation_modifiers"), exp.Distinct: ("on",), exp.With: ("recursive",),
    exp.SetOperation: ("by_name", "match", "kind", "side"), exp.Unnest: ("offset",), exp.Join: ("method", "global_"),
    exp.Table: ("only", "ordinality"), exp.Window: ("first",), exp.WindowSpec: ("exclude",), exp.Cast: ("format",),
    exp.Round: ("truncate",),
}
_JOIN_KINDS = ("", "INNER", "OUTER", "CROSS")
_ALTERNATIVES: dict[type[exp.Expr], str] = {
    exp.AnyValue: "write MAX(…)",
    exp.DataTypeParam: "write the type without its size, such as NUMERIC or STRING",
    exp.Tuple: "compare each column by itself, with AND",
    exp.Format: "return the value itself, or CAST it AS STRING",
    exp.Pivot: "write one SUM(IF(…)) for each column",
    exp.ApproxTopK: "write GROUP BY with ORDER BY COUNT(*) DESC LIMIT n",
    exp.ApproxDistinct: "write COUNT(DISTINCT …)",
    exp.TimestampDiff: "write DATE_DIFF(DATE(…), DATE(…), DAY)",
    exp.UnixToTime: "compare with TIMESTAMP '2026-01-31 00:00:00+00'; the tables hold times, not numbers",
    exp.UnixMillis: "compare with TIMESTAMP '2026-01-31 00:00:00+00'; the tables hold times, not numbers",
    exp.Stddev: "write SQRT of the variance, from SUM(x * x), SUM(x) and COUNT(x)",
    exp.StddevSamp: "write SQRT of the variance, from SUM(x * x), SUM(x) and COUNT(x)",
    exp.TimestampSub: "compare dates: DATE_SUB(DATE(…), INTERVAL n DAY)",
    exp.TimestampAdd: "compare dates: DATE_ADD(DATE(…), INTERVAL n DAY)",
}
_HINT = "Allowed is one SELECT (WITH and UNION too) in GoogleSQL over the served tables"
_DATE_PARTS = ("DAY", "WEEK", "WEEK(MONDAY)", "ISOWEEK", "MONTH", "QUARTER", "YEAR")
_INTERVAL_PARTS = ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
_EXTRACT_PARTS = ("DAY", "DAYOFWEEK", "DAYOFYEAR", "ISOWEEK", "ISOYEAR", "MONTH", "QUARTER", "YEAR", "HOUR", "MINUTE")
_TIMESTAMP_PARTS = ("SECOND", "MINUTE", "HOUR", "DAY")


@dataclass(frozen=True)
class Query:
    """A checked query: its tree with every column qualified and every type known, and the tables that it reads.

    `unfiltered` are the scans for which BigQuery would refuse it; it is for the warehouse to say what that means.
    """

    tree: exp.Expr
    tables: tuple[str, ...]
    parameters: Mapping[str, Value]
    unfiltered: tuple[UnfilteredScan, ...]


@bounded
def read_query(sql: str, parameters: Mapping[str, Value], relations: Sequence[Table | View]) -> Query:
    """Parse GoogleSQL, refuse all but one SELECT over `relations`, and resolve names and types.

    Parameters stay parameters: their values are bound when the query runs, never written into its text.

    Raises:
        QueryRefusedError: something else than a single SELECT, an unknown table, column or parameter, two columns of
            one name, or a construct that is not proven to mean the same in both warehouses; or a text beyond the bounds
            of reading_bounds.
    """
    check_text(sql, "the query")
    tree = _parse(sql)
    tables = _check_tables(tree, relations)
    for node in tree.walk():
        _check_construct(node)
    used = _bind(tree, parameters)
    _join_signs(tree)
    resolved = _resolve(tree, relations)
    _check_scopes(resolved)
    _check_names(resolved)
    return Query(resolved, tables, used, find_unfiltered(resolved, relations))


def _parse(sql: str) -> exp.Query:
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect=DIALECT) if statement is not None]
    except (ParseError, TokenError) as error:
        line = error.errors[0]["line"] if isinstance(error, ParseError) and error.errors else None
        raise QueryRefusedError(
            f"this is no GoogleSQL that can be read: {_first_line(error)}. {_HINT}.", line) from error
    if len(statements) != 1:
        raise QueryRefusedError(f"seen: {len(statements)} statements. {_HINT}.")
    statement = statements[0]
    if not isinstance(statement, (exp.Select, exp.SetOperation, exp.Subquery)):
        raise QueryRefusedError(f"seen: {statement.key.upper()}, in {sql.strip()[:60]!r}. {_HINT}.")
    return statement


def _check_tables(tree: exp.Query, relations: Sequence[Table | View]) -> tuple[str, ...]:
    known = [relation.name for relation in relations]
    named_here = {cte.alias for cte in tree.find_all(exp.CTE)}
    read = []
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            function = show(table.this)
            raise QueryRefusedError(
                f"seen: the table function {function}. {_HINT}: {', '.join(known)}.", find_line(table))
        name = ".".join(part.name for part in table.parts)
        if name in known:
            read.append(name)
        elif table.db or name not in named_here:
            raise QueryRefusedError(f"seen: the table {name}. {_HINT}: {', '.join(known)}.", find_line(table))
    return tuple(dict.fromkeys(read))


def _check_construct(node: exp.Expr) -> None:
    if type(node) not in ALLOWED:
        instead = _ALTERNATIVES.get(type(node), "write it with plain operators, CASE and the usual aggregates")
        raise _unproven(_name_of(node), node, instead)
    for type_, names in _REFUSED_ARGUMENTS.items():
        for name in names:
            if isinstance(node, type_) and node.args.get(name):
                instead = "number the rows with ROW_NUMBER() OVER (ORDER BY …)" if name == "offset" else "leave it out"
                raise _unproven(f"{node.key.upper()} with {name.strip('_').upper()}", node, instead)
    if isinstance(node, exp.Select) and not node.expressions:
        raise QueryRefusedError(f"seen: a SELECT of no column. {_HINT}.", find_line(node))
    if isinstance(node, exp.Join) and node.kind not in _JOIN_KINDS:
        raise _unproven(f"{node.kind} JOIN", node, "write JOIN, LEFT JOIN, CROSS JOIN or EXISTS")
    if isinstance(node, exp.Extract):
        _check_part(node, node.this, _EXTRACT_PARTS)
    elif isinstance(node, (exp.DateTrunc, exp.DateDiff)):
        _check_part(node, node.args.get("unit"), _DATE_PARTS)
    elif isinstance(node, exp.TimestampTrunc):
        _check_part(node, node.args.get("unit"), _TIMESTAMP_PARTS)
        if node.args.get("zone"):
            raise _unproven("TIMESTAMP_TRUNC in a time zone", node, "times are UTC; event_date is the shop's day")
    elif isinstance(node, (exp.DateAdd, exp.DateSub)):
        _check_part(node, node.args.get("unit"), _INTERVAL_PARTS)
    elif isinstance(node, exp.Interval):
        _check_part(node, node.args.get("unit"), _INTERVAL_PARTS)
        if not isinstance(node.parent, exp.GenerateDateArray):
            raise _unproven("INTERVAL arithmetic", node, "write DATE_ADD or DATE_SUB")
    elif isinstance(node, exp.Like) and not (isinstance(node.expression, exp.Literal) and node.expression.is_string):
        raise _unproven("LIKE with a pattern that is no literal", node, "write the pattern into the query")
    elif isinstance(node, exp.Like) and "\\" in node.expression.name:
        raise _unproven("LIKE with an escape", node, "write STARTS_WITH or ENDS_WITH")
    elif isinstance(node, exp.Date) and node.args.get("zone"):
        raise _unproven("DATE in a time zone", node, "times are UTC; event_date is the shop's day")
    elif isinstance(node, exp.SHA2Digest) and (
            node.text("length") != "256" or not isinstance(node.parent, exp.LowerHex)):
        raise _unproven(f"SHA{node.text('length')} by itself", node, "write TO_HEX(SHA256(…))")
    elif isinstance(node, exp.LowerHex) and not isinstance(node.this, exp.SHA2Digest):
        raise _unproven("TO_HEX of something else than SHA256", node, "write TO_HEX(SHA256(…))")
    elif isinstance(node, exp.Right) and not (isinstance(node.expression, exp.Literal) and node.expression.is_int):
        raise _unproven("RIGHT without a literal length", node, "write RIGHT(…, 4)")
    elif isinstance(node, exp.CurrentDate) and node.this:
        raise _unproven("CURRENT_DATE in a time zone", node, "pass the day as a parameter")


def _name_of(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return node.name.upper()
    if "bigquery_name" in node.meta:
        return str(node.meta["bigquery_name"])
    return node.sql_name() if isinstance(node, exp.Func) else node.key.upper()


def _check_part(node: exp.Expr, part: exp.Expr | None, allowed: Sequence[str]) -> None:
    name = part.sql(DIALECT).upper().strip("'") if part else "none"
    if name not in allowed:
        raise _unproven(f"{node.key.upper()} with {name}", node, f"take one of {', '.join(allowed)}")


def _unproven(what: str, node: exp.Expr, instead: str) -> QueryRefusedError:
    return QueryRefusedError(
        f"{what} is not among the constructs that both warehouses are proven to answer alike, in "
        f"{show(node)}; instead, {instead}.", find_line(node)
    )


def _bind(tree: exp.Query, parameters: Mapping[str, Value]) -> dict[str, Value]:
    used: dict[str, Value] = {}
    for node in list(tree.find_all(exp.Parameter)):
        if not isinstance(node.this, exp.Var):
            raise QueryRefusedError(f"seen: the system variable {show(node)}. {_HINT}.", find_line(node))
        if node.name not in parameters:
            raise QueryRefusedError(f"the query needs @{node.name}; give it with --param {node.name}=…")
        value = used[node.name] = parameters[node.name]
        if isinstance(value, str):
            check_text(value, f"the value of @{node.name}")
        if not isinstance(node.parent, exp.Limit):
            node.replace(exp.cast(node.copy(), PARAMETER_TYPES[type(value)], dialect=DIALECT))
    return used


def _join_signs(tree: exp.Query) -> None:
    """Make -1.5 and (1.5) the literals that they are in GoogleSQL: they take the type of what stands beside them."""
    for sign in list(tree.find_all(exp.Neg)):
        if is_float_literal(sign.this):
            sign.replace(exp.Literal(this=f"-{sign.this.name}", is_string=False))
    for paren in list(tree.find_all(exp.Paren)):
        if is_float_literal(paren.this) and not isinstance(paren.parent, exp.Neg):
            paren.replace(paren.this)


def is_float_literal(node: exp.Expr) -> bool:
    """Tell whether it is a literal such as 1.5: FLOAT64, but NUMERIC beside NUMERIC."""
    return isinstance(node, exp.Literal) and not node.is_string and not node.is_int


def _resolve(tree: exp.Query, relations: Sequence[Table | View]) -> exp.Expr:
    schema = MappingSchema(dialect=DIALECT)
    for relation in relations:
        # Without sizes: sqlglot takes NUMERIC(28, 4) for wider than FLOAT64.
        columns = {column.name: re.sub(r"\(.*?\)", "", bigquery_type(column)) for column in relation.columns}
        schema.add_table(relation.name, columns)
    try:
        resolved = qualify(tree, schema=schema, dialect=DIALECT, quote_identifiers=False, identify=False)
        return annotate_types(resolved, schema=schema, dialect=DIALECT)
    except OptimizeError as error:
        raise QueryRefusedError(f"{_first_line(error)} The columns stand in docs/data_dictionary.md.") from error


def _check_scopes(tree: exp.Expr) -> None:
    """Refuse a name that is a WITH query's, but stands where that query cannot be seen: an engine's own table, then."""
    for scope in traverse_scope(tree):
        for source in scope.sources.values():
            if isinstance(source, exp.Table) and not source.db:
                raise QueryRefusedError(f"seen: the table {source.name}. {_HINT}.", find_line(source))


def _check_names(tree: exp.Expr) -> None:
    # BigQuery refuses two as an answer's table and wherever one is meant; DuckDB takes the first. Case does not count.
    for query in (tree, *(node.this for node in tree.find_all(exp.Subquery, exp.CTE))):
        names = Counter(name.lower() for name in query.named_selects)
        for name, count in names.items():
            if count > 1:
                named = [node for node in query.expressions if node.alias_or_name.lower() == name] or [query]
                raise QueryRefusedError(
                    f"seen: {count} columns named {name}; give each a name of its own with AS, in "
                    f"{show(query)}.", find_line(named[-1]))


def show(node: exp.Expr) -> str:
    """Give the beginning of a node's text, for a message."""
    return node.sql(DIALECT, comments=False)[:80]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
