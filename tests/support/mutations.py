"""Good records of both versions, and ways to damage them: a record is a pure function of (seed, number)."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Pairs = list[tuple[str, str]]  # names and values as JSON text: what json.dumps would never write can stand there too
Mutation = Callable[[random.Random, Pairs], None]

MOMENTS = tuple(datetime.fromisoformat(text) for text in (
    "2026-03-20T12:00:00+00:00", "2026-03-29T00:59:59+00:00", "2026-03-29T01:00:00+00:00",  # the clocks change
    "2025-10-26T00:30:00+00:00", "2025-10-26T01:30:00+00:00", "2024-02-29T23:59:59+00:00", "2026-06-30T23:30:00+00:00",
    "2010-12-01T08:26:00+00:00", "1970-01-02T00:00:30+00:00", "1971-10-31T02:00:00+00:00", "2037-07-01T22:59:00+00:00",
    "2099-12-31T23:59:59+00:00", "9998-06-15T12:00:00+00:00",
))
BASE_FIELDS = ("event_time", "user_id", "product_id", "category", "price", "quantity", "event_type")
TEXT_FIELDS = (
    "user_id", "product_id", "category", "event_type", "event_id", "order_id", "session_id", "brand", "currency",
    "source",
)
ALL_FIELDS = (
    *BASE_FIELDS, "event_id", "order_id", "session_id", "brand", "currency", "is_guest", "source", "schema_version",
)
EVENT_TYPES = ("product_viewed", "add_to_cart", "remove_from_cart", "order_created", "order_cancelled")

TIMES = (
    "2026-03-01T10:00:00", "2026-03-01T10:00:00z", "2026-03-01t10:00:00Z", "2026-03-01 10:00:00Z", "2026-03-01T10:00Z",
    "2026-03-01T10:00:00+14:00", "2026-03-01T10:00:00-12:00", "2026-03-01T10:00:00+18:00", "2026-03-01T10:00:00-18:00",
    "2026-03-01T10:00:00+18:01", "2026-03-01T10:00:00+99:99", "2026-03-01T10:00:00+14:60", "2026-03-01T10:00:00+1400",
    "2026-03-01T10:00:00+14", "2026-03-01T10:00:00-00:00", "2026-03-01T10:00:00 Z", "2026-03-01T10:00:00Z ",
    "2026-03-01T10:00:00Z\n", " 2026-03-01T10:00:00Z", "2026-03-01T10:00:00UTC", "2026-03-01T10:00:00 Europe/London",
    "2016-12-31T23:59:60Z", "2026-03-01T24:00:00Z", "2026-03-01T23:60:00Z", "2026-02-29T10:00:00Z",
    "2024-02-29T10:00:00Z", "2100-02-29T10:00:00Z", "2000-02-29T10:00:00Z", "2026-04-31T10:00:00Z",
    "2026-00-10T10:00:00Z", "2026-13-10T10:00:00Z", "2026-01-00T10:00:00Z", "2026-01-32T10:00:00Z",
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1582-10-10T00:00:00Z", "1970-01-01T23:59:59.999999Z",
    "1970-01-02T00:00:00Z", "1970-01-01T23:00:00-01:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-18:00",
    "10000-01-01T00:00:00Z", "+2026-03-01T10:00:00Z", "-2026-03-01T10:00:00Z", "2026-3-1T10:00:00Z",
    "20260301T100000Z", "2026-03-01T10:00:00.Z", "2026-03-01T10:00:00.1Z", "2026-03-01T10:00:00.1234567Z",
    "2026-03-01T10:00:00,5Z", "2026-03-01T10:00:00.9999999999999999999999999Z", "2026-03-01T10:00:00.123456789+05:30",
    "2026-W10-1T10:00:00Z", "2026-060T10:00:00Z", "２０２６-03-01T10:00:00Z", "2026-03-01T10:00:00٠Z",
    "2026‐03‐01T10:00:00Z", "1772359200", "01/03/2026 10:00", "Sun, 01 Mar 2026 10:00:00 GMT", "now", "today", "epoch",
    "", "null", "9999-99-99T99:99:99Z", "2026-03-01T10:00:00Z\u0000", "2026-03-01T10:00:00\u00a0Z",
)
DECIMALS = (
    "0", "0.0", "-0", "-0.0", "0.0000", "0.0001", "-0.0001", "0.00001", "1", "1.", ".5", "00", "007.50", "1.5000",
    "1.50000", "19.99", "19.990000000000000000000000000001", "1e2", "1E2", "1e-2", "1.5e+3", "0x10", "+1", "1,50",
    "1_000", " 1", "1 ", "1\n", "--1", "1.2.3", "99999999999999", "99999999999999.9999", "100000000000000",
    "12345678.5", "10000000.25", "999999999999.9998", "1000000000000", "1000000000000.0001", "500000000000.5",
    "333333333333.3333", "123456789.1234", "0.1", "0.30000000000000004", "-1.50", "１２", "١٢", "1²", "½", "NaN",
    "Infinity", "-Infinity", "INF", "1e400", "-1e400", "1e-400", "", "-", "-.", "abc", "9" * 40, "9" * 300,
    "0." + "3" * 60, "1." + "0" * 300, "£5", "5 GBP",
)
INTEGERS = (
    "0", "-0", "1", "2", "7", "-3", "007", "0000000001", "00000000001", "2147483647", "2147483648", "-2147483648",
    "-2147483649", "9999999999", "99999999999", "1.0", "1.5", "1e0", "1E1", "10e-1", "+1", " 1", "1 ", "１", "٣", "",
    "one", "true", "0x1", "1_0", "1" * 400, "NaN", "500000", "3000000",
)
BOOLEANS = ("true", "false", "True", "FALSE", "yes", "0", "1", "", "null", "t", " true", "true ", "truе")
VERSIONS = ("0", "1", "2", "3", "-1", "01", "02", "1.0", "2.0", "v2", "", "2147483648", "99", "２")
TEXTS = (
    "", " ", "\t", "a\tb", "line\nbreak", "\u0000", "a\u0000b", "\u001f", "\u007f", "\u0085", "\u00a0", "\u2028",
    "\ufeff", "\ufeffu1", "\u200b", "e\u0301", "é", "😀", "😀" * 256, "😀" * 257, "x" * 255, "x" * 256, "x" * 257,
    "x" * 5000, "é" * 256, "é" * 257, "null", "NULL", "None", "NaN", "true", "0", "{}", "[]", "{\"a\":1}", "[1", "}",
    "{", "]", "a}b{c", "'", "\"", "\\", "\\\\", "\\u0000", "\\ud800", "/", "</script>", "; DROP TABLE silver.events",
    "%s%n", "\ud83d\ude00", "\U0010ffff", "\uffff", "\ufffd", "?", "??", "İ", "ß", "ﬁ", "Ω", "\"user_id\":[1]",
    "\": 1.5,", "order_created", "Order_Created", "order_created ", "product_teleported", "GBP", "gbp", "EUR", "GBP ",
    "£",
)
RAW = (  # what may stand for a value in JSON, and what may not
    "null", "true", "false", "0", "1", "-1", "1.5", "-0.0", "1e2", "1E+2", "1e400", "12345678901234567890", "0.1e1",
    "NaN", "Infinity", "-Infinity", "+INF", "nan", "undefined", "None", "True", "nul", "tru", "truefalse", "01", "-01",
    "+1", "1.", ".5", "-", "1e", "1e+", "0x1F", "1_000", "'a'", "a", "`a`", "\"", "\"a", "\"a\"b", "\"\\x\"",
    "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\udc00\\ud800\"", "\"\\ud83d\\ude00\"",
    "\"\\uD83D\\uDE00x\"", "\"\\ud83d\\ud83d\\ude00\"", "\"\\\\ud800\"", "\"\\u0000\"", "\"\\u0041\"", "\"\\/\"",
    "\"\\b\\f\\n\\r\\t\"", "\"a\tb\"", "\"a\nb\"", "\"\x00\"", "\"\x1f\"", "\"\x7f\"", "{}", "[]", "[1]", "[\"a\"]",
    "{\"id\":1}", "{\"user_id\":[1]}", "{\"price\":1.50,\"brand\":{\"x\":[]}}", "[[],[],{}]", "[1,]", "{\"a\":1,}",
    "{\"a\"}", "{a:1}", "[", "{", "]", "}", "", " ", "1 2", "1//c", "1/*c*/", "/*c*/1", "#1", "\u00a01", "\u20281",
)
EXTRA_NAMES = (
    "x", "campaign", "device", "User_ID", "userId", "PRICE", "_corrupt_record", "event_time ", " price",
    "user\u005fid", "用户", "", "\u0000", "a.b", "event\\u005ftime", "user\\u005Fid",
)
AFTER = (
    "{}", " x }", "//}", "\x0b", "\x0c", "\x00", ",", "}", "]", ";", "null", "\n{}", ",{}", "],[{}", "},{", "\u00a0",
    "\ufeff", " \t\r\n", "\n\n", "#", "/* */", "\"", "1", "{\"user_id\":\"b\"}", "],\"end\"]",
)
BEFORE = ("\ufeff", "\x0b", "\x0c", "\x00", "\u00a0", " \t\r\n", "[", "(", "x", "//\n", ")]}',\n", "\"", "\\")
BYTES = (
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xc3", b"\xf0\x9f\x98",
    b"\x00", b"\x1f", b"\x7f", b"\"", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"e", b".", b"-", b" ", b"\n",
    b"\xef\xbb\xbf", b"\xef\xbf\xbd",
)


def make_record(seed: int, number: int) -> tuple[bytes | None, int]:
    """Give the record's value and its Kafka timestamp in milliseconds; (seed, number) gives the same for ever."""
    draw = random.Random(seed * 2**40 + number)
    sent = draw.choice(MOMENTS[:8] if draw.random() < 0.8 else MOMENTS)
    timestamp_ms = int(sent.timestamp() * 1000) + draw.randrange(1000)
    pairs = make_pairs(draw, timestamp_ms)
    kind = draw.random()
    if kind >= 0.12:  # the rest stays good, whatever its spelling
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            draw.choice(MUTATIONS)(draw, pairs)
    text = write_text(draw, pairs)
    if kind >= 0.75:
        text = damage_text(draw, text)
    value: bytes | None = text.encode("utf-8", "surrogatepass")
    if kind >= 0.87:
        value = damage_bytes(draw, value or b"")
    return value, timestamp_ms


