"""Programs among the shoppers: nearly all are found, and hardly anybody else.

By the truth's own visits, which gold.sessions equals (tests/dataflow/test_ground_truth.py).
"""

from collections import Counter
from datetime import date

from shoplake.settings import load_settings
from shoplake.simulation import Kind, simulate_history
from shoplake.simulation.shoppers import BOT
from shoplake.simulation.true_visits import find_visits


def test_of_the_programs_95_in_100_are_found_and_of_those_found_99_are_programs() -> None:
    settings = load_settings()
    shares = settings.simulation.model_copy(update={"bot_share": 0.01})
    records = simulate_history(date(2026, 3, 1), date(2026, 3, 20), 100_000, 5,
                               settings.model_copy(update={"simulation": shares}))
    visits = list(find_visits(record for record in records if not record.reasons and record.kind is not Kind.DUPLICATE))
    users = {visit.records[0].event["user_id"] for visit in visits}
    found = {visit.records[0].event["user_id"] for visit in visits if visit.is_bot}
    counts = Counter((user.startswith(BOT), user in found) for user in users)
    assert counts[True, True] > 100
    assert counts[True, True] >= 0.95 * (counts[True, True] + counts[True, False])
    assert counts[True, True] >= 0.99 * (counts[True, True] + counts[False, True])
    assert counts[False, False] > 5_000
