"""BG/NBD and Gamma-Gamma against published figures, and against customers drawn from the models themselves."""

import numpy as np
import pytest

from shoplake.batch.lifetime_value import BgNbd, Floats, GammaGamma, fit_bg_nbd, fit_gamma_gamma

# Fader, Hardie and Lee 2005: the CDNOW customers, in weeks.
CDNOW = BgNbd(0.243, 4.414, 0.793, 2.426)
# Fader and Hardie 2013: the same customers' spending.
CDNOW_MONEY = GammaGamma(6.25, 3.74, 15.44)


def one(*figures: float) -> tuple[Floats, ...]:
    return tuple(np.array([figure]) for figure in figures)


def test_the_published_customer_of_cdnow() -> None:
    """Two repeats, the last after 30.43 of 38.86 weeks: 1.226 purchases in the next 39 weeks."""
    assert CDNOW.expected_purchases(39, *one(2, 30.43, 38.86))[0] == pytest.approx(1.226, abs=0.0005)


def test_the_published_mean_spending_of_cdnow() -> None:
    """A customer who never came again is expected to spend what the population does: p v / (q - 1), 35 dollars."""
    assert CDNOW_MONEY.expected_amount(*one(0, 0))[0] == pytest.approx(6.25 * 15.44 / 2.74)
    assert CDNOW_MONEY.expected_amount(*one(0, 0))[0] == pytest.approx(35.2, abs=0.05)
    few, many = (CDNOW_MONEY.expected_amount(*one(count, 100))[0] for count in (1, 50))
    assert 35.2 < few < many < 100


def test_who_never_came_again_is_active_and_who_stays_away_long_is_not() -> None:
    repeats, last, age = np.array([0.0, 10, 10]), np.array([0.0, 38, 5]), np.array([38.86, 38.86, 38.86])
    never, lately, long_ago = CDNOW.is_active(repeats, last, age)
    assert never == 1
    assert lately > 0.9
    assert long_ago < 0.01


def draw_customers(model: BgNbd, count: int, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Let customers live as the model says; give repeats, last and age at half-time, and repeats in the second half."""
    draw = np.random.default_rng(seed)
    ages = draw.uniform(100, 300, count)
    repeats, last, later = (np.zeros(count) for _ in range(3))
    for number in range(count):
        rate, leaves = draw.gamma(model.r, 1 / model.alpha), draw.beta(model.a, model.b)
        moment = 0.0
        while (moment := moment + draw.exponential(1 / rate)) < 2 * ages[number]:
            if moment < ages[number]:
                repeats[number] += 1
                last[number] = moment
            else:
                later[number] += 1
            if draw.random() < leaves:
                break
    return repeats, last, ages, later


@pytest.mark.parametrize("model", [BgNbd(0.8, 30, 0.8, 2.5), BgNbd(1.5, 100, 1.5, 6)])
def test_the_fit_finds_what_customers_were_drawn_from_and_foretells_them(model: BgNbd) -> None:
    repeats, last, ages, later = draw_customers(model, 6000, 3)
    fitted = fit_bg_nbd(repeats, last, ages, np.ones(len(ages)))
    assert fitted is not None
    assert fitted.r / fitted.alpha == pytest.approx(model.r / model.alpha, rel=0.1)
    assert fitted.a / (fitted.a + fitted.b) == pytest.approx(model.a / (model.a + model.b), rel=0.1)
    expected = np.array([fitted.expected_purchases(age, *one(x, when, age))[0]
                         for x, when, age in zip(repeats, last, ages, strict=True)])
    assert expected.sum() == pytest.approx(later.sum(), rel=0.05)
    often = repeats >= 3
    assert expected[often].sum() == pytest.approx(later[often].sum(), rel=0.08)


def test_equal_customers_may_be_told_by_their_number() -> None:
    repeats, last, ages, _ = draw_customers(BgNbd(0.8, 30, 0.8, 2.5), 500, 4)
    rounded = np.stack([repeats, last.round(), ages.round(-2)])
    unique, counts = np.unique(rounded, axis=1, return_counts=True)
    each, together = (fit_bg_nbd(*rounded, np.ones(500)), fit_bg_nbd(*unique, counts.astype(float)))
    assert each is not None
    assert together is not None
    assert together.r == pytest.approx(each.r, rel=1e-3)
    assert together.b == pytest.approx(each.b, rel=1e-2)


def test_the_fit_of_money_finds_what_it_was_drawn_from() -> None:
    draw = np.random.default_rng(5)
    repeats = draw.integers(1, 12, 8000).astype(float)
    rates = draw.gamma(4.0, 1 / 20.0, 8000)  # q = 4, v = 20
    mean_amount = draw.gamma(3.0 * repeats) / rates / repeats  # p = 3
    fitted = fit_gamma_gamma(repeats, mean_amount)
    assert fitted is not None
    assert (fitted.p, fitted.q, fitted.v) == pytest.approx((3, 4, 20), rel=0.1)


def test_too_few_say_nothing() -> None:
    some = np.arange(20.0)
    assert fit_bg_nbd(some, some, some + 1, np.ones(20)) is None
    assert fit_bg_nbd(np.zeros(50), np.zeros(50), np.ones(50), np.ones(50)) is None
    assert fit_gamma_gamma(np.ones(20), np.ones(20)) is None
