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
from verdict_oracle import BLANK, FIELDS, STRING, Verdict, has_lone_surrogate, judge, write_time

ROW_FIELDS = (*FIELDS, "event_date")
SCHEMA = pa.schema([
    ("number", pa.int64()), ("value", pa.binary()), ("timestamp_ms", pa.int64()), ("reasons", pa.string()),
    ("is_late", pa.bool_()), ("known", pa.string()), *((name, pa.string()) for name in ROW_FIELDS),
])
FLOAT_FIELD = re.compile(rf'"(?:{"|".join(FIELDS)})"\s*:\s*(-?[0-9]+[.eE][-+0-9.eE]*)')
CONSTANT = re.compile(r"NaN|INF|Infinity")


def find_known_difference(value: bytes | None, verdict: Verdict) -> str:
    """Name the known difference that the record may show; test_fuzz.py holds an example of each, and mends its list."""
    text = (value or b"").decode("utf-8", "replace")
    if "fields_scalar" in verdict.reasons:
        return "nested field"
    if any(not is_unchanged(number) for number in FLOAT_FIELD.findall(text)):
        return "float"
    if "json_valid" not in verdict.reasons:
        return ""
    if has_lone_surrogate(text):
        return "lone surrogate"
    outside = STRING.sub('""', text)
    if CONSTANT.search(outside):
        return "constant"
    is_known = re.search(r"\}[^\s}\],]|\}[\x0b\x0c]|\}.*\}\s*$", outside.strip(BLANK), re.DOTALL)
    return "text after the object" if is_known else ""


def is_unchanged(number: str) -> bool:
    """Whether a double that stood for the number would be written as the number was."""
    try:
        return repr(float(number)) == number and (float(number) == 0 or 1e-3 <= abs(float(number)) < 1e7)
    except ValueError:
        return True


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
            "is_late": verdict.is_late, "known": find_known_difference(value, verdict), **row,
            "event_time": None if moment is None else write_time(int(moment)),
        })
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), file)


if __name__ == "__main__":
    write_records(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
