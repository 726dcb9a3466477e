"""Files of a shop's own, as `sources.formats` describes them: written here from events, and read back as the same."""

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from shoplake.errors import ConfigError, SourceError
from shoplake.settings import Settings, load_settings
from shoplake.sources import list_sources, look_at, open_source

FIELDS = {"event_time": "Bestellt am", "user_id": "Kunde", "product_id": "Artikel", "category": "Warengruppe",
          "price": "Preis", "quantity": "Menge"}
CONSTANTS = {"event_type": "order_created"}
GERMAN: dict[str, Any] = {"fields": {**FIELDS, "order_id": "Beleg"}, "constants": CONSTANTS, "separator": ";",
                          "encoding": "cp1252", "decimal_comma": True, "time_format": "%d.%m.%Y %H:%M:%S",
                          "time_zone": "Europe/Berlin"}
PIPES = {"fields": FIELDS, "constants": CONSTANTS, "separator": "|", "time_format": "epoch_ms"}
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def describe(monkeypatch: pytest.MonkeyPatch) -> Any:
    def describe(**formats: Any) -> Settings:
        monkeypatch.setenv("SHOPLAKE_SOURCES__FORMATS", json.dumps(formats))
        return load_settings()

    return describe


def draw_sales(count: int) -> list[dict[str, Any]]:
    draw = random.Random(4)
    return [{
        # Half a year over the end of summer time; its repeated hour, which the local text cannot tell, is left out.
        "event_time": datetime(2025, 8, 1, tzinfo=UTC) + timedelta(seconds=draw.randrange(180 * 86400)),
        "user_id": f"Müller {draw.randrange(40)}", "product_id": f"A-{draw.randrange(9)}", "category": "Möbel",
        "price": Decimal(draw.randrange(1, 500_000_000)).scaleb(-2), "quantity": draw.randrange(1, 3000)}
        for _ in range(count)]


def in_german(sale: dict[str, Any]) -> str:
    money = f"{sale['price']:,.2f}".translate(str.maketrans(",.", ".,"))
    local = sale["event_time"].astimezone(BERLIN)
    return ";".join((f"{local:%d.%m.%Y %H:%M:%S}", sale["user_id"], sale["product_id"], sale["category"], money,
                     f"{sale['quantity']:,}".replace(",", "."), "R-1", "Kasse 3"))


