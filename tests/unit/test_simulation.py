"""The simulator: repeatable, exact in its counts, and honest about what it planted."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from shoplake.contract.events import EVENT_TYPES, V1_FIELDS, derive_event_id
from shoplake.errors import ConfigError
from shoplake.quality.rules import event_rules
from shoplake.settings import Settings, load_settings
from shoplake.simulation import Kind, SimulatedRecord, simulate_file, simulate_history, simulate_live
from shoplake.simulation.texts import CORRUPTIONS
from shoplake.sources import open_source

LONDON = ZoneInfo("Europe/London")
FIRST, LAST = date(2026, 3, 26), date(2026, 4, 4)  # the clocks go forward on 29 March
EVENTS = 6000
LATE_MS = 600_000
COPIES = (Kind.DUPLICATE, Kind.CONFLICT_SAME_TIME, Kind.CONFLICT_OTHER_DATE)


def with_shares(settings: Settings, **shares: float) -> Settings:
    return settings.model_copy(update={"simulation": settings.simulation.model_copy(update=shares)})


@pytest.fixture(scope="module")
def settings() -> Settings:
    return with_shares(
        load_settings("local"), products=60, duplicate_share=0.03, conflict_same_time_share=0.01,
        conflict_other_date_share=0.01, late_share=0.02, corrupt_share=0.04, future_share=0.01)


@pytest.fixture(scope="module")
def history(settings: Settings) -> list[SimulatedRecord]:
    return list(simulate_history(FIRST, LAST, EVENTS, 7, settings))


def read_time(record: SimulatedRecord) -> datetime:
    """Read the event_time out of the bytes, with only microseconds of its fraction."""
    text = json.loads(record.value)["event_time"]
    whole, _, rest = text.partition(".")
    fraction = "".join(letter for letter in rest if letter.isdigit())[:6] if rest.endswith("Z") else rest[:6]
    offset = "+00:00" if text.endswith("Z") else text[-6:]
    return datetime.fromisoformat(f"{whole}.{fraction}{offset}")


def read_content(record: SimulatedRecord) -> dict[str, Any]:
    """Read what the bytes mean, in exact types, with the contract's defaults."""
    document = json.loads(record.value, parse_float=Decimal)
    return {
        "order_id": None, "session_id": None, "brand": None, "source": None, "currency": "GBP", "is_guest": False,
        "event_id": None, "schema_version": 1, **document, "event_time": read_time(record),
        "price": Decimal(document["price"]), "quantity": int(document["quantity"]),
    }


def test_a_seed_gives_the_same_bytes_and_another_seed_others(
    settings: Settings, history: list[SimulatedRecord],
) -> None:
    again = list(simulate_history(FIRST, LAST, EVENTS, 7, settings))
    assert again == history
    other = list(simulate_history(FIRST, LAST, EVENTS, 8, settings))
    assert not {record.event_id for record in other} & {record.event_id for record in history}


@pytest.mark.parametrize("events", [1, 7, 500, 6000])
def test_exactly_as_many_records_as_asked_for(settings: Settings, events: int) -> None:
    assert sum(1 for _ in simulate_history(FIRST, LAST, events, 1, settings)) == events
    assert sum(1 for _ in simulate_live(events, 1, settings, lambda: 1_790_000_000_000)) == events


def test_shares_are_exact(history: list[SimulatedRecord], settings: Settings) -> None:
    counts = Counter(record.kind for record in history)
    assert {kind: counts[kind] for kind in Kind if kind is not Kind.NORMAL} == {
        kind: round(EVENTS * getattr(settings.simulation, f"{kind}_share")) for kind in Kind if kind is not Kind.NORMAL}


