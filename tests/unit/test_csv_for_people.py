"""CSV for people: no cell is a formula in a spreadsheet, whatever its country takes for a separator."""

import csv
import io
import re

import pyarrow as pa
import pytest
from fuzz_bounds import fuzz
from hypothesis import given
from hypothesis import strategies as st

from shoplake.warehouse.presentation import as_csv

FORMULA = re.compile("^[=+@＝＋－＠\\-\\t\\r]")


def cells(text: str) -> list[str]:
    """Give the cells as spreadsheets cut them: at commas, or of other countries at semicolons, tabulators and lines."""
    found = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    return [*found, *(part for cell in found for part in re.split("[;\\t\\r\\n]", cell))]


@pytest.mark.parametrize("text", [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "a;=1", "a\t=1", "a\n=1", "＝1", "a;\t=1", "=cmd|' /C calc'!A0",
    ";;@x"])
def test_no_text_is_a_formula_neither_in_a_cell_nor_in_a_heading(text: str) -> None:
    written = as_csv(pa.table({text: [text], "tags": [[text]]}))
    assert not [cell for cell in cells(written) if FORMULA.match(cell) and cell.strip()], written


@fuzz(200)
@given(st.text(st.sampled_from("=+-@;,\t\r\n\"' a1＝"), max_size=9))
def test_no_text_at_all_is_a_formula(text: str) -> None:
    written = as_csv(pa.table({"a": [text], f"b{text}": ["x"]}))
    assert not [cell for cell in cells(written) if FORMULA.match(cell) and cell.strip()], written
    _, row = csv.reader(io.StringIO(written, newline=""))
    assert row[0].replace("'", "") == text.replace("'", ""), "nothing but apostrophes is added"


def test_numbers_and_plain_texts_stay_as_they_are() -> None:
    table = pa.table({"n": [-1], "f": [-0.5], "t": ["a-b; c = d"], "e": [None]})
    assert as_csv(table) == "n,f,t,e\r\n-1,-0.5,a-b; c = d,\r\n"
