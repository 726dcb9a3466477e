"""Google's own analyzer of GoogleSQL (ZetaSQL as wasm): what BigQuery would say of a statement, without BigQuery.

A tool of development: the package zetasql is no dependency of the platform, only of its `dev` extra.
"""

import ctypes
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlglot import exp

from shoplake.contract.columns import Column
from shoplake.errors import ConfigError, QueryRefusedError

_DIALECT = "bigquery"
# What BigQuery has and our statements may use; ZetaSQL's other features stay off.
_FEATURES = (
    "ANALYTIC_FUNCTIONS", "NUMERIC_TYPE", "BIGNUMERIC_TYPE", "INTERVAL_TYPE", "PARAMETERIZED_TYPES", "GROUP_BY_ROLLUP",
    "WITH_ON_SUBQUERY", "SELECT_STAR_EXCEPT_REPLACE", "ORDER_BY_IN_AGGREGATE", "LIMIT_IN_AGGREGATE",
    "NULL_HANDLING_MODIFIER_IN_ANALYTIC", "NULL_HANDLING_MODIFIER_IN_AGGREGATE", "CIVIL_TIME", "SAFE_FUNCTION_CALL",
    "WEEK_WITH_WEEKDAY", "NULLS_FIRST_LAST_IN_ORDER_BY", "WITH_RECURSIVE", "DECIMAL_ALIAS", "DATE_TIME_CONSTRUCTORS",
    "DATE_ARITHMETICS", "ADDITIONAL_STRING_FUNCTIONS", "EXTENDED_DATE_TIME_SIGNATURES", "IS_DISTINCT", "QUALIFY",
    "PIVOT", "UNPIVOT", "GROUPING_SETS", "GROUPING_BUILTIN", "GROUP_BY_ALL", "CONCAT_MIXED_TYPES",
    "DISALLOW_GROUP_BY_FLOAT", "ARRAY_AGGREGATION_FUNCTIONS", "TIME_BUCKET_FUNCTIONS",
    "CREATE_TABLE_PARTITION_BY", "CREATE_TABLE_CLUSTER_BY", "CREATE_TABLE_FIELD_ANNOTATIONS", "CREATE_TABLE_NOT_NULL",
)
# Of BigQuery's options those that our statements set; another name, or another type, is refused.
_OPTIONS = {
    "description": "STRING", "labels": "ARRAY<STRUCT<STRING, STRING>>", "location": "STRING",
    "require_partition_filter": "BOOL", "expiration_timestamp": "TIMESTAMP",
}
_STATEMENTS = (
    "QUERY", "CREATE_SCHEMA", "CREATE_TABLE", "CREATE_TABLE_AS_SELECT", "CREATE_VIEW", "MERGE", "INSERT", "DELETE",
    "UPDATE", "TRUNCATE", "CREATE_ROW_ACCESS_POLICY",
)