def test_records_come_in_sending_order_within_the_days(history: list[SimulatedRecord]) -> None:
    sent = [record.timestamp_ms for record in history]
    assert sent == sorted(sent)
    start = datetime(2026, 3, 26, tzinfo=LONDON).timestamp() * 1000
    assert start <= sent[0]
    assert sent[-1] < datetime(2026, 4, 5, tzinfo=LONDON).timestamp() * 1000
    dates = {record.event_date for record in history if record.kind is not Kind.FUTURE}
    assert dates == {FIRST + timedelta(days=number) for number in range(10)}


def test_what_the_bytes_say_is_what_the_labels_say(history: list[SimulatedRecord]) -> None:
    """An oracle that knows JSON, the calendar and the contract's defaults, and nothing of the simulator."""
    for record in history:
        if record.kind is Kind.CORRUPT:
            continue
        content = read_content(record)
        assert content == record.event
        moment = content["event_time"]
        assert record.event_date == moment.astimezone(LONDON).date()
        assert record.event_id == (content["event_id"] or derive_event_id({name: content[name] for name in V1_FIELDS}))
        sent = datetime.fromtimestamp(record.timestamp_ms // 1000, UTC) + timedelta(
            milliseconds=record.timestamp_ms % 1000)
        is_future = moment > sent + timedelta(minutes=5)
        assert is_future == ("event_time_not_future" in record.reasons) == (record.kind is Kind.FUTURE)
        if not record.reasons and record.kind is not Kind.DUPLICATE:
            assert record.is_late == (sent - moment > timedelta(minutes=10))
        assert record.key == content["user_id"].encode()
        assert content["event_type"] in EVENT_TYPES
        assert content["quantity"] > 0
        assert content["price"] >= 0


def test_copies_follow_their_original_under_its_key(history: list[SimulatedRecord]) -> None:
    first: dict[str, SimulatedRecord] = {}
    copies: Counter[Kind] = Counter()
    for record in history:
        if record.kind in (Kind.CORRUPT, Kind.FUTURE):
            assert record.event_id not in first
            continue
        if record.kind not in COPIES:
            assert record.event_id not in first, "two events share an identity"
            first[record.event_id] = record
            continue
        original = first[record.event_id]
        copies[record.kind] += 1
        assert record.key == original.key
        same = read_content(record) == read_content(original)
        if record.kind is Kind.DUPLICATE:
            assert same
        elif record.kind is Kind.CONFLICT_SAME_TIME:
            assert not same
            assert read_time(record) == read_time(original)
            assert record.reasons == ("conflicting_duplicate",)
        else:
            assert record.event_date != original.event_date
            assert not record.reasons
    assert min(copies[kind] for kind in COPIES) > 0


def test_some_copies_are_other_bytes_of_the_same_content(history: list[SimulatedRecord]) -> None:
    values = defaultdict(set)
    for record in history:
        if record.kind is Kind.DUPLICATE or record.kind is Kind.NORMAL:
            values[record.event_id].add(record.value)
    duplicated = [values[record.event_id] for record in history if record.kind is Kind.DUPLICATE]
    assert {1, 2} == {len(each) for each in duplicated}


def test_lateness_turns_at_the_millisecond(settings: Settings) -> None:
    shares = with_shares(settings, late_share=0.2, out_of_order_share=0.3)
    records = list(simulate_history(FIRST, LAST, EVENTS, 3, shares))
    delays = {kind: [record.timestamp_ms - int(read_time(record).timestamp() * 1000) for record in records
                     if record.kind is kind] for kind in (Kind.LATE, Kind.OUT_OF_ORDER)}
    assert min(delays[Kind.LATE]) == LATE_MS + 1
    assert max(delays[Kind.OUT_OF_ORDER]) == LATE_MS
    late = [record for record in records if record.kind is Kind.LATE]
    crossed = [record for record in late if record.event_date != datetime.fromtimestamp(
        record.timestamp_ms / 1000, LONDON).date()]
    assert crossed
    assert max(delays[Kind.LATE]) < 2 * 86_400_000 + LATE_MS + 1000


