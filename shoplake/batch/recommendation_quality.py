"""How good recommendations are, by orders that came after the days that they were made of.

Each product of an order is asked about in turn; what should be recommended is the rest of the order.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

RANKS = 10


@dataclass(frozen=True)
class Quality:
    """Means over orders, of each the mean over its products.

    Attributes:
        recall: share of the rest of the order that stands among the RANKS recommended.
        ndcg: the same with more weight for what stands higher, against the best possible order (Järvelin 2002).
        coverage: share of the products that could be recommended which are at least once.
        order_count: orders that were asked about.
    """

    recall: float
    ndcg: float
    coverage: float
    order_count: int


def judge(
    recommended: Mapping[str, Sequence[str]], orders: Iterable[Set[str]], products: Set[str],
    default: Sequence[str] = (),
) -> Quality:
    """Judge recommendations by later orders.

    Args:
        recommended: the products recommended for a product, best first.
        orders: the distinct products of each later order; those of a single one are left out.
        products: all that could be recommended.
        default: what is recommended for a product without recommendations.
    """
    recalls, gains, shown = [], [], set[str]()
    for order in orders:
        if len(order) < 2:
            continue
        asked = [_ask(product, order, recommended.get(product, default)) for product in sorted(order)]
        recalls.append(math.fsum(recall for recall, _, _ in asked) / len(asked))
        gains.append(math.fsum(gain for _, gain, _ in asked) / len(asked))
        shown.update(*(offered for _, _, offered in asked))
    count = len(recalls)
    if not count:
        return Quality(0.0, 0.0, 0.0, 0)
    return Quality(math.fsum(recalls) / count, math.fsum(gains) / count, len(shown & products) / len(products), count)


def _ask(product: str, order: Set[str], recommended: Sequence[str]) -> tuple[float, float, list[str]]:
    offered = [one for one in recommended if one != product][:RANKS]
    wanted = len(order) - 1
    gain = math.fsum(1 / math.log2(place + 2) for place, one in enumerate(offered) if one in order)
    best = math.fsum(1 / math.log2(place + 2) for place in range(min(wanted, RANKS)))
    return sum(one in order for one in offered) / wanted, gain / best, offered
