"""The pictures of a training run, as PNG: MLflow's pages show them."""

from collections.abc import Mapping
from typing import Any

Spec = dict[str, Any]  # Vega-Lite, with its data inside

BARS = 15
_WIDTH = 480


def draw_errors(metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> bytes:
    """Draw each forecaster's WRMSSE on the held-out days, the best on top, a panel for each horizon."""
    values = [{"horizon": horizon, "model": name, "wrmsse": scores["wrmsse"]}
              for horizon, models in metrics.items() for name, scores in models.items() if scores["wrmsse"] is not None]
    return _draw({
        "data": {"values": values}, "facet": {"row": {"field": "horizon", "title": None}},
        "resolve": {"scale": {"y": "independent"}},
        "spec": _bars("wrmsse", "WRMSSE on held-out days (lower is better)", "model", "ascending"),
    })


def draw_effects(effects: list[dict[str, Any]]) -> bytes:
    """Draw by how much the strongest features move a forecast, in the mean."""
    values = [{"feature": row["feature"], "change": row["mean_change"]} for row in effects[:BARS]]
    return _draw({"data": {"values": values},
                  **_bars("change", "mean size of the change of a forecast (0.1 is 10%)", "feature", "descending")})


def _bars(field: str, title: str, name: str, order: str) -> Spec:
    return {
        "width": _WIDTH, "mark": {"type": "bar", "color": "#0d9488"},
        "encoding": {"x": {"field": field, "type": "quantitative", "title": title},
                     "y": {"field": name, "type": "nominal", "title": None, "sort": {"field": field, "order": order}}},
    }


def _draw(spec: Spec) -> bytes:
    import vl_convert

    # No address may be asked: all data stand in the specification.
    picture: bytes = vl_convert.vegalite_to_png(spec, allowed_base_urls=[])
    return picture
