"""A backtest as pages: who wins and by how much, what the forecasts looked like, whether the bands hold, and why."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from shoplake.dashboards import backtest_charts as charts
from shoplake.dashboards.blocks import Block, Figure, Figures, Graph, Listing, Notice, Page
from shoplake.forecasting.evidence import MOST_REVENUE, Evidence
from shoplake.forecasting.names import WMIXT

Result = Mapping[str, Any]
Row = dict[str, Any]
PANELS = {"week_wrmsse": "The week's total", "day_wrmsse": "Each of 7 days", "next_day_wrmsse": "The next day"}
HEADINGS = {
    "week_wrmsse": "Week WRMSSE", "week_wape": "… WAPE", "week_bias": "… bias", "day_wrmsse": "Day WRMSSE",
    "next_day_wrmsse": "… next day", "coverage_80": "In 80%", "coverage_95": "In 95%", "cpu_seconds": "CPU-s",
}
ERRORS = ("wrmsse", "wape", "bias")
TITLES = {"wrmsse": "WRMSSE over that of wmixt", "wape": "WAPE", "bias": "Bias"}
DIRECTIONS = ("better than wmixt, or too low", "worse than wmixt, or too high")
# Cells are in full colour from so far off: an error over that of wMixT, a bias.
FULL_RATIO, FULL_BIAS = 0.25, 0.5
NO_BANDS = Notice("info", "There are no bands to judge: no model that has them is compared, or at no test origin "
                          "enough days were known to fit any.")
NO_TREES = Notice("info", "XGBoost is not among the models compared, so there are no trees to look into.")


def build_pages(result: Result, evidence: Evidence) -> list[Page]:
    """Make the pages of a backtest.

    Args:
        result: what `comparison.tell_figures` gives, with data, data_version and as_of_date.
    """
    models = _rank(result)
    return [
        _verdict(result, models), _ratios(result, models), _forecasts(result, evidence),
        _calibration(result, models, evidence), _errors(result, models), _effects(evidence),
        _everything(result, models)]


def describe_origin(result: Result) -> str:
    """Say what the figures are of."""
    return (f"{result['data']}, version {result['data_version']}, up to {result['as_of_date']} · "
            f"{result['items']:,} products, {result['test_origins']} weeks of test; the next day from "
            f"{result['daily_origins']} days · every forecast was made with what was known at its cutoff")


def _rank(result: Result) -> list[str]:
    def key(name: str) -> tuple[float, str]:
        value = result["models"][name]["week_wrmsse"]
        return (float("inf") if value is None else value, name)

    return sorted(result["models"], key=key)


def _verdict(result: Result, models: Sequence[str]) -> Page:
    best, figures = models[0], result["models"][models[0]]
    value, low, high = result["ratio_to_wmixt"][best]["week_wrmsse"]
    chosen = ", ".join(f"{weight:g} {name}" for name, weight in result["ensemble_weights"].items() if weight)
    rows = tuple(
        (name, *(_cell(metric, result["models"][name].get(metric)) for metric in HEADINGS)) for name in models)
    return Page("The models compared", "Lower is better; a bias above 0 is too high. A WAPE says little without its "
                "bias: a forecast that is always too low looks good in it. The ensemble, as the weeks before the test "
                f"chose it: {chosen}", (
        Figures((
            Figure("Least week WRMSSE", best, _cell("week_wrmsse", figures["week_wrmsse"])),
            Figure("… over that of wmixt", _cell("ratio", value),
                   "" if value is None else f"{low:.3f} to {high:.3f} in 95% of drawn shops"),
            Figure("Its week WAPE", _cell("week_wape", figures["week_wape"]),
                   f"bias {_cell('week_bias', figures['week_bias'])}"),
            Figure("Weeks in its 80% bands", _cell("coverage_80", figures.get("coverage_80")),
                   f"of days {_cell('coverage_80', figures.get('day_coverage_80'))}"),
        )),
        Listing("All models, the least week WRMSSE first; in 80% and 95% bands lay so many weeks",
                ("Model", *HEADINGS.values()), rows, frozenset(range(1, 1 + len(HEADINGS))))))


def _ratios(result: Result, models: Sequence[str]) -> Page:
    rows = []
    for name in models:
        for metric, panel in PANELS.items():
            value, low, high = result["ratio_to_wmixt"][name][metric]
            if value is not None and name != WMIXT:
                rows.append({"model": name, "metric": panel, "value": value, "low": low, "high": high})
    if not rows:
        text = "Nothing is compared with wmixt, or wmixt makes no error that others could be measured against."
        return Page("Against the strongest average", "No ratios", (Notice("info", text),))
    shown = [name for name in models if any(row["model"] == name for row in rows)]
    return Page(
        "Against the strongest average", f"{WMIXT} is a careful average: four levels, the shop's week, its trend", (
            Graph("WRMSSE over that of wmixt, with its 95% interval", charts.draw_ratios(
                rows, shown, list(PANELS.values())),
                "A point left of the dashed line has less error than wmixt, its line is where the ratio lies in 95% of "
                "shops with products drawn by chance, and a figure at the edge belongs to a point beyond it."),))


def _forecasts(result: Result, evidence: Evidence) -> Page:
    weeks = [{**row, "panel": _panel(row)} for row in evidence.item_weeks]
    days = [{**row, "panel": row["name"]} for row in evidence.item_days]
    shop_weeks = [{**row, "panel": row["name"]} for row in evidence.shop_weeks]
    shop = [{**row, "panel": row["name"]} for row in evidence.shop_days]
    out = sum(charts.is_out(row) for row in weeks)
    banded = sum(row["lower_95"] is not None for row in weeks)
    blocks: list[Block] = [
        Graph("All products together, units a week, with their bands", charts.draw_weeks(
            shop_weeks, _names(shop_weeks), columns=1),
            "The tick is the forecast, the strong bar its 80% band, the faint one its 95% band, both as wide as wmixt "
            "was wrong about the shop's weeks before, and the point what was sold, in orange outside of both."),
        Graph("All products together, units a day", charts.draw_days(shop, _names(shop), columns=1),
              f"The coloured line is what {evidence.model} forecast at the start of each week for its days of trade, "
              "the other what was sold, products without a forecast included."),
        Graph("Units a week of some products, with their bands", charts.draw_weeks(weeks, _names(weeks)),
              "The tick is the forecast, the strong bar its 80% band, the faint one its 95% band, and the point what "
              f"was sold, in orange outside of both: {out} of the {banded} weeks with bands shown."),
        Graph("Units a day of the products of most revenue, with their bands", charts.draw_days(days, _names(days)),
              "The coloured line is the forecast, the areas its 80% and 95% bands, the other line what was sold; days "
              "on which the shop does not trade are left out."),
        _list_weeks(evidence),
    ]
    return Page("Forecasts and what was sold", f"Of {evidence.model}, in the {result['test_origins']} weeks of test; "
                f"{MOST_REVENUE} first, then two products of each class of demand", tuple(blocks))


def _panel(row: Row) -> str:
    return row["name"] if row["group"] == MOST_REVENUE else f"{row['name']} ({row['group']})"


def _names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["panel"] for row in rows))


def _list_weeks(evidence: Evidence) -> Listing:
    rows = tuple((
        row["name"], row["group"], str(row["cutoff"]), f"{row['actual']:,}", f"{row['predicted']:,.1f}",
        *(_band(row, level) for level in (80, 95))) for row in (*evidence.shop_weeks, *evidence.item_weeks))
    return Listing("These weeks as a table", (
        "Product", "Why shown", "Cutoff", "Sold", "Forecast", "80% band", "95% band"), rows, frozenset({3, 4, 5, 6}),
        is_folded=True)


def _band(row: Row, level: int) -> str:
    low, high = row[f"lower_{level}"], row[f"upper_{level}"]
    return "–" if low is None else f"{low:,.1f} to {high:,.1f}"


def _calibration(result: Result, models: Sequence[str], evidence: Evidence) -> Page:
    title, own = "Do the bands hold?", result["models"][evidence.model]
    if "coverage_80" not in own:
        return Page(title, f"Of {evidence.model}", (NO_BANDS,))
    cutoffs = sorted({row["cutoff"] for row in evidence.item_weeks})
    by_origin = [{"place": _short_day(cutoff), "level": level, "coverage": share} for level in charts.LEVELS
                 for cutoff, share in zip(cutoffs, own[f"coverage_{level}_by_origin"], strict=True)
                 if share is not None]
    sizes = [(_size(row), row) for row in own["coverage_by_size"]]
    by_size = [{"place": size, "level": level, "coverage": row[f"coverage_{level}"]} for level in charts.LEVELS
               for size, row in sizes]
    banded = [name for name in models if "coverage_80" in result["models"][name]]
    spans = {"": "weeks", "day_": "days"}
    by_model = [{"place": f"{name}, {what}", "level": level,
                 "coverage": result["models"][name][f"{span}coverage_{level}"]}
                for name in banded for span, what in spans.items() for level in charts.LEVELS]
    reading = "Each point is the share that lay in the band; it should be on the dashed line of its colour"
    return Page(title, f"Of {evidence.model}, but for the last picture", (
        Graph("Weeks within their bands, by cutoff", charts.draw_coverage(
            by_origin, [_short_day(cutoff) for cutoff in cutoffs], is_series=True),
            f"{reading} in every week, not only on average."),
        Graph("Weeks within their bands, by the product's usual units a week", charts.draw_coverage(
            by_size, [size for size, _ in sizes], is_series=True),
            f"{reading} for products that hardly sell and for great ones alike; a class "
            "is made of what was known at the cutoff, each with about as many weeks."),
        Graph("Weeks and days within their bands, by model", charts.draw_coverage(
            by_model, list(dict.fromkeys(row["place"] for row in by_model)), is_series=False),
            f"{reading} around any model's forecast, of the week and of its days."),
        Listing("By cutoff and size as a table", ("Where", "Weeks", "80% bands", "95% bands"), (
            *((str(cutoff), "", *(_share(own[f"coverage_{level}_by_origin"][place]) for level in charts.LEVELS))
              for place, cutoff in enumerate(cutoffs)),
            *((f"{size} units a week", f"{row['weeks']:,}", _share(row["coverage_80"]), _share(row["coverage_95"]))
              for size, row in sizes)), frozenset({1, 2, 3}), is_folded=True),
    ))


def _short_day(day: date) -> str:
    return f"{day:%d %b}"


def _size(row: Row) -> str:
    return f"{row['over']:.1f} to {row['up_to']:,.1f}"


def _errors(result: Result, models: Sequence[str]) -> Page:
    counts = {kind: count for kind, count in result["items_by_class"].items() if count}
    kinds = {kind: f"{kind} {count:,}" for kind, count in counts.items()}
    by_class = [cell for error in ERRORS for name in models for kind, label in kinds.items() for cell in _cells(
        error, name, label, result["models"][name][f"week_{error}_by_class"][kind],
        result["models"][WMIXT][f"week_{error}_by_class"][kind])]
    days = [str(day) for day in range(1, 8)]
    by_day = [cell for error in ERRORS for name in models for place, day in enumerate(days) for cell in _cells(
        error, name, day, result["models"][name][f"day_{error}_by_horizon"][place],
        result["models"][WMIXT][f"day_{error}_by_horizon"][place])]
    panels = list(TITLES.values())
    reading = ("A cell is the stronger in colour the further it is off: WRMSSE and WAPE from those of wmixt, the bias "
               "from 0")
    return Page("Where the errors are", "WRMSSE, WAPE and bias of each model, lower is better", (
        Graph("The week's errors by class of demand, with the number of products", charts.draw_cells(
            by_class, models, list(kinds.values()), panels, DIRECTIONS),
            f"{reading}; intermittent and lumpy products have many days without a sale, erratic and lumpy ones sell "
            "very unlike numbers of units."),
        Graph("The day's errors by how many days ahead it is", charts.draw_cells(
            by_day, models, days, panels, DIRECTIONS),
            f"{reading}; forecasts from every day of the test, so that each column holds all weekdays of trade."),
        Listing("By class as a table", ("Model", "Class", "Products", "Week WRMSSE", "Week WAPE", "Week bias"), tuple(
            (name, kind, f"{count:,}", *(_exact(result["models"][name][f"week_{error}_by_class"][kind])
                                         for error in ERRORS))
            for name in models for kind, count in counts.items()), frozenset({2, 3, 4, 5}), is_folded=True),
        Listing("By days ahead as a table", ("Model", "Days ahead", "Day WRMSSE", "Day WAPE", "Day bias"), tuple(
            (name, day, *(_exact(result["models"][name][f"day_{error}_by_horizon"][place]) for error in ERRORS))
            for name in models for place, day in enumerate(days)), frozenset({1, 2, 3, 4}), is_folded=True),
    ))


def _cells(error: str, model: str, column: str, value: float | None, base: float | None) -> Iterable[Row]:
    if value is None:
        return
    if error == "bias":
        off, full, text = value, FULL_BIAS, f"{value:+.0%}".replace("-0%", "+0%")
    elif not base:
        off, full, text = 0.0, 1.0, f"{value:.2f}"
    else:
        off, full, text = value / base - 1, FULL_RATIO, f"{value / base if error == 'wrmsse' else value:.2f}"
    yield {"panel": TITLES[error], "model": model, "column": column, "text": text,
           "tone": DIRECTIONS[off > 0], "strength": min(1.0, abs(off) / full)}


def _effects(evidence: Evidence) -> Page:
    title = "What moves the trees' forecasts"
    if not evidence.features:
        return Page(title, f"Of {evidence.model}", (NO_TREES,))
    shown = evidence.features[:15]
    panels = {"mean_change": "How far it moves a forecast, on average", "gain_share": "Its share of the trees' gain"}
    bars = [{"panel": panel, "feature": row["feature"], "share": row[key]} for key, panel in panels.items()
            for row in shown]
    names = list(dict.fromkeys(row["feature"] for row in evidence.effects))
    return Page(title, f"Of {evidence.model} as it was made at the last test cutoff; the trees correct the seasonal "
                "level, and lags, means and weeks are told relative to the product's level", (
        Graph("The 15 features that move forecasts most", charts.draw_features(bars, list(panels.values())),
              "The left bar is the mean size of the change, up or down, that a feature makes to a product's forecast "
              "(exact Shapley values), the right one how much of the fit's improvement came from splits on it."),
        Graph("The change that the six strongest make, by their value", charts.draw_effects(evidence.effects, names),
              "The line is the change of the forecast for products with such a value of the feature, as a median, and "
              "80% of these products lie in the area; above the dashed line the feature raises the forecast."),
        Listing("All features as a table", ("Feature", "Mean change", "Share of gain"), tuple(
            (row["feature"], f"{row['mean_change']:.2%}", f"{row['gain_share']:.2%}") for row in evidence.features),
            frozenset({1, 2}), is_folded=True),
    ))


def _everything(result: Result, models: Sequence[str]) -> Page:
    rows = []
    for name in models:
        for metric, value in sorted(result["models"][name].items()):
            if value is None or isinstance(value, int | float):
                ratio = result["ratio_to_wmixt"][name].get(metric, (None, None, None))
                rows.append((name, metric, _exact(value), *map(_exact, ratio)))
    return Page("All figures", "As gold.backtest_metrics has them; docs/forecasting.md says what each is", (
        Listing("Each model's figures, and their ratio to wmixt with its 95% interval", (
            "Model", "Metric", "Value", "Ratio", "from", "to"), tuple(rows), frozenset({2, 3, 4, 5}), is_folded=True),))


def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    if "coverage" in metric:
        return _share(value)
    return f"{value:+.3f}" if metric.endswith("bias") else f"{value:,.1f}" if "cpu" in metric else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _exact(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"
