"""Charts of a backtest: small multiples and tables of coloured cells, in few colours whatever the number of models."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

import altair as alt

from shoplake.dashboards.charts import ACCENT, NEUTRAL, WARM, Spec

Row = dict[str, Any]
TEXT = "currentColor"  # of where the chart is shown: light or dark
LEVELS = {80: ACCENT, 95: "#6366f1"}
# A ratio further off is drawn at the edge with its value: one bad model would squeeze all others together.
LEAST_RATIO, MOST_RATIO = 0.5, 1.2
BETTER, ALIKE, WORSE = "better than wmixt", "chance may explain it", "worse than wmixt"
_STEP = 22
# Of the features' values: a logarithmic axis alone would have none between 1 and 10.
_TICKS = (-4, -2, -1, 0, 0.5, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)


def draw_ratios(rows: Sequence[Row], models: Sequence[str], metrics: Sequence[str]) -> Spec:
    """Draw each model's ratios to wMixT as points with their intervals, a panel for each metric.

    Args:
        rows: model, metric, value, low, high.
    """
    low = max(LEAST_RATIO, min([0.95, *(row["low"] for row in rows)]))
    high = min(MOST_RATIO, max([1.05, *(row["high"] for row in rows)]))
    values = [{
        **row, "verdict": BETTER if row["high"] < 1 else WORSE if row["low"] > 1 else ALIKE,
        "beyond": f"{row['value']:.2f} ▸" if row["value"] > high else f"◂ {row['value']:.2f}"
        if row["value"] < low else "", "edge": min(max(row["value"], low), high),
    } for row in rows]
    scale = alt.Scale(domain=[low, high], clamp=True, nice=False, zero=False, padding=8)
    verdict = alt.Color("verdict:N", legend=_legend(), scale=alt.Scale(
        domain=[BETTER, ALIKE, WORSE], range=[ACCENT, NEUTRAL, WARM]))
    axis = alt.Axis(tickCount=4, format=".2f", labelOverlap=True)
    base = alt.Chart().encode(y=_models(models), x=alt.X("edge:Q", title=None, scale=scale, axis=axis))
    layers = alt.layer(
        alt.Chart().mark_rule(color=TEXT, opacity=0.5, strokeDash=[4, 3]).encode(
            x=alt.XDatum(1, scale=scale, axis=axis)),
        base.mark_rule(strokeWidth=2).encode(
            alt.X("low:Q", title=None, scale=scale, axis=axis), x2="high:Q", color=verdict),
        base.mark_point(filled=True, size=55, opacity=1).encode(color=verdict),
        base.transform_filter("datum.value > 1").mark_text(dy=-8, align="right", fontSize=10, color=TEXT)
        .encode(text="beyond:N"),
        base.transform_filter("datum.value < 1").mark_text(dy=-8, align="left", fontSize=10, color=TEXT)
        .encode(text="beyond:N"),
    ).properties(width=226, height=alt.Step(_STEP))
    return _facet(layers, values, "metric", metrics, columns=len(metrics))


def draw_cells(
    rows: Sequence[Row], models: Sequence[str], columns: Sequence[str], panels: Sequence[str], tones: tuple[str, str],
) -> Spec:
    """Draw a table of numbers for each panel, its cells the stronger in colour the further off they are.

    Args:
        rows: panel, model, column, text, tone (one of `tones`, or empty for none), strength (0 to 1).
        columns: their order.
        tones: the meaning of the first colour and of the second.
    """
    axis = alt.X("column:N", sort=list(columns), title=None, scale=alt.Scale(domain=list(columns)),
                 axis=alt.Axis(labelAngle=0, ticks=False, domain=False, labelFontSize=10, labelLimit=74,
                               labelExpr="split(datum.label, ' ')"))
    base = alt.Chart().encode(x=axis, y=_models(models))
    layers = alt.layer(
        base.mark_rect(cornerRadius=2).encode(
            color=alt.Color("tone:N", scale=alt.Scale(domain=list(tones), range=[ACCENT, WARM]), legend=_legend()),
            opacity=alt.Opacity("strength:Q", scale=alt.Scale(domain=[0, 1], range=[0, 0.55]), legend=None)),
        base.mark_text(fontSize=9, color=TEXT).encode(text="text:N"),
    ).properties(width=238, height=alt.Step(_STEP))
    return _facet(layers, list(rows), "panel", panels, columns=len(panels))


def draw_weeks(rows: Sequence[Row], names: Sequence[str], columns: int = 4) -> Spec:
    """Draw each name's weeks: bars for the bands, a tick for the forecast, a point for what was sold.

    Args:
        rows: of `evidence.Evidence.item_weeks`, with a `panel`, one of `names`.
    """
    values, width = _dated(rows), 9 if columns > 1 else 30
    base = alt.Chart().encode(x=_days(3, padding=width))
    layers = alt.layer(
        _band(base.mark_bar(size=width, opacity=0.22, color=ACCENT), 95),
        _band(base.mark_bar(size=width, opacity=0.38, color=ACCENT), 80),
        base.mark_tick(color=ACCENT, size=width + 2, thickness=2, opacity=1, orient="horizontal")
        .encode(y=_units("predicted")),
        base.mark_point(filled=True, size=26, opacity=1).encode(
            y=_units("actual"), color=alt.condition("datum.is_out", alt.value(WARM), alt.value(TEXT))),
    ).properties(width=(860 - columns * 42) // columns, height=110 if columns > 1 else 180)
    return _facet(layers, values, "panel", names, columns=columns, is_free="y", has_axes=True)


def draw_days(rows: Sequence[Row], names: Sequence[str], columns: int = 2) -> Spec:
    """Draw each name's days: areas for the bands, a line for the forecast, a second for what was sold."""
    values = _dated(rows)
    base = alt.Chart().encode(x=_days(5))
    layers = alt.layer(
        _band(base.mark_area(opacity=0.16, color=ACCENT), 95),
        _band(base.mark_area(opacity=0.3, color=ACCENT), 80),
        base.mark_line(color=TEXT, strokeWidth=1.2, opacity=0.75).encode(y=_units("actual")),
        base.mark_line(color=ACCENT, strokeWidth=2).encode(y=_units("predicted")),
    ).properties(width=(860 - columns * 50) // columns, height=150 if columns > 1 else 220)
    return _facet(layers, values, "panel", names, columns=columns, is_free="y")


def draw_coverage(rows: Sequence[Row], places: Sequence[str], is_series: bool) -> Spec:
    """Draw observed coverage over some places against the nominal one, a dashed line for each level.

    Args:
        rows: place, level (80 or 95), coverage.
        places: their order; a comma breaks the label.
        is_series: one place follows the other, so a line joins them.
    """
    values = [{**row, "level": f"{row['level']}% bands", "is_above": row["coverage"] * 100 >= row["level"]}
              for row in rows]
    colour = alt.Color("level:N", legend=_legend(), scale=alt.Scale(
        domain=[f"{level}% bands" for level in LEVELS], range=list(LEVELS.values())))
    least = min([0.7, *(row["coverage"] - 0.04 for row in rows)])
    base = alt.Chart().encode(
        x=alt.X("place:N", sort=list(places), title=None, scale=alt.Scale(domain=list(places)),
                axis=alt.Axis(labelAngle=0, grid=False, labelExpr="split(datum.label, ', ')")),
        y=alt.Y("coverage:Q", title=None, axis=alt.Axis(format=".0%", tickCount=6),
                scale=alt.Scale(domain=[least, 1.03], zero=False, nice=False)),
        color=colour)
    nominal = [alt.Chart().mark_rule(color=tone, strokeDash=[5, 4], opacity=0.8).encode(y=alt.datum(level / 100))
               for level, tone in LEVELS.items()]
    labels = [
        base.transform_filter(f"{sign}datum.is_above").mark_text(dy=offset, fontSize=11)
        .encode(text=alt.Text("coverage:Q", format=".1%")) for sign, offset in (("", -11), ("!", 13))]
    return _spec(alt.layer(
        *nominal, base.mark_line(opacity=0.4 if is_series else 0), base.mark_point(filled=True, size=60, opacity=1),
        *labels, data=_data(values), height=220))


def draw_features(rows: Sequence[Row], panels: Sequence[str]) -> Spec:
    """Draw features as bars, a panel for each way to tell their strength.

    Args:
        rows: panel, feature, share; the features in the order in which they are shown.
    """
    order = list(dict.fromkeys(row["feature"] for row in rows))
    base = alt.Chart().encode(
        y=alt.Y("feature:N", sort=order, title=None, axis=alt.Axis(labelLimit=180, ticks=False, domain=False)),
        x=alt.X("share:Q", title=None, axis=alt.Axis(format=".0%", tickCount=5)))
    layers = alt.layer(
        base.mark_bar(color=ACCENT, size=13),
        base.mark_text(align="left", dx=4, fontSize=10, color=TEXT).encode(text=alt.Text("share:Q", format=".1%")),
    ).properties(width=330, height=alt.Step(20))
    return _facet(layers, list(rows), "panel", panels, columns=len(panels), is_free="x")


def draw_effects(rows: Sequence[Row], names: Sequence[str]) -> Spec:
    """Draw by how much each feature's values change the forecast: the median and where 80% of the items lie.

    Values stand on an axis that is logarithmic far from 0: many features are small but for a few items.
    """
    axis = alt.Axis(grid=False, values=list(_TICKS), format=".1~f", labelOverlap="greedy", labelSeparation=8)
    base = alt.Chart().encode(x=alt.X(
        "value:Q", title=None, scale=alt.Scale(type="symlog", zero=False, nice=False), axis=axis))
    change = alt.Axis(format="+.0%", tickCount=5)
    layers = alt.layer(
        alt.Chart().mark_rule(color=TEXT, opacity=0.5, strokeDash=[4, 3]).encode(y=alt.datum(0)),
        base.mark_area(opacity=0.25, color=ACCENT).encode(alt.Y("low:Q", title=None, axis=change), y2="high:Q"),
        base.mark_line(color=ACCENT, strokeWidth=2, point=alt.OverlayMarkDef(size=22, color=ACCENT))
        .encode(y=alt.Y("change:Q", title=None, axis=change)),
    ).properties(width=236, height=140)
    return _facet(layers, list(rows), "feature", names, columns=3, is_free="x")


def _dated(rows: Sequence[Row]) -> list[Row]:
    values = []
    for row in rows:
        day: date = row["day"]
        values.append({**row, "day": f"{day}T00:00:00Z", "cutoff": str(row["cutoff"]), "is_out": is_out(row)})
    return values


def is_out(row: Row) -> bool:
    """Tell whether what was sold lies outside the 95% band; without a band it does not."""
    return row["lower_95"] is not None and not row["lower_95"] <= row["actual"] <= row["upper_95"]


def _band(chart: alt.Chart, level: int) -> alt.Chart:
    return chart.transform_filter(f"isValid(datum.lower_{level})").encode(
        y=_units(f"lower_{level}"), y2=f"upper_{level}:Q")


def _units(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4, format=",~f"))


