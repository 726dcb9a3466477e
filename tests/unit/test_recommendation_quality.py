"""Recall, NDCG and coverage of recommendations, against figures worked out by hand."""

import math

import pytest

from shoplake.batch.recommendation_quality import judge

PRODUCTS = {"a", "b", "c", "d"}


def test_an_order_of_three() -> None:
    """Asked about a, b and c in turn: b of {b, c}, both of {a, c}, nothing of {a, b}."""
    quality = judge({"a": ["b", "d"], "b": ["d", "a", "c"], "c": ["d"]}, [{"a", "b", "c"}], PRODUCTS)
    assert quality.recall == pytest.approx((1 / 2 + 1 + 0) / 3)
    best = 1 + 1 / math.log2(3)
    assert quality.ndcg == pytest.approx((1 / best + (1 / math.log2(3) + 1 / math.log2(4)) / best + 0) / 3)
    assert quality.coverage == 1.0
    assert quality.order_count == 1


def test_orders_count_alike_whatever_their_size_and_single_ones_do_not() -> None:
    quality = judge({"a": ["b"], "b": ["a"]}, [{"a", "b"}, {"c", "d"}, {"a"}], PRODUCTS)
    assert (quality.recall, quality.ndcg, quality.order_count) == (0.5, 0.5, 2)
    assert quality.coverage == 0.5


def test_a_product_is_not_recommended_to_itself_and_ten_count() -> None:
    many = [f"x{number}" for number in range(9)]
    quality = judge({"a": ["a", *many, "b", "c"]}, [{"a", "b", "c"}], {*many, *PRODUCTS})
    assert quality.recall == pytest.approx(1 / 2 / 3), "b is the tenth, c the eleventh; b and c have nothing"


def test_the_default_stands_in_and_nothing_to_ask_is_nothing() -> None:
    assert judge({}, [{"a", "b"}], PRODUCTS, ["b", "a"]).recall == 1.0
    assert judge({"a": ["b"]}, [{"a"}], PRODUCTS).order_count == 0
