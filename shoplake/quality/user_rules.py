"""The rules that a user of a file must pass, over the typed row of `shoplake.lake.users`; see `quality.rules`."""

from shoplake.contract.events import MAX_TEXT_LENGTH
from shoplake.contract.users import USER_COUNTS, USER_FLAGS, USER_TEXTS
from shoplake.quality.rules import JSON_VALID, Rule

LISTED_TWICE = "user_listed_once"


def _all_told(names: dict[str, tuple[str, str]]) -> str:
    return " AND ".join(f"{name} IS NOT NULL" for name in names)


USER_RULES = (
    Rule(JSON_VALID, "is_json", "the line has as many cells as the header"),
    Rule("user_id_present", "user_id IS NOT NULL", "without it nobody is told of"),
    Rule(LISTED_TWICE, "is_first", "a user is one row: the first line of the file stands"),
    Rule("counts_valid", _all_told(USER_COUNTS), "whole numbers of at least 0"),
    Rule("pass_rate_valid", "pass_rate IS NOT NULL", "a percentage from 0 to 100"),
    Rule("flags_valid", _all_told(USER_FLAGS), "True or False"),
    Rule("country_code_valid", "coalesce(regexp_full_match(country_code, '[A-Za-z]{2}'), TRUE)", "ISO 3166"),
    Rule("text_bounded", " AND ".join(f"coalesce(length({name}) <= {MAX_TEXT_LENGTH}, TRUE)"
                                      for name in ("user_id", *USER_TEXTS)),
         f"texts longer than {MAX_TEXT_LENGTH} characters are none of these"),
    Rule("text_clean", " AND ".join(f"coalesce(NOT regexp_matches({name}, '[\\x00-\\x1f\\x7f]'), TRUE)"
                                    for name in ("user_id", *USER_TEXTS)), "no control characters"),
)
