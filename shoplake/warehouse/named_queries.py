"""The questions of sql/*.sql: reading their header, and finding the values of their parameters.

A header opens with the title, then lines `-- Question: …`, `-- Grain: …` and one line for each parameter,

    -- @name TYPE: what it is (default: …)

where the default is a value, `newest event_date of gold.daily_sales`, or `27 days before @to_date` (which stands
above it).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from importlib.resources.abc import Traversable

from shoplake.contract.tables import (
    CANCELLATIONS,
    CATEGORY_REVENUE,
    CONVERSION_FUNNEL,
    CUSTOMER_DAILY_SALES,
    CUSTOMER_METRICS,
    CUSTOMER_SEGMENTS,
    DAILY_SALES,
    DAILY_SALES_SUMMARY,
    DEMAND_PREDICTIONS,
    INGEST_COUNTS,
    PRODUCT_PERFORMANCE,
    PRODUCT_RECOMMENDATIONS,
    USER_SEGMENTS,
    Table,
)
from shoplake.errors import ConfigError
from shoplake.warehouse.googlesql import Value
from shoplake.warehouse.protocol import DaySource, find_relation

_FILLED_BY = {
    **{table.name: "spark-submit spark/batch_processing.py"
       for table in (DAILY_SALES, CATEGORY_REVENUE, DAILY_SALES_SUMMARY, CUSTOMER_DAILY_SALES, CANCELLATIONS,
                     CONVERSION_FUNNEL, CUSTOMER_METRICS, CUSTOMER_SEGMENTS, PRODUCT_PERFORMANCE,
                     PRODUCT_RECOMMENDATIONS)},
    USER_SEGMENTS.name: "spark-submit spark/batch_processing.py --historical-csv FILE --source c2c_users",
    DEMAND_PREDICTIONS.name: "python ml/inference.py --model xgboost --horizon next_day",
    INGEST_COUNTS.name: "spark-submit spark/streaming_pipeline.py --drain",
}
NOTHING_YET = date(1970, 1, 1)  # the newest day of an empty table: every query over it is empty, but has its columns
_PARAMETER = re.compile(r"^-- @(\w+) (DATE|INT64|STRING|NUMERIC): (.+) \(default: (.+)\)$", re.MULTILINE)
_NEWEST = re.compile(r"newest (\w+) of (\w+\.\w+)")
_DAYS_BEFORE = re.compile(r"(\d+) days before @(\w+)")
_TYPED_NAME = re.compile(r"(\w+)(?::(DATE|INT64|STRING|NUMERIC))?")


_READERS: dict[str, Callable[[str], Value]] = {
    "DATE": date.fromisoformat, "INT64": int, "NUMERIC": Decimal, "STRING": str,
}


@dataclass(frozen=True)
class Parameter:
    """A parameter as the header declares it."""

    name: str
    type: str
    description: str
    default: str


@dataclass(frozen=True)
class NamedQuery:
    """One file of sql/."""

    name: str
    title: str
    sql: str
    parameters: tuple[Parameter, ...]

    def line_of(self, parameter: Parameter) -> int:
        """Give the line of the text that declares the parameter, from 1."""
        return self.sql[:self.sql.index(f"-- @{parameter.name} ")].count("\n") + 1


def load_queries(folder: Traversable) -> dict[str, NamedQuery]:
    """Read every query of the folder (shoplake.settings.find_resources finds it), in the order of their names."""
    texts = {file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
             for file in folder.iterdir() if file.name.endswith(".sql")}
    return {name: read_named_query(name, texts[name]) for name in sorted(texts)}


def read_named_query(name: str, sql: str) -> NamedQuery:
    """Read a query's header.

    Raises:
        ConfigError: the text does not open with a title, a question and a grain.
    """
    lines = sql.splitlines()
    if len(lines) < 3 or not all(map(str.startswith, lines[:3], ("-- ", "-- Question: ", "-- Grain: "))):
        raise ConfigError(f"{name}.sql must open with three comments: its title, `-- Question: …` and `-- Grain: …`")
    parameters = tuple(Parameter(*found) for found in _PARAMETER.findall(sql))
    return NamedQuery(name, lines[0].removeprefix("-- "), sql, parameters)


def explain_no_rows(query: NamedQuery) -> str:
    """Say which commands fill the tables that the query reads."""
    commands = [f"  {table}: {command}" for table, command in _FILLED_BY.items()
                if re.search(rf"FROM {re.escape(table)}\b", query.sql)]
    return "\n".join([f"{query.name}: no rows for these days. Its tables are filled by", *commands])


def resolve_parameters(query: NamedQuery, given: Mapping[str, str], warehouse: DaySource) -> dict[str, Value]:
    """Find the value of every parameter: given as text, or the header's default, which may ask the warehouse.

    Raises:
        ConfigError: a given name is not declared, or a value has not the declared type.
    """
    declared = [parameter.name for parameter in query.parameters]
    for name in given:
        if name not in declared:
            raise ConfigError(f"{query.name} has no parameter {name!r}; it has {', '.join(declared) or 'none'}")
    values: dict[str, Value] = {}
    for parameter in query.parameters:
        if parameter.name in given:
            values[parameter.name] = parse_value(parameter.name, parameter.type, given[parameter.name])
        else:
            values[parameter.name] = _find_default(parameter, values, warehouse)
    return values


def _find_default(parameter: Parameter, earlier: Mapping[str, Value], warehouse: DaySource) -> Value:
    if newest := _NEWEST.fullmatch(parameter.default):
        return warehouse.newest_day(newest[2], newest[1]) or NOTHING_YET
    if before := _DAYS_BEFORE.fullmatch(parameter.default):
        day = earlier[before[2]]
        if not isinstance(day, date):
            raise ConfigError(f"the default of @{parameter.name} counts from @{before[2]}, which is no DATE")
        return day - timedelta(days=min(int(before[1]), (day - date.min).days))
    return parse_value(parameter.name, parameter.type, parameter.default)


def check_default(query: NamedQuery, parameter: Parameter) -> None:
    """Refuse a default that no warehouse could resolve, without asking one.

    Raises:
        ConfigError: it is no value of its type, or counts from a parameter that is not a DATE above it.
        ContractError: it asks a table that is not served.
    """
    if newest := _NEWEST.fullmatch(parameter.default):
        relation = find_relation(newest[2])
        types = {column.name: column.type for column in relation.columns}
        if parameter.type != "DATE" or types.get(newest[1]) != "DATE":
            raise ConfigError(f"the default of @{parameter.name} takes the newest {newest[1]} of {newest[2]}, which is "
                              "no DATE column of it")
        if isinstance(relation, Table) and relation.requires_partition_filter and newest[1] != relation.partition_by:
            raise ConfigError(f"the default of @{parameter.name} would read all of {newest[2]}; the newest day is "
                              f"known of {relation.partition_by}")
    elif before := _DAYS_BEFORE.fullmatch(parameter.default):
        above = {other.name: other.type for other in query.parameters[:query.parameters.index(parameter)]}
        if above.get(before[2]) != "DATE":
            raise ConfigError(f"the default of @{parameter.name} counts from @{before[2]}, which is no DATE above it")
    else:
        parse_value(parameter.name, parameter.type, parameter.default)


def parse_value(name: str, type_: str, text: str) -> Value:
    """Read a parameter's value.

    Raises:
        ConfigError: the text is no value of the type.
    """
    try:
        return _READERS[type_](text)
    except (ValueError, InvalidOperation) as error:
        example = {"DATE": "2026-01-31", "INT64": "10", "NUMERIC": "1.5"}[type_]
        raise ConfigError(f"the parameter {name} is {type_}, as in {name}={example}; seen: {text!r}") from error


def parse_free_value(name: str, text: str) -> tuple[str, Value]:
    """Read a parameter of a query without a header, `name` or `name:TYPE`; without a type the text's form decides.

    Raises:
        ConfigError: the name or the value cannot be read.
    """
    match = _TYPED_NAME.fullmatch(name)
    if not match:
        raise ConfigError(f"a parameter is NAME=VALUE or NAME:TYPE=VALUE ({', '.join(_READERS)}); seen: {name}={text}")
    if match[2]:
        return match[1], parse_value(match[1], match[2], text)
    forms = {"DATE": r"\d{4}-\d{2}-\d{2}", "INT64": r"-?\d+", "NUMERIC": r"-?\d+\.\d+"}
    type_ = next((type_ for type_, form in forms.items() if re.fullmatch(form, text)), "STRING")
    return match[1], parse_value(match[1], type_, text)
