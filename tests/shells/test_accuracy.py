"""ml/accuracy.py, run as a person runs it, against sums in plain Python; and a planted shift of the level."""

import json
import math
import runpy
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from shoplake.contract.tables import DAILY_SALES, DEMAND_PREDICTIONS, FORECAST_ACCURACY
from shoplake.lake.addresses import Lake
from shoplake.settings import PROJECT_ROOT

Write = Callable[..., None]
FIRST = date(2026, 1, 5)
Row = dict[str, Any]


def run(*flags: str) -> int:
    try:
        code: int = runpy.run_path(str(PROJECT_ROOT / "ml" / "accuracy.py"))["main"]([*flags])
    except SystemExit as error:
        return int(error.code or 0)
    return code


@pytest.fixture
def lake(data_dir: Path) -> Lake:
    return Lake(str(data_dir / "lake"))


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def forecast(target: int, horizon: int, product: str, units: float, model: str = "m", **others: Any) -> Row:
    limits = dict.fromkeys(("lower_80", "upper_80", "lower_95", "upper_95"))
    return {"as_of_date": day(target - horizon), "target_date": day(target), "horizon": horizon, "product_id": product,
            "category": "c", "model": model, "model_version": "v", "predicted_units": units, **limits,
            "is_fallback": False, "fallback_reason": None, **others}


def sale(number: int, product: str, units: int) -> Row:
    return dict.fromkeys(DAILY_SALES.column_names[3:-2], 0) | {
        "event_date": day(number), "product_id": product, "category": "c", "units": units}


def accuracy(lake: Lake) -> list[Row]:
    rows: list[Row] = DeltaTable(lake.table(FORECAST_ACCURACY)).to_pyarrow_table().to_pylist()
    assert len({(row["target_date"], row["model"], row["horizon"]) for row in rows}) == len(rows)
    return sorted(rows, key=lambda row: (row["target_date"], row["model"], row["horizon"]))


def version(lake: Lake) -> int:
    return DeltaTable(lake.table(FORECAST_ACCURACY)).version()


FORECASTS = [
    forecast(10, 1, "a", 4.0, lower_80=3.0, upper_80=6.0, lower_95=1.0, upper_95=9.0),
    forecast(10, 1, "b", 1.5, lower_80=1.0, upper_80=2.0, lower_95=0.5, upper_95=4.0),
    forecast(10, 1, "c", 2.0, is_fallback=True, fallback_reason="short"),
    forecast(10, 3, "a", 8.0),
    forecast(10, 1, "a", 0.0, model="zero"),
    forecast(11, 1, "a", 3.0),
    forecast(12, 1, "a", 2.0), forecast(12, 1, "b", 1.0),
    forecast(13, 1, "a", 2.0),
]
# On day 11 the shop was closed; on day 12 it sold something that nobody forecast; day 13 is a part day.
SALES = [sale(9, "a", 5), sale(10, "a", 5), sale(10, "b", 3), sale(12, "a", 1), sale(12, "new", 7), sale(12, "seen", 0),
         sale(13, "a", 1)]


