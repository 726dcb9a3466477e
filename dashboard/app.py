"""The dashboard: what the shop sells now and sold, what is expected, and how good the data are.

Start it in the project's root with `streamlit run dashboard/app.py`; `make up` starts it too. It only reads: each page
is built by the package from answers of the warehouse and shown here. A page looks for newer data every
`dashboard.refresh_seconds`. Flags come after two dashes: `streamlit run dashboard/app.py -- --profile local`.

Streamlit takes this file twice: imported as `app` it is the server, with its door; run as a script it is a visit.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shoplake.dashboards.blocks import Block, Graph, Notice, Page
from shoplake.errors import EXIT_OK, EXIT_USAGE, ShoplakeError
from shoplake.logs import configure_logging
from shoplake.settings import PROFILES, hide_secrets, load_settings

if TYPE_CHECKING:
    from shoplake.dashboards.board import Board

LOGO = Path(__file__).parent / "logo.svg"
SCOPE_NAMES = {"all": "Whole shop", "category": "Category", "product": "Product"}
FRAME_STYLE = """
.stMainBlockContainer { max-width: 1120px; padding-top: 4.5rem; padding-bottom: 3rem; }
.stMainBlockContainer h1 { font-size: 1.9rem; padding: 0 0 .25rem; }
"""


def main(argv: list[str] | None = None) -> int:
    """Show the page that the browser asks for; Streamlit runs this again for every visit and click."""
    profile = read_profile(argv)
    import streamlit as st

    from shoplake.dashboards.html import STYLE, write_visitor
    from shoplake.dashboards.logins import open_logins

    if not st.runtime.exists():
        print("error: a browser shows this; start it with: streamlit run dashboard/app.py", file=sys.stderr)
        return EXIT_USAGE
    st.set_page_config(page_title="shoplake", page_icon=str(LOGO), layout="wide", initial_sidebar_state="collapsed")
    st.logo(str(LOGO), size="large")
    st.html(f"<style>{FRAME_STYLE}{STYLE}</style>")
    page = st.navigation([
        st.Page(show_live, title="Live", icon=":material/bolt:", default=True),
        st.Page(show_sales, title="Sales", icon=":material/bar_chart:", url_path="sales"),
        st.Page(show_forecast, title="Forecast", icon=":material/trending_up:", url_path="forecast"),
        st.Page(show_customers, title="Customers", icon=":material/group:", url_path="customers"),
        st.Page(show_funnel, title="Funnel", icon=":material/filter_alt:", url_path="funnel"),
        st.Page(show_products, title="Products", icon=":material/inventory_2:", url_path="products"),
        st.Page(show_quality, title="Quality", icon=":material/verified:", url_path="quality"),
        st.Page(show_runs, title="Pipeline", icon=":material/account_tree:", url_path="pipeline"),
        st.Page(show_question, title="Ask", icon=":material/terminal:", url_path="ask"),
    ], position="top")
    try:
        visitor = open_logins(profile).admit(st.context.cookies)
        open_once = st.cache_resource(show_spinner="Opening the warehouse …")(open_board)
        st.session_state.update(profile=profile, visitor=visitor, board=open_once(profile, visitor.role))
        if visitor.name:
            st.html(write_visitor(visitor.name, visitor.role))
        st.title(page.title)
        page.run()
    except ShoplakeError as error:
        show_error(error)
    return EXIT_OK


def read_profile(argv: list[str] | None) -> str | None:
    """Read the flags, of the server and of a visit alike."""
    parser = argparse.ArgumentParser(prog="app.py", description=(__doc__ or "").strip())
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    profile: str | None = parser.parse_args(argv).profile
    return profile


def show_error(error: ShoplakeError) -> None:
    """Show a message, without secrets."""
    show_block(Notice("error", hide_secrets(str(error))))


def open_board(profile: str | None, role: str) -> "Board":
    """Open the board that all sessions of a role share."""
    from shoplake.dashboards.board import Board
    from shoplake.warehouse import open_warehouse

    settings = load_settings(profile)
    configure_logging(settings.log_level)
    return Board(open_warehouse(settings, role), settings)


def show_live() -> None:
    """Show the live page."""
    from shoplake.dashboards.pages import live_page

    keep_fresh(live_page)


def show_sales() -> None:
    """Show the sales page, for the number of days that is chosen."""
    import streamlit as st

    from shoplake.dashboards.pages import DAY_CHOICES, sales_page

    days = st.segmented_control(
        "Days", DAY_CHOICES, default=DAY_CHOICES[1], required=True, format_func=lambda count: f"{count} days",
        label_visibility="collapsed", key="days")
    keep_fresh(lambda board, now: sales_page(board, now, days))


def show_forecast() -> None:
    """Show the forecast page, for the whole shop, one category or one product."""
    import streamlit as st

    from shoplake.dashboards.pages import SCOPES, forecast_choices, forecast_page

    scope = st.segmented_control(
        "Show", SCOPES, default=SCOPES[0], required=True, format_func=SCOPE_NAMES.__getitem__,
        label_visibility="collapsed", key="scope")
    name: str | None = "all"
    if scope != "all":
        name = st.selectbox(
            f"The {scope}; those with the largest forecast come first, any other can be typed",
            forecast_choices(st.session_state["board"], scope), key=scope, accept_new_options=True)
    if name is None:
        show_block(Notice("info", f"No {scope} has a forecast yet; type a name to see what was sold."))
    else:
        keep_fresh(lambda board, now: forecast_page(board, now, scope, name))


def show_customers() -> None:
    """Show the customers page."""
    from shoplake.dashboards.shop_pages import customers_page

    keep_fresh(customers_page)


def show_funnel() -> None:
    """Show the funnel page."""
    from shoplake.dashboards.shop_pages import funnel_page

    keep_fresh(funnel_page)


def show_products() -> None:
    """Show the products page, and what goes with the one that is chosen."""
    import streamlit as st

    from shoplake.dashboards.shop_pages import product_choices, products_page

    product = st.selectbox("What goes with", product_choices(st.session_state["board"]), key="goes_with",
                           accept_new_options=True)
    keep_fresh(lambda board, now: products_page(board, now, product))


def show_quality() -> None:
    """Show the quality page."""
    from shoplake.dashboards.pages import quality_page

    keep_fresh(quality_page)


def show_runs() -> None:
    """Show the pipeline page."""
    from shoplake.dashboards.pages import runs_page

    keep_fresh(runs_page)


def show_question() -> None:
    """Take one SELECT, run it through the same check as `run_analytics.py --sql`, and show the answer."""
    import streamlit as st

    from shoplake.dashboards.adhoc import EXAMPLES, run_adhoc_query
    from shoplake.dashboards.html import write_origin
    from shoplake.warehouse import open_warehouse

    settings, visitor = st.session_state["board"].settings, st.session_state["visitor"]
    st.html(write_origin("One read-only SELECT in GoogleSQL over the served tables (docs/data_dictionary.md); values "
                         "are written into the text."))
    example = st.selectbox("Example", list(EXAMPLES), key="example")
    with st.form("question", border=False):
        sql = st.text_area("SELECT", EXAMPLES[example], height=180, key=f"sql {example}")
        is_asked = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:")
    if not is_asked:
        return
    try:
        # Of its own: a slow question must not hold up the pages.
        with open_warehouse(settings, visitor.role, visitor.name) as warehouse:
            answer = run_adhoc_query(warehouse, sql, settings.warehouse.max_rows, settings.shop.currency)
    except ShoplakeError as error:
        show_error(error)
        return
    for block in answer.blocks:
        show_block(block)
    st.download_button("Download CSV", answer.csv, "answer.csv", "text/csv", on_click="ignore")


def keep_fresh(build: "Callable[[Board, datetime], Page]") -> None:
    """Show a page, and build and show it anew every `dashboard.refresh_seconds`."""
    import streamlit as st

    from shoplake.dashboards.html import write_origin
    from shoplake.dashboards.logins import open_logins

    board: Board = st.session_state["board"]

    @st.fragment(run_every=board.settings.dashboard.refresh_seconds)
    def show_page() -> None:
        try:
            open_logins(st.session_state["profile"]).admit(st.context.cookies)  # a login ends under an open page
            page = build(board, datetime.now(UTC))
        except ShoplakeError as error:
            show_error(error)
            return
        st.html(write_origin(page.origin))
        for block in page.blocks:
            show_block(block)

    show_page()


def show_block(block: Block) -> None:
    """Show one block; only charts are Streamlit's, the rest is the report's HTML."""
    import streamlit as st

    from shoplake.dashboards.html import write_block, write_title

    if isinstance(block, Graph):
        st.html(write_title(block.title, block.caption))
        st.vega_lite_chart(block.spec, width="stretch", alt=block.title)
    else:
        st.html(write_block(block))


if __name__ == "app":
    from streamlit import App, config

    from shoplake.dashboards.door import make_door

    app = App(__file__, middleware=make_door(read_profile(sys.argv[1:]), config.get_option("server.address")))

if __name__ == "__main__" and main(sys.argv[1:]) != EXIT_OK:  # Streamlit takes an exit for a failed page
    sys.exit(EXIT_USAGE)