def test_every_corruption_is_known_to_the_rules_and_is_planted(settings: Settings) -> None:
    names = {rule.name for rule in event_rules(settings.quality, settings.shop)}
    planted = {reason for corruption in CORRUPTIONS for reason in corruption.reasons}
    assert planted <= names
    # What no corruption plants: what other kinds do, and lateness, which rejects nothing.
    assert names - planted == {"event_time_not_future", "not_late"}
    records = simulate_history(FIRST, LAST, EVENTS, 5, with_shares(settings, corrupt_share=0.3))
    seen = {record.reasons for record in records if record.kind is Kind.CORRUPT}
    assert seen == {corruption.reasons for corruption in CORRUPTIONS}


def test_corrupt_bytes_are_corrupt(settings: Settings) -> None:
    corrupt = [record for record in simulate_history(FIRST, LAST, EVENTS, 5, with_shares(settings, corrupt_share=0.3))
               if record.kind is Kind.CORRUPT]
    for record in corrupt:
        try:
            document = json.loads(record.value, parse_float=Decimal)
        except (UnicodeDecodeError, json.JSONDecodeError):
            document = None
        assert (not isinstance(document, dict)) == (record.reasons == ("json_valid",))
        assert record.value
        assert record.key


def test_days_have_shop_midnights_and_summer_time(settings: Settings) -> None:
    records = [record for record in simulate_history(date(2026, 10, 24), date(2026, 10, 26), 20_000, 1, settings)
               if record.kind is Kind.NORMAL]
    hours = Counter(record.event["event_time"].astimezone(LONDON).strftime("%d %H %z") for record in records)
    assert min(hours["25 01 +0100"], hours["25 01 +0000"]) > 0, "the hour that comes twice has events in both"
    before_midnight = [record for record in records
                       if record.event["event_time"].astimezone(UTC).date() != record.event_date]
    assert before_midnight, "the shop's day is not the UTC day while summer time lasts"


def test_old_versions_guests_fine_prices_and_long_fractions_occur(history: list[SimulatedRecord]) -> None:
    good = [record for record in history if not record.reasons]
    assert {record.event["schema_version"] for record in good} == {1, 2}
    assert {record.event["is_guest"] for record in good} == {True, False}
    assert {record.event["event_type"] for record in good} == set(EVENT_TYPES)
    assert max(-record.event["price"].as_tuple().exponent for record in good) in (3, 4)
    assert any(b"789Z" in record.value for record in good)
    categories = defaultdict(set)
    for record in good:
        categories[record.event_date, record.event["product_id"]].add(record.event["category"])
    assert max(map(len, categories.values())) > 1, "a product changes its category within a day"


def test_the_shop_is_the_same_whatever_the_seed(settings: Settings) -> None:
    def prices(seed: int) -> dict[tuple[date, str], set[Decimal]]:
        found = defaultdict(set)
        for record in simulate_history(FIRST, FIRST, 3000, seed, settings):
            if record.kind is Kind.NORMAL:
                found[record.event_date, record.event["product_id"]].add(record.event["price"])
        return found

    one, two = prices(1), prices(2)
    common = one.keys() & two.keys()
    assert len(common) > 40
    assert all(one[key] == two[key] and len(one[key]) == 1 for key in common)


def test_a_day_alone_has_no_copy_on_another_date(settings: Settings) -> None:
    records = list(simulate_history(FIRST, FIRST, 2000, 1, settings))
    assert len(records) == 2000
    assert Kind.CONFLICT_OTHER_DATE not in {record.kind for record in records}
    assert {record.event_date for record in records if record.kind is not Kind.FUTURE} == {FIRST}


