"""Chart specifications: each a function from an answer's rows to an Altair chart with its data inside.

Colours have enough contrast on light and dark ground; text takes the colours of where the chart is shown. Lengths are
floats; what a pointer shows are texts, so money stays exact. Times and days are drawn in UTC, whatever the browser's
zone.
"""

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import altair as alt
import pyarrow as pa

from shoplake.dashboards.figures import is_number, write_amount

Spec = dict[str, Any]  # Vega-Lite, with its data inside

ACCENT = "#0d9488"
WARM = "#d97706"
NEUTRAL = "#64748b"
SERIES = (ACCENT, WARM, "#6366f1", "#db2777", "#65a30d", "#0284c7")
SOLD = "sold"
OTHERS = "all others"  # as live_hours.sql names them
_UTC = alt.Scale(type="utc")
_FADED = 0.45
_BAND = 6
MAX_BARS = 30


def draw_windows(rows: pa.Table, currency: str) -> Spec:
    """Draw net revenue of the 5-minute windows as bars as wide as their window; below zero is cancelled."""
    values = [{
        **_span(row), "net": float(row["net_amount"]),
        "Net revenue": write_amount(row["net_amount"], currency), "Orders": f"{row['order_count']:,}",
    } for row in rows.to_pylist()]
    return _draw(
        values, alt.MarkDef("bar", orient="vertical", color=ACCENT), x=_start(), x2="end:T", y=_net(),
        tooltip=_tips("Window", "Net revenue", "Orders"))


def draw_hours(rows: pa.Table, currency: str) -> Spec:
    """Draw net revenue of each hour, stacked by category, the largest category at the bottom, all others on top."""
    totals: dict[str, Decimal] = {}
    for row in rows.to_pylist():
        totals[row["category"]] = totals.get(row["category"], Decimal(0)) + row["net_amount"]
    order = sorted(totals, key=lambda category: (category == OTHERS, -totals[category]))
    values = [{
        **_span(row), "net": float(row["net_amount"]), "Category": row["category"],
        "place": order.index(row["category"]),
        "Net revenue": write_amount(row["net_amount"], currency), "Orders": f"{row['order_count']:,}",
    } for row in rows.to_pylist()]
    return _draw(
        values, alt.MarkDef("bar", orient="vertical"), height=300, x=_start(), x2="end:T", y=_net(),
        color=_colour("Category", order), order=alt.Order("place:Q"),
        tooltip=_tips("Window", "Category", "Net revenue", "Orders"))


def draw_days(rows: pa.Table, currency: str, open_day: date | None) -> Spec:
    """Draw net revenue of the shop's days; `open_day`, which is not over, is pale."""
    values = [{
        **_day(row["event_date"]), "net": float(row["net_amount"]), "is_open": row["event_date"] == open_day,
        "Net revenue": write_amount(row["net_amount"], currency), "Orders": f"{row['order_count']:,}",
    } for row in rows.to_pylist()]
    return _draw(
        values, alt.MarkDef("bar", color=ACCENT), x=_days_axis(), y=_net(),
        opacity=alt.condition("datum.is_open", alt.value(_FADED), alt.value(1)),
        tooltip=_tips("Day", "Net revenue", "Orders"))


def draw_growth(rows: pa.Table, currency: str) -> Spec:
    """Draw the growth of categories as bars from zero; categories without a base have none."""
    values = [{
        "Category": row["category"], "growth": float(row["net_growth"]), "Growth": f"{row['net_growth']:+.1%}",
        "Net revenue": write_amount(row["net_amount"], currency),
        "Before": write_amount(row["net_amount_before"], currency),
    } for row in rows.to_pylist() if row["net_growth"] is not None][:MAX_BARS]
    order = [value["Category"] for value in sorted(values, key=lambda value: -value["growth"])]
    return _draw(
        values, alt.MarkDef("bar"), height=alt.Step(26),
        y=alt.Y("Category:N", sort=order, title=None, axis=alt.Axis(labelLimit=140, ticks=False, domain=False)),
        x=alt.X("growth:Q", title=None, axis=alt.Axis(format="+.0%", tickCount=5)),
        color=alt.condition("datum.growth < 0", alt.value(WARM), alt.value(ACCENT)),
        tooltip=_tips("Category", "Growth", "Net revenue", "Before"))


