"""Groups of customers: those that were planted are found, by names that say what they are."""

import numpy as np
import numpy.typing as npt
import pytest

from shoplake.batch.segmentation import ARCHETYPES, MIN_CUSTOMERS, find_segments

Floats = npt.NDArray[np.float64]
# Days since the last order, orders, money: what the name says of each.
PLANTED = {"champions": (5, 40, 9000), "at_risk": (250, 20, 3000), "promising": (8, 1, 40), "lost": (300, 1, 15)}


def draw_customers(seed: int, each: int = 80) -> tuple[Floats, Floats, Floats, list[str]]:
    draw = np.random.default_rng(seed)
    names = [name for name in PLANTED for _ in range(each)]
    center = np.array([PLANTED[name] for name in names], float)
    points = center * np.exp(draw.normal(0, 0.15, center.shape))
    return points[:, 0].round(), points[:, 1].round() + 1, points[:, 2], names


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_groups_are_found_by_their_names(seed: int) -> None:
    recency, frequency, money, names = draw_customers(seed)
    found = find_segments(recency, frequency, money)
    assert found is not None
    assert found.count == 4
    assert found.names == names
    assert found.silhouette > 0.7


def test_the_same_customers_give_the_same_groups() -> None:
    draw = np.random.default_rng(3)
    recency, frequency, money = draw.integers(0, 400, 3000), draw.geometric(0.3, 3000), draw.normal(100, 200, 3000)
    first, second = (find_segments(recency.astype(float), frequency.astype(float), money) for _ in range(2))
    assert first == second
    assert first is not None
    assert len(set(first.names)) == first.count
    assert set(first.names) <= set(ARCHETYPES)


def test_the_names_do_not_depend_on_the_shops_size_or_currency() -> None:
    recency, frequency, money, names = draw_customers(9)
    found = find_segments(recency, frequency, money * 150)
    assert found is not None
    assert found.names == names


def test_too_few_or_all_alike_make_no_groups() -> None:
    recency, frequency, money, _ = draw_customers(1, each=(MIN_CUSTOMERS - 1) // 4)
    assert find_segments(recency, frequency, money) is None
    same = np.ones(MIN_CUSTOMERS)
    assert find_segments(same, same, same) is None
