"""Damaged records through Spark's rules and through an oracle in plain Python: no crash, and the same verdict."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fuzz_records
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fuzz_records import ROW_FIELDS
from verdict_oracle import judge

from shoplake.quality.rules import event_rules
from shoplake.settings import load_settings
from shoplake.streaming.parse import parse_records
from shoplake.streaming.validate import judge_events

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SEED = int(os.environ.get("FAULT_SEED", "6"))
QUICK, MILLION, CHUNK = 20_000, 1_000_000, 125_000
MEGABYTE = 1_000_000
SENT_MS = 1_774_008_000_000  # 2026-03-20 12:00:00 UTC


def judge_in_spark(spark: "SparkSession", file: Path) -> pa.Table:
    """Give number, reasons, is_late, content_hash and the typed fields as text, by number."""
    from pyspark.sql import functions as F

    settings = load_settings("local")
    records = spark.read.parquet(str(file)).select(
        F.lit("origin").alias("origin"), F.lit("topic").alias("topic"), F.lit(0).alias("partition"),
        F.col("number").alias("offset"), F.lit(None).cast("binary").alias("key"), "value",
        F.lit(None).cast("array<struct<key:string,value:binary>>").alias("headers"),
        F.timestamp_millis("timestamp_ms").alias("timestamp"),
        F.lit("query").alias("query_id"), F.lit(0).cast("bigint").alias("batch_id"),
    )
    judged = judge_events(parse_records(records, settings.shop, None), event_rules(settings.quality, settings.shop))
    return judged.select(
        F.col("offset").alias("number"), F.array_join(F.sort_array("reasons"), ",").alias("reasons"), "is_late",
        "content_hash", *(as_text(name) for name in ROW_FIELDS),
    ).toArrow().sort_by("number")


def as_text(name: str) -> Any:
    from pyspark.sql import functions as F

    if name == "event_time":
        return F.date_format(name, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").alias(name)
    return F.col(name).cast("string").alias(name)


def find_differences(expected: pa.Table, seen: pa.Table) -> dict[str, list[Any]]:
    """Give, by what differs, the numbers of the records on which the two do not agree."""
    assert seen["number"].equals(expected["number"])
    is_good = pc.equal(expected["reasons"], "")
    differences = {"reasons": pc.not_equal(expected["reasons"], seen["reasons"])}
    for name in ("is_late", *ROW_FIELDS):
        is_other = pc.not_equal(expected[name], seen[name])  # NULL where one of the two is
        is_other = pc.coalesce(is_other, pc.xor(expected[name].is_null(), seen[name].is_null()))
        differences[name] = pc.and_(is_good, is_other)
    numbers = {name: expected["number"].filter(pc.and_not(differs, expected["is_open"])).to_pylist()
               for name, differs in differences.items()}
    return {name: found for name, found in numbers.items() if found}


class Contents:
    """Which content_hash Spark gave to which typed fields: one to one, or two events would be taken for one."""

    def __init__(self) -> None:
        self.hash_of: dict[tuple[Any, ...], str] = {}

    def add(self, expected: pa.Table, seen: pa.Table) -> None:
        is_good = pc.and_(pc.equal(expected["reasons"], ""), pc.invert(expected["is_open"]))
        hashes = seen["content_hash"].filter(is_good).to_pylist()
        columns = (expected[name].filter(is_good).to_pylist() for name in ROW_FIELDS)
        for content, content_hash in zip(zip(*columns, strict=True), hashes, strict=True):
            assert self.hash_of.setdefault(content, content_hash) == content_hash, content

    def check(self) -> None:
        assert len(set(self.hash_of.values())) == len(self.hash_of)


def start_writing(first: int, count: int, file: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, fuzz_records.__file__, str(SEED), str(first), str(count), str(file)]
    return subprocess.Popen(command)


def make_chunks(count: int, size: int, folder: Path) -> Iterator[Path]:
    """Give files of damaged records with the oracle's verdicts; the next is made while one is looked at."""
    files = [(first, min(size, count - first), folder / f"{first}.parquet") for first in range(0, count, size)]
    writers = {file: start_writing(*todo, file) for *todo, file in files[:1]}
    try:
        for position, (_, _, file) in enumerate(files):
            assert writers[file].wait() == 0
            for first, rows, following in files[position + 1:position + 2]:
                writers[following] = start_writing(first, rows, following)
            yield file
            file.unlink()
    finally:
        for writer in writers.values():
            writer.kill()
            writer.wait()