def draw_demand(rows: pa.Table) -> Spec:
    """Draw units sold as a grey line and each model's forecast as a dashed line of its own colour.

    Around a forecast lie its 80% band and, paler, its 95% band, on the days that have limits.
    """
    values = [{
        **_day(row["target_date"]), "units": row["units"], "Series": row["model"] or SOLD,
        "Units": f"{row['units']:,.0f}" if row["model"] is None else f"{row['units']:,.1f}",
        "Forecast made after": str(row["as_of_date"] or ""), **_bands(row),
    } for row in rows.to_pylist()]
    models = sorted({value["Series"] for value in values} - {SOLD}, reverse=True)
    colour = alt.Color("Series:N", sort=[SOLD, *models], scale=alt.Scale(
        domain=[SOLD, *models], range=[NEUTRAL, *_palette(len(models))]), legend=_legend())
    y = alt.Axis(tickCount=5)
    line = alt.Chart().mark_line(point=alt.OverlayMarkDef(size=28), strokeWidth=2).encode(
        x=_days_axis(), y=alt.Y("units:Q", title=None, axis=y), color=colour,
        strokeDash=alt.condition(f"datum.Series == '{SOLD}'", alt.value([1, 0]), alt.value([6, 3])),
        tooltip=_tips("Day", "Series", "Units", "80% band", "95% band", "Forecast made after"))
    # Not areas: on one day a model may have limits and on the next none. Models stand beside each other.
    bands = [
        alt.Chart()
        .transform_filter(f"isValid(datum.lower_{level}) && datum.Series == models[{place}]")
        .mark_rule(strokeWidth=_BAND, opacity=opacity, xOffset=(place - (len(models) - 1) / 2) * _BAND)
        .encode(x=_days_axis(), y=alt.Y(f"lower_{level}:Q", title=None, axis=y), y2=f"upper_{level}:Q", color=colour)
        for place in range(len(models)) for level, opacity in ((95, 0.2), (80, 0.35))]
    spec: Spec = alt.layer(*bands, line, data=alt.InlineData(values=values), height=340).add_params(
        alt.param(name="models", value=models)).to_dict()
    return spec


def _bands(row: dict[str, Any]) -> dict[str, Any]:
    limits = {name: row[name] for level in (80, 95) for name in (f"lower_{level}", f"upper_{level}")}
    texts = {f"{level}% band": "" if row[f"lower_{level}"] is None
             else f"{row[f'lower_{level}']:,.1f} to {row[f'upper_{level}']:,.1f}" for level in (80, 95)}
    return {**limits, **texts}


def draw_rejections(days: Sequence[tuple[date, int]]) -> Spec:
    """Draw how many rejections each UTC day had."""
    values = [{**_day(day), "count": count, "Rejections": f"{count:,}"} for day, count in days]
    return _draw(
        values, alt.MarkDef("bar", color=WARM), height=180,
        x=_days_axis(), y=alt.Y("count:Q", title=None, axis=alt.Axis(tickCount=4, tickMinStep=1)),
        tooltip=_tips("Day", "Rejections"))


def draw_answer(rows: pa.Table) -> Spec | None:
    """Draw the answer of any query where its shape says how, else None.

    A first column of days or times gives lines over it, one for each number column; a first column of texts that are
    not repeated gives bars of the first number column.
    """
    first, *others = rows.schema
    is_time = pa.types.is_date(first.type) or pa.types.is_timestamp(first.type)
    numbers = [field.name for field in others if is_number(field.type)]
    if not (is_time or pa.types.is_string(first.type)) or not numbers or rows.num_rows < 2:
        return None
    keys = rows[first.name].to_pylist()
    if None in keys or len(set(keys)) < len(keys):
        return None
    if is_time:
        return _draw_lines(rows, first.name, numbers[:len(SERIES)])
    return _draw_bars(rows, first.name, numbers[0]) if len(keys) <= MAX_BARS else None


