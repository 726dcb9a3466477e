"""Blocks as HTML. Every text is escaped: names of products and errors come from outside.

The style works on light and dark ground because it takes the text's own colour; the app and the report share it.
"""

from html import escape

from shoplake.dashboards.blocks import Figure, Figures, Listing, Notice
from shoplake.dashboards.charts import ACCENT, WARM

_SHORT = 24  # characters that stay on one line: dates, times, names
STYLE = f"""
.sl {{ --accent: {ACCENT}; --warm: {WARM}; --bad: #dc2626; font-variant-numeric: tabular-nums; }}
.sl-origin {{ opacity: .75; font-size: .85rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }}
.sl-notice {{ border-left: 4px solid var(--tone); border-radius: 6px; padding: .6rem .9rem; font-size: .95rem;
  background: color-mix(in srgb, var(--tone) 12%, transparent); overflow-wrap: anywhere; }}
.sl-notice code {{ display: block; margin-top: .35rem; padding: 0; background: none; color: inherit;
  font: .85rem ui-monospace, monospace; white-space: pre-wrap; }}
.sl-info {{ --tone: var(--accent); }} .sl-warning {{ --tone: var(--warm); }} .sl-error {{ --tone: var(--bad); }}
.sl-figures {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem; }}
.sl-figure {{ border: 1px solid color-mix(in srgb, currentColor 16%, transparent); border-radius: 10px;
  padding: .7rem .9rem; }}
.sl-label {{ font-size: .8rem; opacity: .8; }}
.sl-value {{ font-size: 1.55rem; font-weight: 650; line-height: 1.35; overflow-wrap: anywhere; }}
.sl-note {{ font-size: .8rem; opacity: .8; min-height: 1.1em; }}
.sl-up::before {{ content: "▲ "; color: var(--accent); }} .sl-down::before {{ content: "▼ "; color: var(--warm); }}
.sl-title {{ font-weight: 600; font-size: 1rem; margin: .4rem 0 .3rem; overflow-wrap: anywhere; }}
.sl-caption {{ font-size: .85rem; opacity: .8; margin: 0 0 .4rem; overflow-wrap: anywhere; }}
.sl-scroll {{ overflow-x: auto; }}
.sl table {{ border-collapse: collapse; width: 100%; font-size: .875rem; }}
.sl th {{ text-align: left; font-weight: 600; opacity: .8; white-space: nowrap; }}
.sl th, .sl td {{ padding: .34rem .7rem; border: 0; border-bottom: 1px solid
  color-mix(in srgb, currentColor 13%, transparent); vertical-align: top; }}
.sl td {{ max-width: 26rem; overflow-wrap: break-word; }}
.sl th.sl-number, .sl td.sl-number {{ text-align: right; white-space: nowrap; }}
.sl td.sl-short {{ white-space: nowrap; }}
.sl-bar {{ background: linear-gradient(to left, color-mix(in srgb, var(--accent) 30%, transparent) var(--share),
  transparent var(--share)); }}
.sl summary {{ cursor: pointer; }} .sl summary .sl-title {{ display: inline; }}
.sl .sl-none {{ opacity: .75; }}
"""


def write_block(block: Notice | Figures | Listing) -> str:
    """Write a block that is no chart; it needs STYLE on the page."""
    if isinstance(block, Notice):
        body = _write_notice(block)
    elif isinstance(block, Figures):
        body = f'<div class="sl-figures">{"".join(map(_write_figure, block.items))}</div>'
    else:
        body = _write_listing(block)
    return f'<div class="sl">{body}</div>'


def write_origin(text: str) -> str:
    """Write the line that says where a page's data come from."""
    return f'<div class="sl"><p class="sl-origin">{escape(text)}</p></div>'


def write_visitor(name: str, role: str) -> str:
    """Write who is logged in, and the way out."""
    return (f'<div class="sl"><p class="sl-origin">{escape(name)}, who sees what {escape(role)} may see · '
            '<a href="logout" target="_self">Log out</a></p></div>')


def write_title(text: str, caption: str = "") -> str:
    """Write a chart's title, and how to read it."""
    below = f'<p class="sl-caption">{escape(caption)}</p>' if caption else ""
    return f'<div class="sl"><div class="sl-title">{escape(text)}</div>{below}</div>'


def _write_notice(notice: Notice) -> str:
    command = f"<code>{escape(notice.command)}</code>" if notice.command else ""
    role = "alert" if notice.level == "error" else "status"
    return f'<div class="sl-notice sl-{notice.level}" role="{role}">{escape(notice.text)}{command}</div>'


def _write_figure(figure: Figure) -> str:
    trend = f" sl-{figure.trend}" if figure.trend else ""
    return (f'<div class="sl-figure"><div class="sl-label">{escape(figure.label)}</div>'
            f'<div class="sl-value">{escape(figure.value)}</div>'
            f'<div class="sl-note{trend}">{escape(figure.note)}</div></div>')


def _write_listing(listing: Listing) -> str:
    title = f'<div class="sl-title">{escape(listing.title)}</div>'
    if not listing.rows:
        return f'{title}<div class="sl-none">No rows.</div>'
    head = "".join(f"<th{_class_of(listing, place)}>{escape(text)}</th>" for place, text in enumerate(listing.headings))
    rows = "".join(
        f"<tr>{''.join(_write_cell(listing, row, place, text) for place, text in enumerate(texts))}</tr>"
        for row, texts in enumerate(listing.rows))
    table = f'<div class="sl-scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<details><summary>{title}</summary>{table}</details>" if listing.is_folded else title + table


def _write_cell(listing: Listing, row: int, place: int, text: str) -> str:
    if listing.bar and listing.bar[0] == place:
        share = f"{listing.bar[1][row]:.1%}"
        return f'<td class="sl-number sl-bar" style="--share:{share}">{escape(text)}</td>'
    name = "sl-number" if place in listing.numbers else "sl-short" if len(text) <= _SHORT else ""
    return f'<td class="{name}">{escape(text)}</td>'


def _class_of(listing: Listing, place: int) -> str:
    return ' class="sl-number"' if place in listing.numbers else ""
