"""A file of exchange rates: which day has which rate, and what is no such file."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from shoplake.errors import ConfigError
from shoplake.sources.exchange_rates import read_exchange_rates

HEADER = "currency,from_date,rate\n"


def read(folder: Path, text: str, max_age: int = 7) -> dict[tuple[str, date], Decimal]:
    file = folder / "rates.csv"
    file.write_text(text)
    rows = read_exchange_rates(file, "GBP", max_age).to_pylist()
    rates = {(row["currency"], row["event_date"]): row["exchange_rate"] for row in rows}
    assert len(rates) == len(rows)
    return rates


def test_a_rate_holds_until_the_next_one_or_until_it_is_too_old(tmp_path: Path) -> None:
    rates = read(tmp_path, HEADER + "USD,2026-03-05,0.80\nEUR,2026-03-01,0.85\nUSD,2026-03-01,0.79\n"
                                    "GBP,2026-03-01,1.0\nUSD,2026-03-20,0.00000000001\n")

    def day(number: int) -> date:
        return date(2026, 3, 1) + timedelta(days=number - 1)

    assert rates == {
        **{("USD", day(number)): Decimal("0.79") for number in range(1, 5)},
        **{("USD", day(number)): Decimal("0.80") for number in range(5, 12)},
        **{("USD", day(number)): Decimal("0.00000000001") for number in range(20, 27)},
        **{("EUR", day(number)): Decimal("0.85") for number in range(1, 8)},
    }


def test_columns_may_come_in_any_order_and_a_rate_may_hold_one_day(tmp_path: Path) -> None:
    assert read(tmp_path, "rate,currency,from_date\n99999999.99999999999,KWD,2024-02-29\n", max_age=1) == {
        ("KWD", date(2024, 2, 29)): Decimal("99999999.99999999999")}


def test_a_file_with_a_header_alone_knows_no_rate(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER) == {}
    assert read(tmp_path, HEADER + "GBP,2026-01-01,1\n") == {}


@pytest.mark.parametrize(("lines", "message"), [
    ("usd,2026-03-01,0.79", "no ISO 4217 code, such as USD, the first in row 1 .usd, 2026-03-01, 0.79"),
    ("USD,2026-03-01,0.79\nUSD,1.3.2026,0.79", "YYYY-MM-DD, the first in row 2"),
    ("USD,2026-02-30,0.79", "YYYY-MM-DD"), ("USD,2026-3-1,0.79", "YYYY-MM-DD"),
    *((f"USD,2026-03-01,{rate}", "no decimal above 0") for rate in (
        "", "0", "0.000", "-1", "1e3", "nan", "0.123456789012", "123456789", "1\u0660", '"1,2"')),
    ("GBP,2026-03-01,0.99", "own currency GBP that is not 1"),
    ("USD,2026-03-01,0.79\nUSD,2026-03-01,0.80", "a second rate of one currency and day, the first in row 2"),
])
def test_a_row_that_is_no_rate_is_named(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, f"{HEADER}{lines}\n")


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needed are currency, from_date, rate"):
        read(tmp_path, "currency,day,rate\n")
    with pytest.raises(ConfigError, match="no such file"):
        read_exchange_rates(tmp_path / "absent.csv", "GBP", 7)
