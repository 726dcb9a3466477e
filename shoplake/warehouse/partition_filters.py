"""Which scans of a query BigQuery would refuse, because they do not say which partitions they read.

The rule is at least as strict as BigQuery's, and needs no knowledge of what its optimizer pushes down. A scan of a
table that requires a filter must have a term on the partition column

- in the SELECT that reads the table: in its WHERE, or in the ON of an inner join, or of a LEFT JOIN whose right side
  the table is. A WHERE does not count for the side of an outer join that may be missing; a filter in a query around
  it, in HAVING or in QUALIFY never counts;
- joined to the rest by AND; an OR counts only where each of its branches is such a term;
- with the bare column on one side of =, <, <=, >, >=, BETWEEN or IN, and on the other what is constant for the run:
  literals, @parameters, CURRENT_DATE() and functions of these, no column and no subquery.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from shoplake.contract.tables import Table, View
from shoplake.errors import QueryRefusedError

_COMPARISONS = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_NOT_CONSTANT = (exp.Column, exp.Query, exp.AggFunc, exp.Window, exp.Star, exp.Rand, exp.Anonymous)


@dataclass(frozen=True)
class UnfilteredScan:
    """A scan without a filter that counts; `line` is the table's in the text, from 1."""

    table: str
    column: str
    line: int | None

    def __str__(self) -> str:
        """Say what is wrong, and what is allowed."""
        return (
            f"{self.table} is read without a filter on its partition column {self.column}, so BigQuery refuses it; ask "
            f"for {self.column} BETWEEN @from_date AND @to_date in the WHERE of the SELECT that reads the table: the "
            "bare column against literals, parameters or functions of them, joined to the rest by AND."
        )


def find_line(node: exp.Expr) -> int | None:
    """Give the line of a text that a parsed node stands in, from 1."""
    lines = [part.meta["line"] for part in node.walk() if "line" in part.meta]
    return min(lines, default=None) or (find_line(node.parent) if node.parent else None)


def find_unfiltered(tree: exp.Expr, relations: Sequence[Table | View]) -> tuple[UnfilteredScan, ...]:
    """Find the scans without a partition filter, in a query whose columns are qualified."""
    required = {relation.name: relation.partition_by for relation in relations
                if isinstance(relation, Table) and relation.requires_partition_filter}
    found = []
    for scan in tree.find_all(exp.Table):
        name = ".".join(part.name for part in scan.parts)
        column = required.get(name)
        if column and not _is_filtered(scan, column):
            found.append(UnfilteredScan(name, column, find_line(scan.this)))
    return tuple(found)


def refuse_unfiltered(scans: Sequence[UnfilteredScan]) -> None:
    """Refuse a query with unfiltered scans.

    Raises:
        QueryRefusedError: there is one; the message names the first.
    """
    if scans:
        raise QueryRefusedError(str(scans[0]), scans[0].line)


def find_unfiltered_merge(merge: exp.Merge, table: Table) -> tuple[UnfilteredScan, ...]:
    """Find the places of a MERGE that read all partitions of `table`, which it fills.

    Its ON needs a term; so does each WHEN NOT MATCHED BY SOURCE, which reads what ON leaves out, and each scan of the
    table in the source.
    """
    column = table.partition_by
    if column is None or not table.requires_partition_filter:
        return ()
    alias = merge.this.alias_or_name
    reads = [merge.args["on"], *(when.args.get("condition") for when in merge.args["whens"].expressions
                                 if not when.args.get("matched") and when.args.get("source"))]
    is_target_filtered = all(condition and any(_terms(condition, alias, column)) for condition in reads)
    again = [scan for scan in merge.args["using"].find_all(exp.Table) if scan.parts == merge.this.parts]
    scans = [*([] if is_target_filtered else [merge.this]), *(scan for scan in again if not _is_filtered(scan, column))]
    return tuple(UnfilteredScan(table.name, column, find_line(scan.this)) for scan in scans)


def partition_terms(scan: exp.Table, column: str) -> list[exp.Expr]:
    """Give the terms on the partition column that say which partitions of the scan are read: all of them hold."""
    place = scan.parent
    select = place.parent if isinstance(place, (exp.From, exp.Join)) else None
    if not isinstance(select, exp.Select):
        return []
    return [term for condition in _conditions(select, scan) for term in _terms(condition, scan.alias_or_name, column)]


def _is_filtered(scan: exp.Table, column: str) -> bool:
    return bool(partition_terms(scan, column))


def _conditions(select: exp.Select, scan: exp.Table) -> Iterator[exp.Expr]:
    """Give the conditions that every row of the scan has to meet."""
    joins = select.args.get("joins") or []
    own = next((number for number, join in enumerate(joins) if join.this is scan), -1)
    sides = [join.side for join in joins]
    may_be_missing = (own >= 0 and sides[own] in ("LEFT", "FULL")) or any(
        side in ("RIGHT", "FULL") for side in sides[own + 1:])
    where = select.args.get("where")
    if where and not may_be_missing:
        yield where.this
    for number, join in enumerate(joins):
        is_own = number == own and sides[number] in ("", "LEFT")
        is_inner = number > own and not any(sides[:number + 1])
        if (is_own or is_inner) and join.args.get("on"):
            yield join.args["on"]


def _terms(condition: exp.Expr, alias: str, column: str) -> Iterator[exp.Expr]:
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        for term in condition.flatten():
            yield from _terms(term, alias, column)
    elif _bounds(condition, alias, column):
        yield condition


def _bounds(term: exp.Expr, alias: str, column: str) -> bool:
    term = term.unnest()

    def is_column(node: exp.Expr) -> bool:
        # In a query each column has its table's alias; a MERGE is read as it is written.
        return isinstance(node, exp.Column) and node.table in (alias, "") and node.name.lower() == column

    if isinstance(term, exp.Or):
        return all(_bounds(branch, alias, column) for branch in term.flatten())
    if isinstance(term, exp.Between):
        return is_column(term.this) and _is_constant(term.args["low"]) and _is_constant(term.args["high"])
    if isinstance(term, exp.In):
        return is_column(term.this) and bool(term.expressions) and all(map(_is_constant, term.expressions))
    if isinstance(term, _COMPARISONS):
        left, right = term.this, term.expression
        return (is_column(left) and _is_constant(right)) or (is_column(right) and _is_constant(left))
    return False


def _is_constant(node: exp.Expr) -> bool:
    return not any(isinstance(part, _NOT_CONSTANT) for part in node.walk())
