"""Small CSV files that people write by hand, such as promotions and exchange rates: exactly these columns, as text."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from shoplake.errors import ShoplakeError


def read_text_table(file: Path, columns: Sequence[str], refusal: type[ShoplakeError]) -> pa.Table:
    """Read a CSV file with these columns, in whatever order, and no other; an empty cell is the empty text.

    Raises:
        refusal: no such file, one that cannot be read, or other columns.
    """
    if not file.is_file():
        raise refusal(f"no such file: {file}. It must hold the columns {', '.join(columns)}")
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False)
    try:
        table = pyarrow.csv.read_csv(file, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise refusal(f"cannot read {file}: {error}") from error
    if sorted(table.column_names) != sorted(columns):
        raise refusal(
            f"{file} holds the column(s) {', '.join(table.column_names)}; needed are {', '.join(columns)} and no other")
    return table.select(list(columns))
