"""Google's own SQL engine (ZetaSQL as wasm) as the oracle for what GoogleSQL means."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from shoplake.contract.columns import Column
from shoplake.contract.render import bigquery_type

Tables = Mapping[str, tuple[Sequence[Column], Sequence[Sequence[Any]]]]
Answer = tuple[list[str], list[str], list[tuple[Any, ...]]]
GoogleSql = Callable[..., Answer]


@pytest.fixture(scope="session")
def google_sql(pytestconfig: pytest.Config) -> GoogleSql:
    """Give `run(sql, parameters, tables) -> (column names, type names, rows)` in ZetaSQL's reference engine.

    Compiling the module takes 15 to 60 s; it is kept in pytest's cache.
    """
    engine = _start_engine(pytestconfig.cache.mkdir("zetasql"))

    def run(
        sql: str, parameters: Mapping[str, Any] | None = None,
        tables: Tables | None = None,
    ) -> Answer:
        return _evaluate(engine, sql, parameters or {}, tables or {})

    return run


def _start_engine(cache: Path) -> Any:
    import wasmtime
    import zetasql
    from zetasql.core import ZetaSqlLocalService, wasm_client

    compiled = cache / f"{zetasql.__version__}-{version('wasmtime')}.cwasm"

    class CachedModule:
        @staticmethod
        def from_file(engine: wasmtime.Engine, path: str) -> wasmtime.Module:
            with FileLock(cache / "lock"):
                if not compiled.exists():
                    part = compiled.with_suffix(".part")
                    part.write_bytes(wasmtime.Module.from_file(engine, path).serialize())
                    part.rename(compiled)
            return wasmtime.Module.deserialize_file(engine, str(compiled))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wasm_client, "Module", CachedModule)
        return ZetaSqlLocalService()


# What BigQuery has and the queries may use; ZetaSQL's other features stay off.
_FEATURES = (
    "ANALYTIC_FUNCTIONS", "NUMERIC_TYPE", "BIGNUMERIC_TYPE", "INTERVAL_TYPE", "PARAMETERIZED_TYPES", "GROUP_BY_ROLLUP",
    "WITH_ON_SUBQUERY", "SELECT_STAR_EXCEPT_REPLACE", "ORDER_BY_IN_AGGREGATE", "LIMIT_IN_AGGREGATE",
    "NULL_HANDLING_MODIFIER_IN_ANALYTIC", "NULL_HANDLING_MODIFIER_IN_AGGREGATE", "CIVIL_TIME", "SAFE_FUNCTION_CALL",
    "WEEK_WITH_WEEKDAY", "NULLS_FIRST_LAST_IN_ORDER_BY", "WITH_RECURSIVE", "DECIMAL_ALIAS", "DATE_TIME_CONSTRUCTORS",
    "DATE_ARITHMETICS", "ADDITIONAL_STRING_FUNCTIONS", "EXTENDED_DATE_TIME_SIGNATURES", "IS_DISTINCT", "QUALIFY",
    "PIVOT", "UNPIVOT", "GROUPING_SETS", "GROUPING_BUILTIN", "GROUP_BY_ALL", "CONCAT_MIXED_TYPES",
    "DISALLOW_GROUP_BY_FLOAT",
    "ARRAY_AGGREGATION_FUNCTIONS", "TIME_BUCKET_FUNCTIONS",
)


def _language() -> Any:
    from zetasql import types as z

    return z.LanguageOptions(
        product_mode=z.ProductMode.PRODUCT_EXTERNAL, reserved_keywords=["QUALIFY"],
        enabled_language_features=[z.LanguageFeature[f"FEATURE_{name}"] for name in _FEATURES],
        supported_statement_kinds=[z.ResolvedNodeKind.RESOLVED_QUERY_STMT],
    )


def _kind(type_name: str) -> Any:
    from zetasql import types as z

    name = type_name.split("(")[0]
    return z.TypeKind[f"TYPE_{ {'FLOAT64': 'DOUBLE'}.get(name, name) }"]


def _parameter_type(value: Any) -> str:
    if isinstance(value, datetime):
        return "TIMESTAMP"
    return {date: "DATE", int: "INT64", str: "STRING", Decimal: "NUMERIC", float: "FLOAT64", bool: "BOOL"}[type(value)]


def _encode(value: Any, type_name: str) -> Any:
    from zetasql import types as z

    if value is None:
        return z.Value()
    name = type_name.split("(")[0]
    if name == "NUMERIC":
        units = int(Decimal(value).scaleb(9))
        return z.Value(numeric_value=units.to_bytes((units.bit_length() // 8) + 1, "little", signed=True))
    if name == "DATE":
        return z.Value(date_value=(value - date(1970, 1, 1)).days)
    if name == "TIMESTAMP":
        from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

        moment = Timestamp()
        moment.FromDatetime(value.astimezone(UTC))
        return z.Value(timestamp_value=moment)
    field = {"INT64": "int64_value", "STRING": "string_value", "BOOL": "bool_value", "FLOAT64": "double_value"}[name]
    return z.Value(**{field: value})


def _decode(cell: Any, kind: str) -> Any:
    field = cell.WhichOneof("value")
    if field is None:
        return None
    value = getattr(cell, field)
    if kind == "NUMERIC":
        return Decimal(int.from_bytes(value, "little", signed=True)).scaleb(-9)
    if kind == "DATE":
        return date(1970, 1, 1) + timedelta(days=value)
    if kind == "TIMESTAMP":
        return value.ToDatetime(UTC)
    return value


def _evaluate(
    engine: Any, sql: str, parameters: Mapping[str, Any], tables: Tables,
) -> Answer:
    from zetasql import types as z
    from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2

    language = _language()
    content: dict[str, Any] = {}
    registered = []
    for name, (columns, rows) in tables.items():
        # The engine takes rows for tables of the root catalog only, so `gold.x` becomes one name.
        sql = re.sub(rf"(?<![`.\w]){re.escape(name)}\b", f"`{name}`", sql)
        types = [bigquery_type(column) for column in columns]
        registered.append(z.SimpleTable(name=name, column=[
            z.SimpleColumn(name=column.name, type=z.Type(type_kind=_kind(type_)))
            for column, type_ in zip(columns, types, strict=True)
        ]))
        content[name] = z.TableContent(table_data=z.TableData(row=[
            z.TableData.Row(cell=[_encode(value, type_) for value, type_ in zip(row, types, strict=True)])
            for row in rows
        ]))
    catalog = z.SimpleCatalog(
        name="root", table=registered,
        builtin_function_options=z.ZetaSQLBuiltinFunctionOptions(language_options=language),
    )
    options = z.AnalyzerOptions(
        language_options=language, default_timezone="UTC",
        query_parameters=[
            z.AnalyzerOptions.QueryParameter(name=name, type=z.Type(type_kind=_kind(_parameter_type(value))))
            for name, value in parameters.items()
        ],
    )
    prepared = engine.prepare_query(sql=sql, options=options, simple_catalog=catalog, table_content=content)
    identity = prepared.prepared.prepared_query_id
    try:
        request = z.EvaluateQueryRequest(prepared_query_id=identity, params=[
            z.Parameter(name=name, value=_encode(value, _parameter_type(value)))
            for name, value in parameters.items()
        ])
        # The raw answer: the wrapper's own conversion loses timestamps.
        answer = engine.wasm_client.call_grpc_func(
            "ZetaSqlLocalService_EvaluateQuery", request.to_proto(), local_service_pb2.EvaluateQueryResponse)
    finally:
        engine.unprepare_query(prepared_query_id=identity)
    kinds = [column.type.type_kind.name.removeprefix("TYPE_") for column in prepared.prepared.columns]
    found = [tuple(_decode(cell, kind) for cell, kind in zip(row.cell, kinds, strict=True))
             for row in answer.content.table_data.row]
    return [column.name for column in prepared.prepared.columns], kinds, found
