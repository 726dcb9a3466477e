"""What Spark writes and delta-rs commits: once, whole days, nothing that the contract has no place for."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable

from shoplake.contract.columns import Column
from shoplake.contract.render import spark_schema
from shoplake.contract.tables import CATEGORY_REVENUE
from shoplake.errors import ConfigError, ContractError, StorageError
from shoplake.lake import delta
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table
from shoplake.lake.delta import append_once, create_tables, read_days, replace_days, replace_days_once
from shoplake.lake.sql import connect_duckdb, select_table
from shoplake.settings import load_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MONDAY, TUESDAY, WEDNESDAY = (date(2026, 3, day) for day in (2, 3, 4))
Facts = set[tuple[date, str]]


class Held:
    """A lock that was not lost."""

    def check(self) -> None:
        pass

    def announce_ready(self) -> None:
        pass


LOCK = Held()


@pytest.fixture
def lake(spark: "SparkSession", tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path / "a lake of Zoë"))  # a space and an accent, which no URL has
    create_tables(made, [CATEGORY_REVENUE], load_settings().shop)
    return made


def rows(spark: "SparkSession", facts: Iterable[tuple[date | None, str | None]]) -> "DataFrame":
    """Give rows of the table, of which only the key says something."""
    schema = spark_schema(CATEGORY_REVENUE)
    for field in schema.fields:
        field.nullable = True
    zero = {"LongType": 0, "DecimalType": Decimal(0)}
    made = [[*fact, *(zero[type(field.dataType).__name__] for field in schema.fields[2:])] for fact in facts]
    return spark.createDataFrame(made, schema)


def append(given: "DataFrame", lake: Lake, batch_id: int) -> None:
    append_once(given, lake, CATEGORY_REVENUE, "q", batch_id, LOCK, given.count())


def held(lake: Lake) -> Facts:
    """Read the table by delta-rs, which knows nothing of Spark."""
    table = read_table(lake, CATEGORY_REVENUE, ["event_date", "category"])
    facts = [(row["event_date"], row["category"]) for row in table.to_pylist()]
    assert len(facts) == len(set(facts))
    return set(facts)


def test_a_batch_is_appended_once_and_days_are_replaced_whole(spark: "SparkSession", lake: Lake) -> None:
    first = {(MONDAY, "toys"), (TUESDAY, "toys"), (TUESDAY, "garden")}
    for _ in range(2):
        append(rows(spark, first), lake, 0)
    assert held(lake) == first
    replace_days_once(rows(spark, {(TUESDAY, "books")}), lake, CATEGORY_REVENUE, [TUESDAY, WEDNESDAY], "q", 1, LOCK)
    assert held(lake) == {(MONDAY, "toys"), (TUESDAY, "books")}
    replace_days_once(rows(spark, {(TUESDAY, "again")}), lake, CATEGORY_REVENUE, [TUESDAY], "q", 1, LOCK)
    assert held(lake) == {(MONDAY, "toys"), (TUESDAY, "books")}
    replace_days(rows(spark, ()), lake, CATEGORY_REVENUE, [MONDAY], {"ledger_version": 7}, LOCK)
    assert held(lake) == {(TUESDAY, "books")}
    assert '"ledger_version": 7' in DeltaTable(lake.table(CATEGORY_REVENUE)).history(1)[0]["userMetadata"]


def test_only_the_days_asked_for_are_read_and_a_later_write_changes_nothing_of_them(
    spark: "SparkSession", lake: Lake,
) -> None:
    append(rows(spark, {(MONDAY, "toys"), (TUESDAY, "toys")}), lake, 0)
    append(rows(spark, {(TUESDAY, "garden"), (WEDNESDAY, "toys")}), lake, 1)
    tuesday = read_days(spark, lake, CATEGORY_REVENUE, [TUESDAY])
    append(rows(spark, {(TUESDAY, "books")}), lake, 2)
    assert {(row["event_date"], row["category"]) for row in tuesday.collect()} == {
        (TUESDAY, "toys"), (TUESDAY, "garden")}
    nothing = read_days(spark, lake, CATEGORY_REVENUE, [])
    assert nothing.collect() == []
    assert nothing.schema.simpleString() == tuesday.schema.simpleString()


@pytest.mark.parametrize("fact", [(MONDAY, None), (None, "toys")], ids=["a column", "the partition"])
def test_a_null_where_the_contract_allows_none_is_not_committed(
    spark: "SparkSession", lake: Lake, fact: tuple[Any, Any],
) -> None:
    with pytest.raises(ContractError, match="was given a NULL in"):
        append(rows(spark, [(MONDAY, "toys"), fact]), lake, 0)
    assert held(lake) == set()


def test_rows_of_a_day_that_is_not_replaced_are_not_committed(spark: "SparkSession", lake: Lake) -> None:
    append(rows(spark, {(MONDAY, "toys")}), lake, 0)
    with pytest.raises(ContractError, match=r"rows of \['2026-03-03'\]"):
        replace_days(rows(spark, {(MONDAY, "books"), (TUESDAY, "books")}), lake, CATEGORY_REVENUE, [MONDAY], {}, LOCK)
    assert held(lake) == {(MONDAY, "toys")}


def test_files_of_a_write_that_was_killed_are_no_rows(
    spark: "SparkSession", lake: Lake, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(delta, "commit_files", die)
        with pytest.raises(KeyboardInterrupt):
            append(rows(spark, {(MONDAY, "toys")}), lake, 0)
    assert list(Path(lake.table(CATEGORY_REVENUE)).rglob("*.parquet"))
    assert held(lake) == set()
    assert read_days(spark, lake, CATEGORY_REVENUE, [MONDAY]).collect() == []
    append(rows(spark, {(MONDAY, "toys")}), lake, 0)
    assert held(lake) == {(MONDAY, "toys")}


def test_a_table_whose_files_do_not_tell_all_is_refused(spark: "SparkSession", lake: Lake) -> None:
    append(rows(spark, {(MONDAY, "toys"), (MONDAY, "books")}), lake, 0)
    place = f"delta.`{lake.table(CATEGORY_REVENUE)}`"
    spark.sql(f"ALTER TABLE {place} SET TBLPROPERTIES ('delta.enableDeletionVectors' = true)")
    spark.sql(f"DELETE FROM {place} WHERE category = 'toys'")
    with pytest.raises(StorageError, match="version 3 of Delta's protocol"):
        read_days(spark, lake, CATEGORY_REVENUE, [MONDAY])


def test_a_table_of_an_older_version_gets_the_columns_that_may_be_null(spark: "SparkSession", lake: Lake) -> None:
    append(rows(spark, {(MONDAY, "toys")}), lake, 0)
    wanted = Column("comment", "STRING", "What a person wrote", nullable=True)
    newer = replace(CATEGORY_REVENUE, columns=(*CATEGORY_REVENUE.columns, wanted))
    with connect_duckdb(lake) as sql:
        assert sql.execute(f"SELECT category, comment FROM ({select_table(sql, lake, newer)})").fetchall() == [
            ("toys", None)], "readers need not wait for it"
    create_tables(lake, [newer], load_settings().shop)
    assert read_table(lake, newer, ["category", "comment"]).to_pylist() == [{"category": "toys", "comment": None}]
    assert read_days(spark, lake, newer, [MONDAY]).select("category", "comment").collect() == [("toys", None)]
    stricter = replace(newer, columns=(*newer.columns, replace(wanted, name="author", nullable=False)))
    with pytest.raises(ConfigError, match="lacks author"):
        create_tables(lake, [stricter], load_settings().shop)


def test_a_commit_is_refused_when_another_of_the_same_batch_or_days_came_in_between(
    spark: "SparkSession", lake: Lake, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a writer stalls until its lease is over, and another repeats its batch."""
    write = delta._write_files

    def overtaken_by(act: Callable[[], None]) -> Callable[..., str]:
        def late(*args: Any) -> str:
            with monkeypatch.context() as other:
                other.setattr(delta, "_write_files", write)
                act()
            return write(*args)

        return late

    monday = rows(spark, {(MONDAY, "toys")})
    monkeypatch.setattr(delta, "_write_files", overtaken_by(lambda: append(monday, lake, 0)))
    with pytest.raises(StorageError, match=r"[Cc]oncurrent"):
        append(monday, lake, 0)
    assert held(lake) == {(MONDAY, "toys")}
    newer = rows(spark, {(MONDAY, "books")})
    monkeypatch.setattr(delta, "_write_files", overtaken_by(
        lambda: replace_days(newer, lake, CATEGORY_REVENUE, [MONDAY], {}, LOCK)))
    with pytest.raises(StorageError, match="concurrent"):
        replace_days(rows(spark, {(MONDAY, "old")}), lake, CATEGORY_REVENUE, [MONDAY], {}, LOCK)
    assert held(lake) == {(MONDAY, "books")}


def test_files_that_lack_rows_are_not_committed(spark: "SparkSession", lake: Lake) -> None:
    with pytest.raises(StorageError, match="1 of 2 rows"):
        append_once(rows(spark, {(MONDAY, "toys")}), lake, CATEGORY_REVENUE, "q", 0, LOCK, 2)
    assert held(lake) == set()
