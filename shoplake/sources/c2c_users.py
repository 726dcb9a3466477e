"""The source `c2c_users`: registered users of a fashion store in which users sell to users (C2C), one line each.

It holds no events. Its lines go to bronze.users and silver.users_dim; see `shoplake.lake.users`.
"""

from collections.abc import Iterator

from shoplake.contract.events import encode_event
from shoplake.sources.lines import TextFile, read_rows
from shoplake.sources.records import ParsedRecord

SOURCE = "c2c_users"
USER_ID = "identifierHash"
COLUMNS = (
    USER_ID, "type", "country", "language", "socialNbFollowers", "socialNbFollows", "socialProductsLiked",
    "productsListed", "productsSold", "productsPassRate", "productsWished", "productsBought", "gender",
    "civilityGenderId", "civilityTitle", "hasAnyApp", "hasAndroidApp", "hasIosApp", "hasProfilePicture",
    "daysSinceLastLogin", "seniority", "seniorityAsMonths", "seniorityAsYears", "countryCode",
)


def read_c2c_users(file: TextFile) -> Iterator[ParsedRecord]:
    """Give each line as JSON of all its cells, by the file's own columns; an empty cell is an absent one."""
    for line, cells in read_rows(file):
        if cells is None:
            yield ParsedRecord(None, line, None, is_bad=True)
            continue
        user = {name: cell.strip() or None for name, cell in zip(file.header, cells, strict=True)}
        yield ParsedRecord((user[USER_ID] or "").encode() or None, encode_event(user), None)
