"""GoogleSQL's meaning in DuckDB: what sqlglot's translation leaves different is corrected here, with types known.

NUMERIC is DECIMAL(38,9) rounded half away from zero, INT64 division gives FLOAT64, a division by zero is an error,
sums of INT64 stay INT64, dates stay dates. Each rule is proven by results against Google's own engine in tests/sql.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import reduce

from sqlglot import ErrorLevel, exp

from shoplake.errors import QueryRefusedError
from shoplake.warehouse.googlesql import DIALECT, Query, is_float_literal, show
from shoplake.warehouse.partition_filters import find_line
from shoplake.warehouse.reading_bounds import bounded

NUMERIC = "DECIMAL(38, 9)"
# Exact division of decimals: DuckDB's own goes through DOUBLE. HUGEINT holds operands up to 8e19; beyond is an error.
MACROS = (
    """CREATE MACRO divide_float(a, b) AS
    CASE WHEN b = 0 THEN error('division by zero') ELSE CAST(a AS DOUBLE) / CAST(b AS DOUBLE) END""",
    f"CREATE MACRO numeric_units(x) AS CAST(CAST(x AS {NUMERIC}) * 1000000000 AS HUGEINT)",
    "CREATE MACRO round_quotient(a, b) AS sign(a) * sign(b) * ((2 * abs(a) + abs(b)) // (2 * abs(b)))",
    """CREATE MACRO divide_numeric(a, b) AS CASE WHEN b = 0 THEN error('division by zero') ELSE
    CAST(round_quotient(numeric_units(a) * 1000000000, numeric_units(b)) AS DECIMAL(38, 0))
    * CAST(0.000000001 AS DECIMAL(9, 9)) END""",
    "CREATE MACRO divide_integer(a, b) AS CASE WHEN b = 0 THEN error('division by zero') ELSE a // b END",
    "CREATE MACRO remainder_of(a, b) AS CASE WHEN b = 0 THEN error('division by zero') ELSE a % b END",
)

MAX_TEXT_BYTES = 1_000_000  # of a text that a query joins: DuckDB stops between rows, not within one
_MACRO_CALLS = (exp.Div, exp.SafeDivide, exp.IntDiv, exp.Mod, exp.Avg, exp.DPipe, exp.Concat)
_MOST_USES, _MAX_COPIES = 4, 1_000
_MAX_EXPONENT = 60  # of a literal beside NUMERIC, which has 38 digits

_INT, _FLOAT, _NUMERIC = "INT64", "FLOAT64", "NUMERIC"
# Target -> the source types whose conversion is the same in both.
_CASTS = {
    _INT: (_INT, "BOOL"), _FLOAT: (_INT, _FLOAT, _NUMERIC), _NUMERIC: (_INT, _NUMERIC),
    "STRING": (_INT, "STRING", "DATE", "BOOL"), "DATE": ("DATE", "TIMESTAMP"), "BOOL": ("BOOL", _INT),
}
_LITERAL_CASTS = (_NUMERIC, "DATE", "TIMESTAMP")  # DATE '2026-01-31' is such a cast
_DUCKDB_EXTRACT = {"DAYOFYEAR": "doy", "ISOWEEK": "week", "ISOYEAR": "isoyear"}


@bounded
def write_duckdb(query: Query) -> str:
    """Write a checked query as DuckDB's SQL, for a connection that has MACROS.

    Raises:
        QueryRefusedError: the meaning hangs on a type that the text does not fix, or on a conversion that differs; or
            the translation would be too large.
    """
    tree = query.tree.copy()
    _refuse_copies(tree)
    _refuse_mixed_literals(tree)
    for node in reversed(list(tree.walk())):  # children first
        rule = _RULES.get(type(node))
        new = rule(node) if rule else node
        if new is not node:
            new.type = node.type
            node.replace(new)
    return str(tree.sql(dialect="duckdb", pretty=True, unsupported_level=ErrorLevel.IGNORE))


def _refuse_copies(tree: exp.Expr) -> None:
    """Refuse what grows beyond measure: what takes the place of a division or || writes its operands up to four times.

    DuckDB's planner, which would work on it for minutes, cannot be stopped.
    """
    depths: dict[int, int] = {}
    copies = 0
    for node in tree.walk():  # parents first
        depth = depths.get(id(node.parent), 0)
        is_link = isinstance(node, exp.DPipe) and isinstance(node.parent, exp.DPipe)  # of a chain, written as one
        is_call = isinstance(node, _MACRO_CALLS) and not is_link
        depths[id(node)] = depth + is_call
        copies += _MOST_USES ** min(depth, 9) if is_call else 0
    if copies > _MAX_COPIES:
        raise QueryRefusedError("the query is too large: it has too many divisions or || inside of one another. Put "
                                "the inner ones into WITH queries.")


def _kind(node: exp.Expr) -> str:
    kind = node.type.sql(DIALECT).split("(")[0] if node.type else "UNKNOWN"
    if kind in ("UNKNOWN", "NULL"):
        raise QueryRefusedError(
            f"the type of {show(node)} cannot be told; write CAST(… AS NUMERIC) around it, or another "
            "type.", find_line(node)
        )
    return kind


def _common_kind(operands: Sequence[exp.Expr]) -> str:
    """Give the type that GoogleSQL computes in; a literal such as 1.5 takes the other side's type."""
    kinds = {_kind(node) for node in operands if not is_float_literal(node)} or {_FLOAT}
    return _FLOAT if _FLOAT in kinds else _NUMERIC if _NUMERIC in kinds else _INT


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])