def _days(ticks: int, padding: int = 8) -> alt.X:
    return alt.X("day:T", title=None, scale=alt.Scale(type="utc", padding=padding), axis=alt.Axis(
        format="%d %b", grid=False, tickCount=ticks, labelOverlap=True))


def _models(models: Sequence[str]) -> alt.Y:
    return alt.Y("model:N", sort=list(models), title=None, scale=alt.Scale(domain=list(models)),
                 axis=alt.Axis(labelLimit=140, ticks=False, domain=False))


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", title=None, labelLimit=300, symbolType="square", offset=10, columnPadding=36,
                      symbolOpacity=1)


def _data(values: list[Row]) -> alt.InlineData:
    return alt.InlineData(values=values)


def _facet(
    layers: alt.LayerChart | alt.FacetChart, values: list[Row], field: str, order: Sequence[str], columns: int,
    is_free: Literal["x", "y", ""] = "", has_axes: bool = False,
) -> Spec:
    header = alt.Header(title=None, labelFontWeight="bold", labelLimit=380, labelAnchor="start", labelPadding=4)
    layers.data = _data(values)
    chart = layers.facet(alt.Facet(f"{field}:N", sort=list(order), header=header), columns=columns, spacing=18)
    if is_free:
        chart = chart.resolve_scale(x="independent") if is_free == "x" else chart.resolve_scale(y="independent")
    if has_axes:  # of its own each, for the last row may be short
        chart = chart.resolve_axis(x="independent")
    return _spec(chart)


def _spec(chart: alt.LayerChart | alt.FacetChart) -> Spec:
    spec: Spec = chart.to_dict()
    return spec
