"""Google's own SQL engine (ZetaSQL as wasm) as the oracle for what GoogleSQL means."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from shoplake.contract.columns import Column
from shoplake.contract.render import bigquery_type
from shoplake.warehouse.google_analyzer import GoogleAnalyzer

Tables = Mapping[str, tuple[Sequence[Column], Sequence[Sequence[Any]]]]
Answer = tuple[list[str], list[str], list[tuple[Any, ...]]]
Evaluate = Callable[[Mapping[str, Any], Mapping[str, Sequence[Sequence[Any]]]], Answer]
EPOCH = date(1970, 1, 1)


@pytest.fixture(scope="session")
def google_analyzer() -> GoogleAnalyzer:
    """Give Google's analyzer; its module is kept where utils/check_sql.py keeps it."""
    return GoogleAnalyzer(Path(sys.prefix) / "zetasql")


@pytest.fixture(scope="session")
def prepare_google_sql(google_analyzer: GoogleAnalyzer) -> Callable[..., Any]:
    """Give `prepare(sql, parameter types, columns by table)`, a context that gives `evaluate(parameters, rows)`.

    Preparing takes 50 to 90 ms, evaluating 5.
    """
    engine = GoogleEngine(google_analyzer)
    return engine.prepare


@pytest.fixture(scope="session")
def google_sql(prepare_google_sql: Callable[..., Any]) -> Callable[..., Answer]:
    """Give `run(sql, parameters, tables) -> (column names, type names, rows)` in ZetaSQL's reference engine."""

    def run(sql: str, parameters: Mapping[str, Any] | None = None, tables: Tables | None = None) -> Answer:
        given = parameters or {}
        columns = {name: its for name, (its, _) in (tables or {}).items()}
        with prepare_google_sql(sql, {name: _type_name(value) for name, value in given.items()}, columns) as evaluate:
            answer: Answer = evaluate(given, {name: rows for name, (_, rows) in (tables or {}).items()})
            return answer

    return run


class GoogleEngine:
    """ZetaSQL's reference engine.

    Rows reach it as a parameter, an array of structs that takes the place of the table: so one prepared statement is
    evaluated on many sets of rows.
    """

    def __init__(self, analyzer: GoogleAnalyzer) -> None:
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2

        self._analyzer, self._messages = analyzer, local_service_pb2
        self._catalog = analyzer.service.register_catalog(simple_catalog=analyzer.functions()).registered_id

    @contextmanager
    def prepare(
        self, sql: str, parameters: Mapping[str, str], tables: Mapping[str, Sequence[Column]],
    ) -> Iterator[Evaluate]:
        types, stand_ins = dict(parameters), {}
        for name, columns in tables.items():
            pattern = rf"(?<![`.\w@]){re.escape(name)}\b"
            if re.search(pattern, sql):
                stand_ins[name] = name.replace(".", "__")
                sql = re.sub(pattern, f"(SELECT * FROM UNNEST(@{stand_ins[name]}))", sql)
                types[stand_ins[name]] = _rows_type(columns)
        parsed = {name: exp.DataType.build(type_, dialect="bigquery") for name, type_ in types.items()}
        prepared = self._analyzer.service.prepare_query(
            sql=sql, options=self._analyzer.options(types), registered_catalog_id=self._catalog).prepared
        names = [column.name for column in prepared.columns]
        kinds = [self._analyzer.name_kind(column.type.type_kind) for column in prepared.columns]

        def evaluate(values: Mapping[str, Any], rows: Mapping[str, Sequence[Sequence[Any]]]) -> Answer:
            request = self._messages.EvaluateQueryRequest(prepared_query_id=prepared.prepared_query_id)
            given = {**values, **{stand_in: rows[name] for name, stand_in in stand_ins.items()}}
            for name, value in given.items():
                parameter = request.params.add(name=name)
                _encode(value, parsed[name], parameter.value)
            answer = self._analyzer.service.wasm_client.call_grpc_func(
                "ZetaSqlLocalService_EvaluateQuery", request, self._messages.EvaluateQueryResponse)
            found = [tuple(_decode(cell, kind) for cell, kind in zip(row.cell, kinds, strict=True))
                     for row in answer.content.table_data.row]
            return names, kinds, found

        try:
            yield evaluate
        finally:
            self._analyzer.service.unprepare_query(prepared_query_id=prepared.prepared_query_id)


def _rows_type(columns: Sequence[Column]) -> str:
    fields = ", ".join(f"`{column.name}` {re.sub(r'[(].*?[)]', '', bigquery_type(column))}" for column in columns)
    return f"ARRAY<STRUCT<{fields}>>"


def _type_name(value: Any) -> str:
    if isinstance(value, datetime):
        return "TIMESTAMP"
    return {date: "DATE", int: "INT64", str: "STRING", Decimal: "NUMERIC", float: "FLOAT64", bool: "BOOL"}[type(value)]


def _encode(value: Any, type_: exp.DataType, into: Any) -> None:
    if value is None:
        return
    if type_.is_type(exp.DType.ARRAY):
        into.array_value.SetInParent()
        for element in value:
            _encode(element, type_.expressions[0], into.array_value.element.add())
    elif type_.is_type(exp.DType.STRUCT):
        parts = value.values() if isinstance(value, dict) else value
        for part, field in zip(parts, type_.expressions, strict=True):
            _encode(part, field.args["kind"], into.struct_value.field.add())
    elif type_.is_type(exp.DType.DECIMAL):
        units = int(Decimal(value).scaleb(9))
        into.numeric_value = units.to_bytes((units.bit_length() // 8) + 1, "little", signed=True)
    elif type_.is_type(exp.DType.DATE):
        into.date_value = (value - EPOCH).days
    elif type_.is_type(exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMP):
        into.timestamp_value.FromDatetime(value.astimezone(UTC))
    else:
        fields = {"INT64": "int64_value", "STRING": "string_value", "BOOL": "bool_value", "FLOAT64": "double_value",
                  "BYTES": "bytes_value"}
        setattr(into, fields[type_.sql("bigquery")], value)


def _decode(cell: Any, kind: str) -> Any:
    field = cell.WhichOneof("value")
    if field is None:
        return None
    value = getattr(cell, field)
    if kind == "ARRAY":  # of dates, or of what needs no type to be read
        return [_decode(one, "DATE" if one.WhichOneof("value") == "date_value" else "") for one in value.element]
    if kind == "NUMERIC":
        return Decimal(int.from_bytes(value, "little", signed=True)).scaleb(-9)
    if kind == "DATE":
        return EPOCH + timedelta(days=value)
    if kind == "TIMESTAMP":
        return value.ToDatetime(UTC)
    return value