def test_every_figure_of_a_day(lake: Lake, write_table: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(lake, DEMAND_PREDICTIONS, FORECASTS)
    write_table(lake, DAILY_SALES, SALES)
    assert run("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["as_of_date"], told["days"], told["drifting"]) == (str(day(12)), 3, [])
    nothing = {"missed_count": 0, "missed_units": 0, "fallback_count": 0, "banded_count": 0, "coverage_80": None,
               "coverage_95": None, "drift_score": None, "is_drifting": False}
    expected = [
        {"target_date": day(10), "model": "m", "horizon": 1, "product_count": 3, "predicted_units": 7.5,
         # c was not sold: 2 too many. a sold 5, inside of both limits; b sold 3, inside of the wider.
         "actual_units": 8, "absolute_error": 1 + 1.5 + 2, "wape": 4.5 / 8, "bias": -0.5 / 8, **nothing,
         "fallback_count": 1, "banded_count": 2, "coverage_80": 0.5, "coverage_95": 1.0},
        # Of three days ahead only a was forecast: what b sold was missed.
        {"target_date": day(10), "model": "m", "horizon": 3, "product_count": 1, "predicted_units": 8.0,
         "actual_units": 8, "absolute_error": 3.0 + 3, "wape": 6 / 8, "bias": 0.0, **nothing, "missed_count": 1,
         "missed_units": 3},
        {"target_date": day(10), "model": "zero", "horizon": 1, "product_count": 1, "predicted_units": 0.0,
         "actual_units": 8, "absolute_error": 8.0, "wape": 1.0, "bias": -1.0, **nothing, "missed_count": 1,
         "missed_units": 3},
        {"target_date": day(11), "model": "m", "horizon": 1, "product_count": 1, "predicted_units": 3.0,
         "actual_units": 0, "absolute_error": 3.0, "wape": None, "bias": None, **nothing},
        {"target_date": day(12), "model": "m", "horizon": 1, "product_count": 2, "predicted_units": 3.0,
         "actual_units": 8, "absolute_error": 1 + 1 + 7.0, "wape": 9 / 8, "bias": -5 / 8, **nothing, "missed_count": 1,
         "missed_units": 7},
    ]
    assert accuracy(lake) == expected
    assert [row["target_date"] for row in told["newest"]] == [str(day(10)), str(day(10)), str(day(11)), str(day(12))]


def test_a_day_is_scored_again_when_its_sales_or_forecasts_change_and_else_nothing_is_written(
    lake: Lake, write_table: Write, capsys: pytest.CaptureFixture[str],
) -> None:
    write_table(lake, DEMAND_PREDICTIONS, FORECASTS)
    write_table(lake, DAILY_SALES, SALES)
    assert run("--as-of", str(day(11)), "--save-bq") == 0
    assert "the DuckDB views already serve it" in capsys.readouterr().out
    assert {row["target_date"] for row in accuracy(lake)} == {day(10), day(11)}
    assert run() == 0
    whole = accuracy(lake)
    assert len(whole) == 5
    before = version(lake)
    assert run() == run("--as-of", str(day(10))) == run("--from", str(day(0))) == 0
    assert (version(lake), accuracy(lake)) == (before, whole)
    # A late order on a closed day, and a forecast that was made again.
    write_table(lake, DAILY_SALES, [*SALES, sale(11, "a", 2)])
    write_table(lake, DEMAND_PREDICTIONS, [*FORECASTS[:-2], forecast(12, 1, "b", 6.0), FORECASTS[-1]])
    capsys.readouterr()
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out)["first_changed"] == str(day(11))
    again = accuracy(lake)
    assert again[:3] == whole[:3]
    assert (again[3]["actual_units"], again[3]["wape"], again[4]["predicted_units"]) == (2, 0.5, 8.0)


def test_a_settled_day_is_scored_again_when_asked(lake: Lake, write_table: Write) -> None:
    write_table(lake, DEMAND_PREDICTIONS, [forecast(number, 1, "a", 2.0) for number in (1, 50)])
    write_table(lake, DAILY_SALES, [sale(1, "a", 2), sale(51, "a", 2)])
    assert run() == 0
    write_table(lake, DAILY_SALES, [sale(1, "a", 4), sale(51, "a", 2)])
    assert run() == 0
    assert [row["actual_units"] for row in accuracy(lake)] == [2, 0], "more than 35 days ago: settled"
    assert run("--from", str(day(1))) == 0
    assert [row["actual_units"] for row in accuracy(lake)] == [4, 0]


def shifted_shop(factor: float, shift: int, days: int) -> tuple[Iterable[Row], Iterable[Row]]:
    """Make a shop of two products that differs from its forecast by some percent, and by `factor` from a day on."""
    forecasts, sales = [], []
    for number in range(days):
        usual = 200 + 100 * (number % 7)
        sold = usual * (1 + 0.12 * math.sin(number * 2.3)) * (factor if number >= shift else 1)
        for product, share in (("a", 0.7), ("b", 0.3)):
            forecasts += [forecast(number, horizon, product, usual * share + horizon) for horizon in (1, 2)]
            sales.append(sale(number, product, round(sold * share)))
    return forecasts, [*sales, sale(days, "a", 1)]


@pytest.mark.parametrize(("factor", "words"), [(1.4, "more was sold"), (0.6, "less was sold")])
def test_a_shift_of_the_level_is_told_within_a_week_and_fails_nothing(
    factor: float, words: str, lake: Lake, write_table: Write, capsys: pytest.CaptureFixture[str],
) -> None:
    shift = 70
    forecasts, sales = shifted_shop(factor, shift, 84)
    write_table(lake, DEMAND_PREDICTIONS, list(forecasts))
    write_table(lake, DAILY_SALES, list(sales))
    assert run("--as-of", str(day(shift - 1)), "--json") == 0
    assert json.loads(capsys.readouterr().out)["drifting"] == []
    assert run() == 0
    rows = accuracy(lake)
    assert all(row["drift_score"] is None and not row["is_drifting"] for row in rows if row["horizon"] == 2), (
        "a forecast of two days ahead was replaced by that of one day")
    signals = [row["target_date"] for row in rows if row["is_drifting"]]
    assert day(shift) <= signals[0] <= day(shift + 6)
    capsys.readouterr()
    assert run("--as-of", str(signals[0]), "--json") == 0
    captured = capsys.readouterr()
    [drift] = json.loads(captured.out)["drifting"]
    assert (drift["target_date"], drift["model"]) == (str(signals[0]), "m")
    assert (drift["drift_score"] > 0) == (factor > 1)
    assert words in captured.err


def test_nothing_to_score(lake: Lake, write_table: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 1
    assert "gold.daily_sales does not exist yet" in capsys.readouterr().err
    write_table(lake, DAILY_SALES, SALES)
    assert run() == 1
    assert "python ml/inference.py --horizon next_week" in capsys.readouterr().err
    write_table(lake, DEMAND_PREDICTIONS, [forecast(14, 1, "a", 2.0)])
    assert run() == 0
    assert f"nothing to score yet: no day up to {day(12)} was forecast" in capsys.readouterr().out
    for flags, code, message in (
            (("--as-of", "2030-01-01"), 1, "after the newest day"), (("--as-of", "x"), 2, "no date"),
            (("--from", "x"), 2, "--from")):
        assert run(*flags) == code
        assert message in capsys.readouterr().err
    assert not Path(lake.table(FORECAST_ACCURACY)).exists()


def test_without_an_account_nothing_is_scored_for_bigquery(
    lake: Lake, write_table: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    write_table(lake, DEMAND_PREDICTIONS, FORECASTS)
    write_table(lake, DAILY_SALES, SALES)
    monkeypatch.setenv("SHOPLAKE_WAREHOUSE__KIND", "bigquery")
    monkeypatch.setenv("SHOPLAKE_GCP__PROJECT_ID", "shop")
    assert run("--save-bq") == 2
    assert "gcloud auth application-default login" in capsys.readouterr().err
    assert not Path(lake.table(FORECAST_ACCURACY)).exists()