@pytest.mark.parametrize(("first", "last", "shares", "message"), [
    (LAST, FIRST, {}, "must not be after"),
    (date(1960, 1, 1), FIRST, {}, "nor before"),
    (FIRST, LAST, {"duplicate_share": 0.4, "late_share": 0.4}, "does not fit"),
])
def test_what_cannot_be_simulated_is_refused_at_once(
    settings: Settings, first: date, last: date, shares: dict[str, float], message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate_history(first, last, 100, 1, with_shares(settings, **shares))


def test_late_after_must_fit_into_a_day(settings: Settings) -> None:
    slow = settings.model_copy(update={"quality": settings.quality.model_copy(update={"late_after": 1440})})
    with pytest.raises(ConfigError, match="late_after"):
        simulate_history(FIRST, LAST, 100, 1, slow)


def make_clock(start: int = 1_790_000_000_000) -> Iterator[int]:
    """Tick 40 ms at each look."""
    return iter(range(start, start + 10**9, 40))


def test_live_records_are_sent_now_and_keep_the_promises_of_history(settings: Settings) -> None:
    ticks = make_clock()
    asked: list[int] = []

    def clock() -> int:
        asked.append(next(ticks))
        return asked[-1]

    records = []
    for record in simulate_live(EVENTS, 7, settings, clock):
        assert record.timestamp_ms == asked[-1], "a record is made when it is asked for"
        records.append(record)
    test_shares_are_exact(records, settings)
    test_what_the_bytes_say_is_what_the_labels_say(records)
    test_copies_follow_their_original_under_its_key(records)
    normal = [record for record in records if record.kind is Kind.NORMAL]
    assert all(record.timestamp_ms - read_time(record).timestamp() * 1000 <= 2001 for record in normal)


def test_live_identities_cover_the_start(settings: Settings) -> None:
    runs = [{record.event_id for record in simulate_live(200, 7, settings, make_clock(start).__next__)}
            for start in (1_790_000_000_000, 1_790_000_000_001)]
    assert not runs[0] & runs[1]


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.parquet"])
def test_a_file_comes_out_of_its_reader_as_the_records_promised(tmp_path: Path, settings: Settings, name: str) -> None:
    path = tmp_path / name
    records = list(simulate_file(path, FIRST, LAST, EVENTS, 7, settings))
    assert len(records) == EVENTS
    assert {record.kind for record in records} == {Kind.NORMAL, *COPIES}
    assert not any(record.is_late for record in records)
    reader = open_source(path, "events", settings)
    assert [(record.key, record.value, record.timestamp_ms) for record in reader] == [
        (record.key, record.value, record.timestamp_ms) for record in records]
    test_copies_follow_their_original_under_its_key(records)
    content = path.read_bytes()
    list(simulate_file(path, FIRST, LAST, EVENTS, 7, settings))
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_file_of_no_known_format_is_refused(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="ends in one of"):
        simulate_file(tmp_path / "data.xlsx", FIRST, LAST, 100, 7, settings)


def test_demand_has_a_level_and_a_weekday_profile_that_can_be_learned(settings: Settings) -> None:
    """Eight weeks of a product's weekday foretell the ninth better than all its days do, and than one week does."""
    units: Counter[tuple[date, str]] = Counter()
    first = date(2026, 5, 4)
    for record in simulate_history(first, first + timedelta(days=62), 60_000, 1, settings):
        if not record.reasons and record.kind is not Kind.DUPLICATE and record.event["event_type"] == "order_created":
            units[record.event_date, record.event["product_id"]] += record.event["quantity"]
    products = sorted({product for _, product in units})
    last_week = [first + timedelta(days=56 + number) for number in range(7)]
    weekday_error = level_error = naive_error = 0.0
    for product in products:
        for target in last_week:
            actual = units[target, product]
            before = [units[target - timedelta(days=7 * weeks), product] for weeks in range(1, 9)]
            weekday_error += abs(sum(before) / len(before) - actual)
            level_error += abs(sum(units[first + timedelta(days=day), product] for day in range(56)) / 56 - actual)
            naive_error += abs(before[0] - actual)
    assert weekday_error < 0.9 * level_error
    assert weekday_error < 0.9 * naive_error