def _cast(node: exp.Expr, to: str) -> exp.Expr:
    return exp.Cast(this=node.copy(), to=exp.DataType.build(to, dialect="duckdb"))


def _write_literal(node: exp.Expr) -> exp.Expr:
    """DuckDB takes 1.5 for DECIMAL, GoogleSQL for FLOAT64 unless the operands that share its type are NUMERIC."""
    if not is_float_literal(node):
        return node
    beside = [other for other in _sharing_type(node) if not is_float_literal(other)]
    if any(other.is_type("decimal") for other in beside) and not any(other.is_type("double") for other in beside):
        value = Decimal(node.name)
        if value and abs(value.adjusted()) > _MAX_EXPONENT:
            raise QueryRefusedError(f"{show(node)} is beyond NUMERIC, which stands beside it.", find_line(node))
        return exp.Literal(this=f"{value:f}", is_string=False)
    return node if "e" in node.name.lower() else exp.Literal(this=f"{node.name}e0", is_string=False)


def _sharing_type(node: exp.Expr) -> list[exp.Expr]:
    """Give the operands that GoogleSQL brings to one type, `node` among them; a condition is none of its results'."""
    parent = node.parent
    case = parent.parent if isinstance(parent, exp.If) and isinstance(parent.parent, exp.Case) else parent
    if isinstance(case, exp.Case):
        branches = case.args["ifs"]
        is_result = node.arg_key in ("true", "default")
        operands = [*(branch.args["true" if is_result else "this"] for branch in branches),
                    case.args.get("default") if is_result else case.this]
        return [operand for operand in operands if operand]
    if isinstance(parent, exp.If):
        return [parent.args[name] for name in ("true", "false") if parent.args.get(name)]
    if isinstance(parent, exp.Cast):
        return [parent]
    return list(parent.iter_expressions()) if isinstance(parent, (exp.Binary, exp.Func, exp.Between, exp.In)) else []