def _draw_lines(rows: pa.Table, first: str, numbers: Sequence[str]) -> Spec:
    values = [{"moment": _instant(row[first]), "When": str(row[first]), "Column": name, "number": float(row[name]),
               "Value": f"{row[name]:,}"}
              for row in rows.to_pylist() for name in numbers if _is_finite(row[name])]
    return _draw(
        values, alt.MarkDef("line", point=True),
        x=alt.X("moment:T", title=None, scale=_UTC, axis=alt.Axis(grid=False, labelOverlap=True)),
        y=alt.Y("number:Q", title=None), color=_colour("Column", list(numbers)),
        tooltip=_tips("When", "Column", "Value"))


def _draw_bars(rows: pa.Table, first: str, number: str) -> Spec:
    values = [{"Name": row[first], "number": float(row[number]), "Value": f"{row[number]:,}"}
              for row in rows.to_pylist() if _is_finite(row[number])]
    return _draw(
        values, alt.MarkDef("bar", color=ACCENT), height=alt.Step(26),
        y=alt.Y("Name:N", sort=None, title=None, axis=alt.Axis(labelLimit=180, ticks=False, domain=False)),
        x=alt.X("number:Q", title=number.replace("_", " ")), tooltip=_tips("Name", "Value"))


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _draw(values: list[dict[str, Any]], mark: alt.MarkDef, height: int | alt.Step = 240, **encodings: Any) -> Spec:
    chart = alt.Chart({"values": values}, mark=mark, height=height).encode(**encodings)
    spec: Spec = chart.to_dict()
    return spec


def _span(row: dict[str, Any]) -> dict[str, str]:
    start, end = row["window_start"], row["window_end"]
    return {"start": _instant(start), "end": _instant(end), "Window": f"{start:%Y-%m-%d %H:%M} to {end:%H:%M} UTC"}


def _day(day: date) -> dict[str, str]:
    return {"day": _instant(day), "Day": f"{day:%a %Y-%m-%d}"}


def _instant(moment: date | datetime) -> str:
    # A day alone would be read as midnight in the browser's zone by some, in UTC by others.
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(moment, datetime) else f"{moment}T00:00:00Z"


def _tips(*fields: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(field=field, type="nominal") for field in fields]


def _net() -> alt.Y:
    return alt.Y("net:Q", title=None, stack="zero", axis=alt.Axis(tickCount=5, format=",.0f"))


def _start() -> alt.X:
    axis = alt.Axis(format="%H:%M", grid=False, tickCount=8, labelOverlap=True)
    return alt.X("start:T", title=None, scale=_UTC, axis=axis)


def _days_axis() -> alt.X:
    # A bar stands over its label, as a line's point does.
    return alt.X("utcyearmonthdate(day):T", title=None, scale=_UTC, bandPosition=0,
                 axis=alt.Axis(format="%d %b", grid=False, labelOverlap=True, labelBound=True))


def _colour(field: str, order: Sequence[str]) -> alt.Color:
    colours = [NEUTRAL if name == OTHERS else colour for name, colour in zip(order, _palette(len(order)), strict=True)]
    scale = alt.Scale(domain=list(order), range=colours)
    return alt.Color(f"{field}:N", sort=list(order), legend=_legend(), scale=scale)


def _palette(count: int) -> tuple[str, ...]:
    return (*SERIES, *[NEUTRAL] * count)[:count]


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", title=None, labelLimit=160, columns=4, symbolType="square", offset=4, padding=0,
                      symbolOpacity=1)
