"""Write damaged records and the oracle's verdicts on them as Parquet.

  python fuzz_records.py SEED FIRST COUNT FILE

A process of its own, so that the next records are made while Spark judges the last.
"""

import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from mutations import make_record
from verdict_oracle import FIELDS, TEXT_FIELDS, judge, write_time

ROW_FIELDS = (*FIELDS, "event_date")
SCHEMA = pa.schema([
    ("number", pa.int64()), ("value", pa.binary()), ("timestamp_ms", pa.int64()), ("reasons", pa.string()),
    ("is_late", pa.bool_()), ("is_open", pa.bool_()), *((name, pa.string()) for name in ROW_FIELDS),
])
FLOAT_TEXT = re.compile(rf'"(?:{"|".join(TEXT_FIELDS)})"\s*:\s*-?[0-9]+[.eE]')
NESTED = re.compile(rf'"(?:{"|".join(FIELDS)})"\s*:\s*[\[{{]')
LIKE_NESTED = re.compile(rf'"(?:{"|".join(FIELDS)})"\s*:\s*"[\[{{]')


def is_open(value: bytes | None) -> bool:
    """Whether the record is one of those on which the two may differ, because the design says nothing.

    OPEN: a number with a fraction or an exponent in the place of a text is read as Java writes the double, 1.50 as
    1.5; the oracle reads what is written. And a field whose text begins like a list, beside a column that is not ours
    and holds a field's name with a list inside, is refused as fields_scalar; the oracle tells the two apart.
    """
    text = (value or b"").decode("utf-8", "replace")
    return bool(FLOAT_TEXT.search(text)) or bool(NESTED.search(text) and LIKE_NESTED.search(text))


def write_records(seed: int, first: int, count: int, file: Path) -> None:
    """Write the records with the numbers from `first` on."""
    rows = []
    for number in range(first, first + count):
        value, timestamp_ms = make_record(seed, number)
        verdict = judge(value, timestamp_ms)
        row = verdict.row or {}
        moment = row.get("event_time")
        rows.append({
            "number": number, "value": value, "timestamp_ms": timestamp_ms, "reasons": ",".join(verdict.reasons),
            "is_late": verdict.is_late, "is_open": is_open(value), **row,
            "event_time": None if moment is None else write_time(int(moment)),
        })
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)


if __name__ == "__main__":
    write_records(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