def _refuse_mixed_literals(tree: exp.Expr) -> None:
    """Refuse 1.5 in one branch of a UNION and NUMERIC in another: which type it takes hangs on all branches."""
    for operation in tree.find_all(exp.SetOperation):
        for column in zip(*(select.expressions for select in _branches(operation)), strict=False):
            values = [projection.unalias() for projection in column]
            literal = next((value for value in values if is_float_literal(value)), None)
            if literal and any(value.is_type("decimal") for value in values):
                raise QueryRefusedError(
                    f"{show(literal)} stands in one branch of {operation.key.upper()} and NUMERIC in another; write "
                    f"CAST({show(literal)} AS NUMERIC).", find_line(literal)
                )


def _branches(query: exp.Expr) -> list[exp.Expr]:
    query = query.unnest()
    if isinstance(query, exp.SetOperation):
        return [*_branches(query.left), *_branches(query.right)]
    return [query]


def _divide(node: exp.Expr) -> exp.Expr:
    is_numeric = _common_kind([node.this, node.expression]) == _NUMERIC
    divisor = node.expression
    if isinstance(node, exp.SafeDivide):
        if is_numeric and _kind(node) != _NUMERIC:
            raise QueryRefusedError(
                f"{show(node)}: SAFE_DIVIDE takes NUMERIC with no literal such as 1.5; write CAST(1.5 AS NUMERIC).",
                find_line(node))
        divisor = exp.Nullif(this=divisor.copy(), expression=exp.Literal.number(0))
    return _call("divide_numeric" if is_numeric else "divide_float", node.this, divisor)


def _divide_integers(node: exp.Expr) -> exp.Expr:
    if _common_kind([node.this, node.expression]) != _INT:
        raise QueryRefusedError(
            f"{show(node)}: DIV and MOD take INT64 here; else write FLOOR(a / b).", find_line(node))
    return _call("divide_integer" if isinstance(node, exp.IntDiv) else "remainder_of", node.this, node.expression)


def _multiply(node: exp.Expr) -> exp.Expr:
    return _cast(exp.paren(node.copy()), NUMERIC) if _common_kind([node.this, node.expression]) == _NUMERIC else node


def _aggregate(node: exp.Expr) -> exp.Expr:
    """Keep the result's type: for an aggregate, or for the window that it runs over."""
    function = node.this if isinstance(node, exp.Window) else node
    if isinstance(node.parent, exp.Window) and node.arg_key == "this":
        return node  # the window's turn comes later
    if isinstance(function, exp.CountIf):  # over no rows DuckDB gives NULL
        return _cast(exp.Coalesce(this=node.copy(), expressions=[exp.Literal.number(0)]), "BIGINT")
    if isinstance(function, exp.Sum) and _kind(function) == _INT:  # DuckDB gives HUGEINT
        return _cast(node, "BIGINT")
    if isinstance(function, exp.Avg) and _kind(_first_operand(function)) == _NUMERIC:
        return _call("divide_numeric", _with_function(node, exp.Sum), exp.Nullif(
            this=_with_function(node, exp.Count), expression=exp.Literal.number(0)))
    return node


def _first_operand(function: exp.Expr) -> exp.Expr:
    operand: exp.Expr = function.this
    return operand.expressions[0] if isinstance(operand, exp.Distinct) else operand


def _with_function(node: exp.Expr, function: type[exp.Expr]) -> exp.Expr:
    copy = node.copy()
    if isinstance(copy, exp.Window):
        copy.set("this", function(this=copy.this.this))
        return copy
    return function(this=copy.this)


def _convert(node: exp.Cast) -> exp.Expr:
    target = node.to.sql(DIALECT).split("(")[0]
    source = node.this
    if isinstance(source, (exp.Parameter, exp.Null)) or (isinstance(source, exp.Literal) and target in _LITERAL_CASTS):
        pass  # a bound value has its type already
    elif _kind(source) not in _CASTS.get(target, ()):
        raise QueryRefusedError(
            f"CAST from {_kind(source)} to {target} is not proven to give the same in both warehouses, in "
            f"{show(node)}; allowed to {target}: {', '.join(_CASTS.get(target, ())) or 'none'}.",
            find_line(node)
        )
    if target == _NUMERIC and not node.to.expressions:
        node.set("to", exp.DataType.build(NUMERIC, dialect="duckdb"))
    return node