class GoogleAnalyzer:
    """ZetaSQL in this process; a statement takes 20 to 90 ms.

    Attributes:
        service: the wasm's own services, for who wants more than analysis: tests run queries in its engine.
    """

    def __init__(self, cache: Path) -> None:
        """Start it in about a second.

        The first time on a machine its module is compiled, which takes about a minute, and kept in `cache`.

        Raises:
            ConfigError: zetasql is not installed.
        """
        try:
            from zetasql import types
        except ImportError as error:
            raise ConfigError("zetasql, Google's SQL analyzer, is not installed here; install it with: make setup"
                              ) from error
        self._types = types
        self.service = _start_service(cache)

    def analyze(
        self, sql: str, tables: Mapping[str, Sequence[Column]], parameters: Mapping[str, str] | None = None,
    ) -> list[tuple[str, str]]:
        """Analyze one statement and give a query's columns with their types; of other statements, nothing.

        Args:
            tables: their columns, by the names that the statement uses.
            parameters: their GoogleSQL types.

        Raises:
            QueryRefusedError: BigQuery would not run it; `line` is the statement's, from 1.
        """
        from zetasql.core.exceptions import ServerError
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2

        request = self._types.AnalyzeRequest(
            sql_statement=sql, options=self.options(parameters or {}), simple_catalog=self._catalog(tables))
        try:
            answer = self.service.wasm_client.call_grpc_func(
                "ZetaSqlLocalService_Analyze", request.to_proto(), local_service_pb2.AnalyzeResponse)
        except ServerError as error:
            raise _read_refusal(error.raw_error) from error
        columns = answer.resolved_statement.resolved_query_stmt_node.output_column_list
        return [(column.name, self.name_kind(column.column.type.type_kind)) for column in columns]

    def options(self, parameters: Mapping[str, str]) -> Any:
        """Give the analyzer's options: BigQuery's dialect, UTC, and parameters by their GoogleSQL types."""
        z = self._types
        return z.AnalyzerOptions(
            language_options=self._language(), default_timezone="UTC",
            error_message_mode=z.ErrorMessageMode.ERROR_MESSAGE_ONE_LINE,
            allowed_hints_and_options=z.AllowedHintsAndOptions(
                disallow_unknown_options=True, disallow_duplicate_option_names=True,
                option=[z.AllowedHintsAndOptions.Option(name=name, type=self.type_of(type_))
                        for name, type_ in _OPTIONS.items()]),
            query_parameters=[z.AnalyzerOptions.QueryParameter(name=name, type=self.type_of(type_))
                              for name, type_ in parameters.items()])

    def functions(self) -> Any:
        """Give a catalog with GoogleSQL's own functions and no table."""
        z = self._types
        return z.SimpleCatalog(
            name="root",
            builtin_function_options=z.ZetaSQLBuiltinFunctionOptions(language_options=self._language()))

    def type_of(self, type_: str | exp.DataType) -> Any:
        """Give ZetaSQL's form of a GoogleSQL type, such as INT64 or ARRAY<STRUCT<a STRING>>."""
        z, parsed = self._types, exp.DataType.build(type_, dialect=_DIALECT)
        if parsed.is_type(exp.DType.ARRAY):
            array = z.ArrayType(element_type=self.type_of(parsed.expressions[0]))
            return z.Type(type_kind=z.TypeKind.TYPE_ARRAY, array_type=array)
        if parsed.is_type(exp.DType.STRUCT):
            fields = [z.StructField(field_name=field.name, field_type=self.type_of(field.args.get("kind", field)))
                      for field in parsed.expressions]
            return z.Type(type_kind=z.TypeKind.TYPE_STRUCT, struct_type=z.StructType(field=fields))
        name = parsed.sql(_DIALECT).split("(")[0]
        return z.Type(type_kind=z.TypeKind[f"TYPE_{'DOUBLE' if name == 'FLOAT64' else name}"])

    def name_kind(self, kind: int) -> str:
        """Give the GoogleSQL name of a type's kind: INT64, NUMERIC, ARRAY."""
        name: str = self._types.TypeKind(kind).name.removeprefix("TYPE_")
        return "FLOAT64" if name == "DOUBLE" else name

    def _language(self) -> Any:
        z = self._types
        return z.LanguageOptions(
            product_mode=z.ProductMode.PRODUCT_EXTERNAL, reserved_keywords=["QUALIFY"],
            enabled_language_features=[z.LanguageFeature[f"FEATURE_{name}"] for name in _FEATURES],
            supported_statement_kinds=[z.ResolvedNodeKind[f"RESOLVED_{name}_STMT"] for name in _STATEMENTS])

    def _catalog(self, tables: Mapping[str, Sequence[Column]]) -> Any:
        """Give a catalog where each table stands by its whole name (`a.b` in backticks) and by its path (a.b)."""
        from shoplake.contract.render import bigquery_type

        z, catalog = self._types, self.functions()
        catalogs: dict[tuple[str, ...], Any] = {(): catalog}
        for name, columns in tables.items():
            fields = [z.SimpleColumn(name=column.name, type=self.type_of(bigquery_type(column))) for column in columns]
            *path, last = name.split(".")
            for depth in range(len(path)):
                here = tuple(path[:depth + 1])
                if here not in catalogs:
                    catalogs[here] = z.SimpleCatalog(name=path[depth])
                    catalogs[here[:-1]].catalog.append(catalogs[here])
            catalogs[tuple(path)].table.append(z.SimpleTable(name=last, column=fields))
            if path:
                catalog.table.append(z.SimpleTable(name=name, column=fields))
        return catalog


def _read_refusal(raw: str) -> QueryRefusedError:
    """Take the first line of what the analyzer says, and the place that it tells in the last."""
    said = re.sub(r"^Code: \d+, Message: | \[at \d+:\d+\]", "", raw.splitlines()[0])
    places = re.findall(r" \[at (\d+):\d+\]", raw)
    return QueryRefusedError(said, int(places[-1]) if places else None)


def _start_service(cache: Path) -> Any:
    import wasmtime
    import zetasql
    from zetasql.core import ZetaSqlLocalService, wasm_client

    compiled = cache / f"zetasql-{zetasql.__version__}-{version('wasmtime')}.cwasm"

    class CachedModule:
        @staticmethod
        def from_file(engine: wasmtime.Engine, path: str) -> wasmtime.Module:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / "zetasql.lock"):
                if compiled.exists():
                    try:
                        return wasmtime.Module.deserialize_file(engine, str(compiled))
                    except wasmtime.WasmtimeError:  # of another machine: it is made again
                        compiled.unlink()
                part = compiled.with_suffix(".part")
                part.write_bytes(wasmtime.Module.from_file(engine, path).serialize())
                part.rename(compiled)
            return wasmtime.Module.deserialize_file(engine, str(compiled))

    original = wasm_client.Module
    wasm_client.Module = CachedModule
    try:
        service = ZetaSqlLocalService()
    finally:
        wasm_client.Module = original
    _move_bytes_at_once(service.wasm_client)
    return service


def _move_bytes_at_once(client: Any) -> None:
    """Replace the client's loops over single bytes: with them an answer takes three times as long."""
    def address(pointer: int) -> int:
        return ctypes.addressof(client.memory.data_ptr().contents) + pointer

    client.write_bytes = lambda pointer, data: ctypes.memmove(address(pointer), data, len(data))
    client.read_bytes = lambda pointer, size: ctypes.string_at(address(pointer), size)
