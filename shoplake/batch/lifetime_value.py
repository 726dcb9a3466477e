"""What customers will still buy: BG/NBD for how often, Gamma-Gamma for how much.

BG/NBD: Fader, Hardie and Lee, "Counting Your Customers" the Easy Way (Marketing Science 24, 2005). While a customer is
active, purchases come at a rate of the customer's own (gamma over customers); after each the customer may leave for
good, with a chance of the customer's own (beta over customers). Gamma-Gamma: Fader and Hardie, The Gamma-Gamma Model of
Monetary Value (2013). Time is in days. A purchase is a day with an order; the first one makes the customer.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

Floats = npt.NDArray[np.float64]
# Fewer have no likelihood worth its maximum.
MIN_CUSTOMERS = 30
# Keeps the maximum away from infinity where a few customers say nothing.
_PENALTY = 1e-3
_BOUND = 12.0


@dataclass(frozen=True)
class BgNbd:
    """How often: r and alpha of the rates' gamma distribution (alpha in days), a and b of the chances' beta."""

    r: float
    alpha: float
    a: float
    b: float

    def is_active(self, repeats: Floats, last: Floats, age: Floats) -> Floats:
        """Give the probability that customers are active at the end of their age.

        Args:
            repeats: purchases after the first.
            last: days from the first purchase to the last.
            age: days from the first purchase until now.
        """
        odds = np.exp((self.r + repeats) * np.log((self.alpha + age) / (self.alpha + last))
                      + np.log(self.a) - np.log(self.b + np.maximum(repeats, 1) - 1))
        active: Floats = np.where(repeats > 0, 1 / (1 + odds), 1.0)
        return active

    def expected_purchases(self, days: float, repeats: Floats, last: Floats, age: Floats) -> Floats:
        """Give the purchases to be expected in the next `days`, for customers as of `is_active`."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        # (10) of the paper has a - 1 in the divisor; at a = 1 both parts are 0, and a step aside gives the limit.
        a = a if abs(a - 1) > 1e-6 else 1 + 1e-6
        share = days / (alpha + age + days)
        hypergeometric = hyp2f1(r + repeats, b + repeats, a + b + repeats - 1, share)
        left = 1 - hypergeometric * ((alpha + age) / (alpha + age + days)) ** (r + repeats)
        expected: Floats = (a + b + repeats - 1) / (a - 1) * left * self.is_active(repeats, last, age)
        return np.maximum(expected, 0.0)


def fit_bg_nbd(repeats: Floats, last: Floats, age: Floats, counts: Floats) -> BgNbd | None:
    """Find the most likely parameters; None for too few customers, or where none ever came again.

    Args:
        counts: how many customers have these figures.
    """
    if counts.sum() < MIN_CUSTOMERS or not repeats.any():
        return None
    # The same shape in any unit of time; near 1 the steps of the search fit.
    scale = float(np.average(age, weights=counts)) or 1.0
    last, age = last / scale, age / scale

    def loss(logs: Floats) -> float:
        r, alpha, a, b = np.exp(logs)
        ways = (betaln(a, b + repeats) - betaln(a, b) + gammaln(r + repeats) - gammaln(r) + r * np.log(alpha))
        stayed = -(r + repeats) * np.log(alpha + age)
        left = np.where(repeats > 0, np.log(a) - np.log(b + np.maximum(repeats, 1) - 1)
                        - (r + repeats) * np.log(alpha + last), -np.inf)
        return float(-(counts * (ways + np.logaddexp(stayed, left))).sum() / counts.sum()
                     + _PENALTY / counts.sum() * (logs ** 2).sum())

    found = minimize(loss, np.log([0.5, 1.0, 0.5, 2.0]), method="L-BFGS-B", bounds=[(-_BOUND, _BOUND)] * 4)
    r, alpha, a, b = np.exp(found.x).tolist()
    return BgNbd(r, alpha * scale, a, b)


@dataclass(frozen=True)
class GammaGamma:
    """How much: p and q are shapes, v is the scale in money."""

    p: float
    q: float
    v: float

    def expected_amount(self, repeats: Floats, mean_amount: Floats) -> Floats:
        """Give the amount of a purchase to be expected of customers.

        Args:
            repeats: purchases that the mean is of.
            mean_amount: mean amount of these; what it is does not matter where there are none.
        """
        everyone = self.p * self.v / (self.q - 1)
        trust = self.p * repeats / (self.p * repeats + self.q - 1)
        return (1 - trust) * everyone + trust * np.where(repeats > 0, mean_amount, 0.0)


def fit_gamma_gamma(repeats: Floats, mean_amount: Floats) -> GammaGamma | None:
    """Find the most likely parameters from customers who came again and spent; None for too few of them."""
    is_usable = (repeats > 0) & (mean_amount > 0)
    repeats, amounts = repeats[is_usable], mean_amount[is_usable]
    if len(repeats) < MIN_CUSTOMERS:
        return None
    scale = float(amounts.mean())
    amounts = amounts / scale

    def loss(logs: Floats) -> float:
        p, q, v = np.exp(logs[0]), 1 + np.exp(logs[1]), np.exp(logs[2])  # a mean exists for q > 1 alone
        shape = p * repeats
        likelihood = (gammaln(shape + q) - gammaln(shape) - gammaln(q) + q * np.log(v) + (shape - 1) * np.log(amounts)
                      + shape * np.log(repeats) - (shape + q) * np.log(repeats * amounts + v))
        return float(-likelihood.mean() + _PENALTY / len(repeats) * (logs ** 2).sum())

    found = minimize(loss, np.log([1.0, 2.0, 1.0]), method="L-BFGS-B", bounds=[(-_BOUND, _BOUND)] * 3)
    p, q, v = np.exp(found.x).tolist()
    return GammaGamma(p, 1 + q, v * scale)