def make_pairs(draw: random.Random, timestamp_ms: int) -> Pairs:
    """Draw a good event from a small shop, so that many events and their contents come again."""
    before = draw.choice((0, 1, 60, 599, 3600, 86_400))
    moment = datetime.fromtimestamp(timestamp_ms // 1000, UTC) - timedelta(seconds=before)
    moment = max(moment, datetime(1970, 1, 2, tzinfo=UTC))
    event = {
        "event_time": json.dumps(moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")),
        "user_id": f'"u{draw.randrange(20)}"', "product_id": f'"p{draw.randrange(5)}"', "category": '"books"',
        "price": draw.choice(('"19.99"', '"5"', '"0.5000"', "7", "19.99", '"0"')), "quantity": draw.choice("1234"),
        "event_type": f'"{draw.choice(EVENT_TYPES)}"',
    }
    if draw.random() < 0.7:
        event |= {"event_id": f'"e{draw.randrange(1000)}"', "schema_version": "2"}
        optional = {"order_id": '"o1"', "session_id": '"s1"', "brand": '"Acme"', "currency": '"GBP"',
                    "is_guest": draw.choice(("true", "false")), "source": '"web"'}
        event |= {name: text for name, text in optional.items() if draw.random() < 0.4}
    return list(event.items())


def write_text(draw: random.Random, pairs: Pairs) -> str:
    """Spell the record: order, white space and escapes mean nothing."""
    if draw.random() < 0.2:
        draw.shuffle(pairs)
    comma, colon = draw.choice(((",", ":"), (",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")))
    names = (json.dumps(name) if "\\" not in name else f'"{name}"' for name, _ in pairs)
    body = comma.join(f"{name}{colon}{text}" for name, (_, text) in zip(names, pairs, strict=True))
    return f"{{{body}}}"


def set_field(draw: random.Random, pairs: Pairs, name: str, text: str) -> None:
    """Put a value in the place of the field's, or at the end where it has none."""
    places = [place for place, (known, _) in enumerate(pairs) if known == name]
    if places:
        pairs[draw.choice(places)] = (name, text)
    else:
        pairs.append((name, text))


def quote(draw: random.Random, text: str) -> str:
    return json.dumps(text, ensure_ascii=draw.random() < 0.3)


def set_time(draw: random.Random, pairs: Pairs) -> None:
    set_field(draw, pairs, "event_time", quote(draw, draw.choice(TIMES)))


def shift_time(draw: random.Random, pairs: Pairs) -> None:
    """Move the time to the edges of what is too early, late and too far ahead, with any offset and fraction."""
    current = next((text for name, text in pairs if name == "event_time"), "")
    try:
        moment = datetime.fromisoformat(json.loads(current))
        moment += timedelta(seconds=draw.choice((-601, -600, -599, 0, 299, 300, 301, 86_400, -5_000_000)),
                            microseconds=draw.choice((-1, 0, 1, 500_000, 999_999)))
        minutes = draw.choice((0, 60, -300, 330, 345, 840, -720))
        local = (moment + timedelta(minutes=minutes)).replace(tzinfo=None).isoformat(sep=draw.choice("T "))
    except (ValueError, TypeError, OverflowError):
        return
    sign = "-" if minutes < 0 else "+"
    fraction = draw.choice(("", "", "000", "999", "1234567")) if "." in local else ""
    set_field(draw, pairs, "event_time", f'"{local}{fraction}{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"')


def set_price(draw: random.Random, pairs: Pairs) -> None:
    text = draw.choice(DECIMALS)
    set_field(draw, pairs, "price", text if draw.random() < 0.5 else quote(draw, text))


def draw_price(draw: random.Random, pairs: Pairs) -> None:
    """Any decimal of any length, as number or text."""
    text = f"{draw.randrange(10 ** draw.randrange(1, 17))}.{draw.randrange(10 ** draw.randrange(1, 8))}"
    set_field(draw, pairs, "price", draw.choice((text, f'"{text}"', f'"-{text}"')))


def set_quantity(draw: random.Random, pairs: Pairs) -> None:
    text = draw.choice(INTEGERS)
    set_field(draw, pairs, "quantity", text if draw.random() < 0.5 else quote(draw, text))


def set_text(draw: random.Random, pairs: Pairs) -> None:
    set_field(draw, pairs, draw.choice(TEXT_FIELDS), quote(draw, draw.choice(TEXTS)))


def set_guest(draw: random.Random, pairs: Pairs) -> None:
    text = draw.choice(BOOLEANS)
    set_field(draw, pairs, "is_guest", text if draw.random() < 0.5 else quote(draw, text))


def set_version(draw: random.Random, pairs: Pairs) -> None:
    text = draw.choice(VERSIONS)
    set_field(draw, pairs, "schema_version", text if draw.random() < 0.5 else quote(draw, text))


def set_raw(draw: random.Random, pairs: Pairs) -> None:
    set_field(draw, pairs, draw.choice(ALL_FIELDS), draw.choice(RAW))


def remove_field(draw: random.Random, pairs: Pairs) -> None:
    if pairs:
        pairs.pop(draw.randrange(len(pairs)))


def add_field(draw: random.Random, pairs: Pairs) -> None:
    """A new column, of any type: an additive change, or one that only looks like a field of ours."""
    text = draw.choice(RAW) if draw.random() < 0.5 else quote(draw, draw.choice(TEXTS))
    pairs.insert(draw.randrange(len(pairs) + 1), (draw.choice(EXTRA_NAMES), text))


def repeat_field(draw: random.Random, pairs: Pairs) -> None:
    if pairs:
        name, text = draw.choice(pairs)
        pairs.insert(draw.randrange(len(pairs) + 1), (name, draw.choice((text, "null", '"other"', "3"))))


def rename_field(draw: random.Random, pairs: Pairs) -> None:
    if pairs:
        place = draw.randrange(len(pairs))
        name, text = pairs[place]
        changed = (name.upper(), name.title(), name.replace("_", ""), f"{name} ", name.replace("_", "-"), "id")
        pairs[place] = (draw.choice(changed), text)


def nest_payload(draw: random.Random, pairs: Pairs) -> None:
    body = ",".join(f"{json.dumps(name)}:{text}" for name, text in pairs if "\\" not in name)
    pairs[:] = [(draw.choice(("payload", "event", "x")), f"{{{body}}}")] + (pairs if draw.random() < 0.5 else [])


def nest_deeply(draw: random.Random, pairs: Pairs) -> None:
    if draw.random() > 0.03:
        return  # long
    depth = draw.choice((10, 500, 990, 1010, 3000))
    left, right = draw.choice((("[", "]"), ('{"a":', "}"), ("[[1],", "]")))
    inside = "1" if left != "[" else ""
    pairs.append((draw.choice(("x", "y")), left * depth + inside + right * depth))


def add_long(draw: random.Random, pairs: Pairs) -> None:
    """At the reader's limits: numbers of a thousand digits, names of fifty thousand letters, long texts."""
    if draw.random() > 0.03:
        return
    pairs.append(draw.choice((("x", "1" * 1000), ("x", "1" * 1001), ("x", "1." + "1" * 999), ("x", "1." + "1" * 1200),
                              ("k" * 50_000, "1"), ("k" * 50_001, "1"), ("x", '"' + "a" * 100_000 + '"'),
                              ("brand", '"' + "\\u0041" * 257 + '"'), ("x", '"' + "\\u00e9" * 30_000 + '"'),
                              ("x", '"\\u00e9' + "a" * 100_000 + '"'))))


MUTATIONS: tuple[Mutation, ...] = (
    set_time, set_time, shift_time, shift_time, set_price, draw_price, set_quantity, set_text, set_text, set_guest,
    set_version, set_raw, set_raw, remove_field, add_field, repeat_field, rename_field, nest_payload, nest_deeply,
    add_long,
)


def damage_text(draw: random.Random, text: str) -> str:
    kind = draw.randrange(8)
    if kind == 0:
        return text + draw.choice(AFTER)
    if kind == 1:
        return draw.choice(BEFORE) + text
    if kind == 2:
        return f"[{text}]" if draw.random() < 0.5 else text + text
    if kind == 3:
        return text.replace('"', "'") if draw.random() < 0.5 else text.replace('"', "")
    if kind == 4:
        return text.replace(draw.choice((",", ":", "{", "}", '"')), draw.choice(("", ";", "=", ",,", '""')), 1)
    if kind == 5:
        return text.upper() if draw.random() < 0.5 else text.translate({ord(d): ord(d) + 0xFEE0 for d in "0123456789"})
    if kind == 6:
        return text[: draw.randrange(len(text) + 1)]
    return text[:-1] + draw.choice((",}", "}}", ']', "", "\n}", " }"))


def damage_bytes(draw: random.Random, value: bytes) -> bytes | None:
    kind, place = draw.randrange(9), draw.randrange(len(value) + 1)
    if kind == 0:
        return value[:place]
    if kind == 1:
        return value[:place] + draw.choice(BYTES) + value[place:]
    if kind == 2:
        return value[:place] + value[place + draw.randrange(1, 9):]
    if kind == 3:
        return value[:place] + value[place // 2:]
    if kind == 4:
        return draw.choice((None, b"", b" ", b"null", b"{}", b"[]", b"\"\"", b"0", b"\x1f\x8b\x08", value[::-1]))
    if kind == 5:
        return value.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig")))
    damaged = bytearray(value)
    for _ in range(draw.choice((1, 1, 2, 5))):
        if damaged:
            at = draw.randrange(len(damaged))
            damaged[at] = draw.randrange(256) if draw.random() < 0.5 else damaged[at] ^ (1 << draw.randrange(8))
    return bytes(damaged)