def in_pipes(sale: dict[str, Any]) -> str:
    milliseconds = (sale["event_time"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return "|".join((str(milliseconds), sale["user_id"], sale["product_id"], sale["category"], str(sale["price"]),
                     str(sale["quantity"])))


def test_what_two_shops_write_in_their_own_ways_is_the_same_event(describe: Any, tmp_path: Path) -> None:
    settings = describe(kasse=GERMAN, clicks=PIPES)
    sales = [sale for sale in draw_sales(400) if f"{sale['event_time'].astimezone(BERLIN):%d.%m.}" != "26.10."]
    german, pipes = tmp_path / "kasse.csv", tmp_path / "clicks.csv"
    header = list(FIELDS.values())
    german.write_bytes("\r\n".join([";".join([*header, "Beleg", "Ort"]), *map(in_german, sales)]).encode("cp1252"))
    pipes.write_bytes("\n".join(["|".join(header), *map(in_pipes, sales)]).encode())

    one, two = ([(record, json.loads(record.value)) for record in open_source(path, name, settings)]
                for path, name in ((german, "kasse"), (pipes, "clicks")))

    for (record, event), (_, other), sale in zip(one, two, sales, strict=True):
        right = {"event_time": f"{sale['event_time']:%Y-%m-%dT%H:%M:%S}.000000Z", "user_id": sale["user_id"],
                 "product_id": sale["product_id"], "category": "Möbel", "price": str(sale["price"]),
                 "quantity": str(sale["quantity"]), "event_type": "order_created", "schema_version": "2"}
        assert event == {**right, "order_id": "R-1", "source": "kasse", "source.Ort": "Kasse 3"}
        assert other == {**right, "source": "clicks"}
        assert (record.key, record.timestamp_ms) == (
            sale["user_id"].encode(), int(sale["event_time"].timestamp()) * 1000)
    looked = look_at(german, settings)
    assert (looked.source, looked.others) == ("kasse", ("Ort",))
    assert look_at(pipes, settings).source == "clicks"
    pipes.write_text("a,b,c\n1,2,3\n")
    assert look_at(pipes, settings).columns == ("a", "b", "c")
    assert list_sources(settings)[-2:] == ("kasse", "clicks")


@pytest.mark.parametrize(("column", "cell"), [
    ("price", "1.23,50"), ("price", "1,2,3"), ("price", "zehn"), ("price", "12.50"), ("quantity", "1.00"),
    ("event_time", "31.02.2026 10:00:00"), ("event_time", "2026-03-01T10:00:00Z"),
    ("event_time", "01.01.0001 00:30:00"),  # the evening of a day that no calendar has, in UTC
])
def test_a_cell_that_its_hint_does_not_fit_is_not_guessed_at(
    describe: Any, tmp_path: Path, column: str, cell: str,
) -> None:
    settings = describe(kasse=GERMAN)
    cells = {"event_time": "01.03.2026 10:00:00", "user_id": "u", "product_id": "p", "category": "c", "price": "1,5",
             "quantity": "2", "order_id": "b", column: cell}
    path = tmp_path / "kasse.csv"
    path.write_text(f"{';'.join(GERMAN['fields'].values())}\n{';'.join(cells.values())}\nu;p\n")
    records = list(open_source(path, "kasse", settings))
    event = json.loads(records[0].value)
    assert column not in event
    assert event[f"source.{FIELDS[column]}"] == cell
    assert records[1].value == b"u;p"


@pytest.mark.parametrize("cell", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_a_time_at_the_calendars_end_stops_no_file(describe: Any, tmp_path: Path, cell: str) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(f"{'|'.join(FIELDS.values())}\n{cell}|u|p|c|1.5|2\n")
    (record,) = open_source(path, "clicks", describe(clicks={**PIPES, "time_format": ""}))
    assert json.loads(record.value)["source.Bestellt am"] == cell


def test_empty_cells_between_tabulators_are_a_record_and_a_blank_line_is_none(describe: Any, tmp_path: Path) -> None:
    path = tmp_path / "tabs.csv"
    path.write_text("\t".join(FIELDS.values()) + "\n" + "\t" * 5 + "\n   \n" + "\t".join("abcdef") + "\n")
    records = list(open_source(path, "tabs", describe(tabs={**PIPES, "separator": "\t"})))
    assert [json.loads(record.value).get("user_id") for record in records] == [None, "b"]


def test_utf8_is_not_read_as_windows_text(describe: Any, tmp_path: Path) -> None:
    path = tmp_path / "kasse.csv"
    path.write_text(f"{';'.join(GERMAN['fields'].values())}\n01.03.2026 10:00:00;Müller;p;c;1,5;2;b\n")
    with pytest.raises(SourceError, match=r"is UTF-8, but .*kasse is said to be cp1252"):
        open_source(path, "kasse", describe(kasse=GERMAN))


@pytest.mark.parametrize(("text", "moment"), [
    ("25.10.2026 02:30:00", "2026-10-25T00:30:00.000000Z"),  # told twice that night: the first, in summer time
    ("29.03.2026 02:30:00", "2026-03-29T01:30:00.000000Z"),  # in no clock of that night
])
def test_the_hours_of_the_clock_change_are_read_as_by_all_sources(
    describe: Any, tmp_path: Path, text: str, moment: str,
) -> None:
    path = tmp_path / "kasse.csv"
    path.write_text(f"{';'.join(GERMAN['fields'].values())}\n{text};u;p;c;1,5;2;b\n")
    (record,) = open_source(path, "kasse", describe(kasse=GERMAN))
    assert json.loads(record.value)["event_time"] == moment


@pytest.mark.parametrize(("name", "change", "message"), [
    ("kasse", {"fields": {**FIELDS, "colour": "Farbe"}}, "no fields of the contract: colour"),
    ("kasse", {"constants": {}}, "lack event_type"),
    ("kasse", {"constants": {**CONSTANTS, "price": "1"}}, "both a field and a constant: price"),
    ("kasse", {"fields": {**FIELDS, "price": "Menge"}}, "one column stands for two fields"),
    ("kasse", {"separator": "::"}, "separator"), ("kasse", {"time_zone": "Berlin"}, "no IANA time zone"),
    ("kasse", {"fields": {"price": "Preis"}, "constants": {**{name: "x" for name in FIELDS if name != "price"},
                                                           **CONSTANTS}}, "fewer than two"),
    ("kasse", {"constants": {**CONSTANTS, "source": "rees46"}}, "source cannot be set"),
    ("kasse", {"constants": {"event_type": "sold"}}, "event_type is 'sold'; there are product_viewed"),
    ("kasse", {"time_format": "dd.MM.yyyy"}, "does not tell a day"), ("kasse", {"time_format": "%Q"}, "not tell a day"),
    ("kasse", {"time_format": "%d.%m. %H:%M"}, "does not tell a day"),
    ("Kasse", {}, "sources.formats"), ("rees46", {}, "that name; choose another"), ("done", {}, "choose another"),
])
def test_a_wrong_description_is_named(
    describe: Any, tmp_path: Path, name: str, change: dict[str, Any], message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        list_sources(describe(**{name: {**GERMAN, **change}}))


def test_a_file_that_lacks_a_described_column_says_which(describe: Any, tmp_path: Path) -> None:
    path = tmp_path / "kasse.csv"
    path.write_text("Bestellt am;Kunde;Artikel;Warengruppe;Menge\n")
    with pytest.raises(SourceError, match=r"sources\.formats\.kasse: it lacks the column\(s\) Preis, Beleg"):
        open_source(path, "kasse", describe(kasse=GERMAN))
    with pytest.raises(SourceError, match=r"unknown source 'kase'; there are events, .*, kasse"):
        open_source(path, "kase", describe(kasse=GERMAN))
