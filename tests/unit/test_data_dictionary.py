"""The data dictionary names inputs, writers and readers that exist."""

from shoplake.contract.render import data_dictionary
from shoplake.contract.tables import TABLES, find_table
from shoplake.settings import PROJECT_ROOT


def test_every_table_names_commands_and_tables_that_exist() -> None:
    for table in TABLES:
        assert table.writer, table.name
        assert table.inputs, table.name
        for path in (table.writer, *table.readers):
            assert (PROJECT_ROOT / path).is_file(), f"{table.name}: {path}"
        for name in table.inputs:
            if "." in name:
                find_table(name)


def test_a_query_is_a_reader_of_the_tables_that_it_asks() -> None:
    text = data_dictionary({"sql/x.sql": "SELECT net_amount FROM gold.daily_sales WHERE event_date = @day"})
    entry = text.split("## gold.daily_sales")[1].split("## ")[0]
    assert "Made from silver.events, ops.ledger by `spark/batch_processing.py`" in entry
    assert "`sql/x.sql`" in entry
    assert "gold.demand_predictions" in entry, "a table made from it reads it"
    assert text.count("`sql/x.sql`") == 1