def check_agreement(spark: "SparkSession", count: int, folder: Path) -> Counter[str]:
    """Compare the two on `count` records; give how many of them broke which rule, and how many were good."""
    contents, found = Contents(), Counter[str]()
    for file in make_chunks(count, CHUNK, folder):
        expected, seen = pq.read_table(file), judge_in_spark(spark, file)
        assert seen.num_rows == expected.num_rows
        differences = find_differences(expected, seen)
        assert not differences, describe(differences, expected, seen)
        contents.add(expected, seen)
        for reasons in expected["reasons"].to_pylist():
            found.update(reasons.split(","))
        found["left open"] += pc.sum(expected["is_open"]).as_py()
    contents.check()
    assert found["left open"] < count / 100, "what is left out of the comparison must stay an exception"
    return found


def describe(differences: dict[str, list[int]], expected: pa.Table, seen: pa.Table) -> str:
    lines = [f"seed {SEED}, differences: { {name: len(numbers) for name, numbers in differences.items()} }"]
    for name, numbers in differences.items():
        for number in numbers[:5]:
            at = pc.equal(expected["number"], number)
            right, wrong = expected.filter(at).to_pylist()[0], seen.filter(at).to_pylist()[0]
            lines.append(f"{number}: {name} is {wrong[name]!r}, must be {right[name]!r} for {right['value'][:600]!r}")
    return "\n".join(lines)


def test_spark_and_the_oracle_agree(spark: "SparkSession", tmp_path: Path) -> None:
    found = check_agreement(spark, QUICK, tmp_path)
    # every rule was broken, and many records were good, or the agreement would be hollow
    rules = event_rules(load_settings("local").quality, load_settings("local").shop)
    assert {rule.name for rule in rules if rule.on_failure == "quarantine"} <= set(found)
    assert found[""] > QUICK / 5


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_spark_and_the_oracle_agree_on_a_million(
    spark: "SparkSession", tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    found = check_agreement(spark, MILLION, tmp_path)
    with capsys.disabled():
        print(f"\nseed {SEED}, {MILLION} records: {dict(found)}")


def make_text(**fields: str) -> str:
    """Write an event as JSON; `fields` are JSON texts, an empty one leaves its field out."""
    event = {
        "event_time": '"2026-03-20T11:59:00Z"', "user_id": '"u"', "product_id": '"p"', "category": '"c"',
        "price": '"1.50"', "quantity": "2", "event_type": '"order_created"', "event_id": '"e"', **fields,
    }
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in event.items() if text) + "}"