def _round(node: exp.Expr) -> exp.Expr:
    digits = node.args.get("decimals")
    if _kind(node.this) != _NUMERIC or not (digits is None or isinstance(digits, exp.Literal)):
        raise QueryRefusedError(
            f"{show(node)}: ROUND takes a NUMERIC and a literal number of digits here; FLOAT64 is rounded "
            "differently by the two warehouses; write ROUND(CAST(… AS NUMERIC), 2).", find_line(node)
        )
    return node


def _match(node: exp.Expr) -> exp.Expr:
    """Match % and _ together by a regular expression: DuckDB's own LIKE would take for ever, and cannot be stopped."""
    pattern = node.expression.name
    if not ("_" in pattern and "%" in pattern):
        return node
    parts = {"%": ".*", "_": "."}
    expression = "".join(parts.get(one) or re.escape(one) for one in re.sub("%+", "%", pattern))
    return _call("regexp_full_match", node.this, exp.Literal.string(expression), exp.Literal.string("s"))


def _join_texts(node: exp.Expr) -> exp.Expr:
    """Stop a text that doubles and doubles."""
    if isinstance(node.parent, exp.DPipe) or node.is_type("array"):
        return node
    parts = list(node.flatten()) if isinstance(node, exp.DPipe) else node.expressions
    zero = exp.Literal.number(0)
    sizes: list[exp.Expr] = [
        exp.Coalesce(this=_call("strlen", _cast(part, "VARCHAR")), expressions=[zero.copy()]) for part in parts]
    is_long = exp.GT(this=reduce(lambda left, right: exp.Add(this=left, expression=right), sizes),
                     expression=exp.Literal.number(MAX_TEXT_BYTES))
    message = exp.Literal.string(f"a text of more than {MAX_TEXT_BYTES} bytes")
    return exp.Case(ifs=[exp.If(this=is_long, true=_call("error", message))], default=node.copy())


def _hash(node: exp.Expr) -> exp.Expr:
    if _kind(node.this) != "STRING":
        raise QueryRefusedError(f"{show(node)}: SHA256 takes a STRING; write CAST(… AS STRING).", find_line(node))
    return node


def _extract(node: exp.Expr) -> exp.Expr:
    part = node.name.upper()
    if part == "DAYOFWEEK":  # GoogleSQL counts from Sunday = 1, DuckDB from Sunday = 0
        return exp.paren(exp.Add(this=_extract_part("dow", node), expression=exp.Literal.number(1)))
    return _extract_part(_DUCKDB_EXTRACT[part], node) if part in _DUCKDB_EXTRACT else node


def _extract_part(part: str, node: exp.Expr) -> exp.Expr:
    return exp.Extract(this=exp.var(part), expression=node.expression.copy())


def _keep_date(node: exp.Expr) -> exp.Expr:
    return _cast(node, "DATE")  # DuckDB would give TIMESTAMP


_RULES: dict[type[exp.Expr], Callable[..., exp.Expr]] = {
    exp.Literal: _write_literal, exp.Div: _divide, exp.SafeDivide: _divide, exp.IntDiv: _divide_integers,
    exp.Mod: _divide_integers, exp.Mul: _multiply, exp.Sum: _aggregate, exp.CountIf: _aggregate, exp.Avg: _aggregate,
    exp.Window: _aggregate, exp.Cast: _convert, exp.TryCast: _convert, exp.Round: _round, exp.Extract: _extract,
    exp.Like: _match, exp.DPipe: _join_texts, exp.Concat: _join_texts,
    exp.SHA2Digest: _hash, exp.DateAdd: _keep_date, exp.DateSub: _keep_date, exp.DateTrunc: _keep_date,
}
