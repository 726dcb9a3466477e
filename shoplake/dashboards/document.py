"""A report: pages as one HTML file that needs nothing but itself, with charts drawn into it."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import vl_convert

from shoplake.dashboards.blocks import Block, Graph, Page
from shoplake.dashboards.charts import ACCENT
from shoplake.dashboards.html import STYLE, write_block, write_origin, write_title

_CHART_WIDTH = 860
_MAX_NAME = 150
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_ALLOWED_ADDRESSES: list[str] = []  # a chart holds its data; nothing may be fetched while it is drawn
_PAGE_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 {_FONT}; color: #1f2a2e; background: #ffffff; margin: 0; }}
main {{ max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; display: grid; gap: 1rem;
  grid-template-columns: minmax(0, 1fr); }}
section {{ display: grid; gap: .9rem; grid-template-columns: minmax(0, 1fr); }}
h1 {{ font-size: 1.7rem; margin: 0; line-height: 1.2; }}
h2 {{ font-size: 1.25rem; margin: 1.5rem 0 0; padding-top: .8rem; border-top: 3px solid {ACCENT}; }}
figure {{ margin: 0; }}
svg {{ width: 100%; height: auto; display: block; overflow: visible; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e6edee; background: #0f1517; }} }}
@media print {{ h2 {{ break-after: avoid; }} figure, .sl-figures {{ break-inside: avoid; }} }}
"""
# Text and rules take the page's colour, so that one picture serves light and dark.
_CHART_CONFIG: dict[str, Any] = {
    "background": None, "font": _FONT, "view": {"stroke": None},
    "axis": {"labelColor": "currentColor", "titleColor": "currentColor", "gridColor": "currentColor",
             "gridOpacity": 0.12, "domainColor": "currentColor", "domainOpacity": 0.35, "tickColor": "currentColor",
             "tickOpacity": 0.35, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
    "legend": {"labelColor": "currentColor", "labelFontSize": 12},
    "header": {"labelColor": "currentColor", "labelFontSize": 12},
}


def write_document(title: str, origin: str, pages: Sequence[Page]) -> str:
    """Write a page that needs nothing but itself: charts are SVG inside it, no script, no address."""
    sections = "\n".join(
        f"<section><h2>{escape(page.title)}</h2>{write_origin(page.origin)}\n"
        f"{chr(10).join(_write_any(block) for block in page.blocks)}</section>" for page in pages)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_PAGE_STYLE}{STYLE}</style></head>\n"
        f"<body><main><header><h1>{escape(title)}</h1>{write_origin(origin)}</header>\n{sections}</main></body></html>\n"
    )


def save_document(file: Path, text: str) -> None:
    """Write a file as a whole: whoever opens it meanwhile sees the old one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def name_document(subject: str) -> str:
    """Give a file name that every file system takes and that leads into no other folder."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", subject).lstrip(".")[:_MAX_NAME] or "report"
    return f"{stem}.html"


def draw_svg(graph: Graph) -> str:
    """Draw a chart as SVG whose text has the colour of its surroundings."""
    spec = graph.spec
    if "facet" not in spec:  # small multiples have widths of their own
        spec = {**spec, "width": _CHART_WIDTH, "autosize": {"type": "fit-x", "contains": "padding"}}
    config = {**spec.get("config", {}), **_CHART_CONFIG}
    svg: str = vl_convert.vegalite_to_svg(
        {**spec, "config": config, "description": graph.title}, allowed_base_urls=_ALLOWED_ADDRESSES)
    return svg


def _write_any(block: Block) -> str:
    if isinstance(block, Graph):
        return f"<figure>{write_title(block.title, block.caption)}{draw_svg(block)}</figure>"
    return write_block(block)