GOOD = make_text()
PRICE, JSON, TIME = ("price_valid",), ("json_valid",), ("event_time_valid",)
# Judged by hand, for both.
EXAMPLES: dict[str, tuple[str | bytes | None, tuple[str, ...]]] = {
    "good": (GOOD, ()),
    "no value": (None, JSON), "nothing": ("", JSON), "null": ("null", JSON), "an empty object": ("{}", (
        "category_present", "event_time_valid", "event_type_known", "price_valid", "product_id_present",
        "quantity_valid", "user_id_present")),
    "an array": (f"[{GOOD}]", JSON), "a byte order mark": ("\ufeff" + GOOD, JSON),
    "UTF-16": (GOOD.encode("utf-16"), JSON),
    "gzip": (b"\x1f\x8b\x08\x00" + GOOD.encode(), JSON), "cut": (GOOD[:-1], JSON), "NUL after it": (GOOD + "\0", JSON),
    "single quotes": (GOOD.replace('"', "'"), JSON), "a comment": (make_text(x="/**/1"), JSON),
    "not UTF-8": (GOOD.encode().replace(b'"u"', b'"\xff"'), JSON),
    "half a character in bytes": (GOOD.encode().replace(b'"u"', b'"\xed\xa0\x80"'), JSON),
    "a raw control character": (make_text(x='"\t"'), JSON),
    "an escaped one": (make_text(brand='"\\u0001"'), ("text_clean",)),
    "an escaped one in a new column": (make_text(x='"\\u0001"'), ()),
    "DEL": (make_text(brand='"\x7f"'), ("text_clean",)),
    "a comma too many": (GOOD[:-1] + ",}", JSON), "zeros in front": (make_text(x="01"), JSON),
    "blanks around": (f" \r\n\t{GOOD} \r\n\t", ()), "nested": (make_text(x="[" * 900 + "]" * 900), ()),
    "nested too deeply": (make_text(x="[" * 1001 + "]" * 1001), JSON),
    "a new column": (make_text(x='{"a":[1,null]}'), ()),
    "a name twice": (GOOD[:-1] + ',"quantity":3}', ()), "a name twice, then null": (
        GOOD[:-1] + ',"user_id":null}', ("user_id_present",)),
    "another case": (make_text(user_id="", User_ID='"u"'), ("user_id_present",)),
    "five decimals": (make_text(price='"1.00000"'), PRICE), "an exponent": (make_text(price='"1e2"'), PRICE),
    "Arabic digits": (make_text(price='"١٢"'), PRICE), "minus nothing": (make_text(price='"-0.00"'), ()),
    "fifteen digits": (make_text(price='"100000000000000"'), PRICE),
    "the largest amount": (make_text(price='"1000000000000"', quantity="1"), ()),
    "more than that": (make_text(price='"1000000000000.0001"', quantity="1"), ("amount_bounded",)),
    "half of one": (make_text(quantity="1.0"), ("quantity_valid",)),
    "too many": (make_text(quantity="2147483648"), ("quantity_valid",)),
    "no offset": (make_text(event_time='"2026-03-20T11:59:00"'), TIME),
    "offset 99:99": (make_text(event_time='"2026-03-20T11:59:00+99:99"'), TIME),
    "offset 14:00": (make_text(event_time='"2026-03-21T01:59:00+14:00"'), ()),
    "nanoseconds": (make_text(event_time='"2026-03-20T11:59:00.123456789Z"'), ()),
    "a leap second": (make_text(event_time='"2016-12-31T23:59:60Z"'), TIME),
    "no such day": (make_text(event_time='"2026-02-29T10:00:00Z"'), TIME),
    "milliseconds": (make_text(event_time="1774007940000"), TIME),
    "five minutes ahead": (make_text(event_time='"2026-03-20T12:05:00Z"'), ()),
    "a microsecond more": (make_text(event_time='"2026-03-20T12:05:00.000001Z"'), ("event_time_not_future",)),
    "a day late": (make_text(event_time='"2026-03-19T12:00:00Z"'), ()),
    "the year 0": (make_text(event_time='"0000-01-01T00:00:00Z"'), ("event_time_not_ancient",)),
    "256 characters": (make_text(brand=f'"{"😀" * 256}"'), ()),
    "257": (make_text(brand=f'"{"a" * 257}"'), ("text_bounded",)),
    "euros": (make_text(currency='"EUR"'), ("currency_supported",)), "version 3": (
        make_text(schema_version="3"), ("schema_version_supported",)),
    "an empty identity": (make_text(event_id='""'), ("event_id_present",)), "none": (make_text(event_id=""), ()),
    "a number for a name": (make_text(user_id="12345678901234567890"), ()),
    "an escaped pair": (make_text(user_id='"\\ud83d\\ude00"'), ()),
    "text that looks like half a character": (make_text(user_id='"\\\\ud800"'), ()),
    "text that looks like JSON": (make_text(brand='"[1"', x='"}{"'), ()),
    # What Spark's own reader takes for granted, and the fuzzing found.
    "a number of thirty decimals": (make_text(price="19.990000000000000000000000000001"), PRICE),
    "a number with an exponent": (make_text(price="1e2"), PRICE),
    "a number of ten millions": (make_text(price="12345678.5"), ()),
    "a small number": (make_text(price="0.0001"), ()),
    "NaN": (make_text(x="NaN"), JSON),
    "minus infinity": (make_text(price="-Infinity"), JSON),
    "an object after it": (GOOD + "{}", JSON),
    "words after it": (GOOD + " x }", JSON),
    "a list's end after it": (f"{GOOD}],[{GOOD}", JSON),
    "a form feed after it": (GOOD + "\f", JSON),
    "half a character": (make_text(user_id='"\\ud800"'), JSON),
    "the other half": (make_text(x='"\\udc00\\ud800"'), JSON),
    "a name with an escape": (make_text(x='{"user\\u005fid":1}'), JSON),
    "a long name with an escape": (GOOD[:-1] + ',"\\u0061bcdefghijklmno":1}', JSON),
    "a longer one": (GOOD[:-1] + ',"\\u0061bcdefghijklmnop":1}', ()),
    # As long as Kafka takes them. A regular expression of Java's that loops over alternatives would end the JVM here.
    "a million letters": (make_text(x=f'"\\u00e9{"a" * MEGABYTE}"'), ()),
    "a megabyte of escapes": (make_text(x='"' + "\\u0061" * (MEGABYTE // 6) + '"'), ()),
    "a megabyte of pairs": (make_text(x='"' + "\\ud83d\\ude00" * (MEGABYTE // 12) + '"'), ()),
    "a megabyte of backslashes": (make_text(x='"' + "\\\\" * (MEGABYTE // 2) + '\\u00e9"'), ()),
    "a megabyte of quotes": (make_text(x='"' + '\\"' * (MEGABYTE // 2) + '\\u00e9"'), ()),
    "a megabyte of lists": (make_text(x="[" + "[]," * (MEGABYTE // 3) + "[]]"), ()),
    "a megabyte of nesting": (make_text(x="[" * (MEGABYTE // 2) + "]" * (MEGABYTE // 2)), JSON),
    "a megabyte of braces": (make_text(x='"' + "}{" * (MEGABYTE // 2) + '"'), ()),
    "a megabyte of objects": (GOOD + "{}" * (MEGABYTE // 2), JSON),
    "a megabyte of blanks": (GOOD[:-1] + " " * MEGABYTE + "}" + "\n" * MEGABYTE, ()),
    "a megabyte of digits": (make_text(price="1" * MEGABYTE), JSON),
    "a megabyte of names": (GOOD[:-1] + ',"price":1.5' * (MEGABYTE // 12) + "}", ()),
    "a megabyte in a field": (make_text(brand='"' + "\\u0007" * (MEGABYTE // 6) + '"'), ("text_bounded", "text_clean")),
    "a list for a name": (make_text(user_id='["u"]'), ("fields_scalar",)),
    "an object for a brand": (make_text(brand='{"id":1}'), ("fields_scalar",)),
}


@pytest.fixture(scope="module")
def seen_reasons(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Judge all examples in Spark at once."""
    values = [value.encode() if isinstance(value, str) else value for value, _ in EXAMPLES.values()]
    file = tmp_path_factory.mktemp("examples") / "examples.parquet"
    pq.write_table(pa.table({"number": pa.array(range(len(values)), pa.int64()), "value": pa.array(values, pa.binary()),
                             "timestamp_ms": pa.array([SENT_MS] * len(values), pa.int64())}), file)
    reasons = judge_in_spark(spark, file)["reasons"].to_pylist()
    return {name: tuple(filter(None, text.split(","))) for name, text in zip(EXAMPLES, reasons, strict=True)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_judged_by_hand(name: str, seen_reasons: dict[str, tuple[str, ...]]) -> None:
    value, reasons = EXAMPLES[name]
    assert judge(value.encode() if isinstance(value, str) else value, SENT_MS).reasons == reasons
    assert seen_reasons[name] == reasons
