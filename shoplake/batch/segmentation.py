"""Groups of alike customers by recency, frequency and money: K-means, with names that mean the same on every day."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

Floats = npt.NDArray[np.float64]
SEED = 20_240_229
# Fewer customers make no groups.
MIN_CUSTOMERS = 50
GROUP_COUNTS = (3, 4, 5, 6)
# Centres and silhouettes are found on so many customers at most, drawn by SEED; all are given to their nearest centre.
FIT_SAMPLE, SILHOUETTE_SAMPLE = 20_000, 2_000
# What a group is called: where its centre would be at its plainest, in standard deviations from the mean of all, by
# how long ago, how often and how much. Each centre takes the name that fits, each name once.
ARCHETYPES = {
    "champions": (-1.0, 1.5, 1.5),
    "loyal": (-0.5, 0.5, 0.5),
    "promising": (-1.0, -0.7, -0.5),
    "at_risk": (1.0, 0.5, 0.7),
    "hibernating": (0.5, -0.7, -0.7),
    "lost": (1.3, -1.0, -1.0),
}


@dataclass(frozen=True)
class Segments:
    """The groups of customers.

    Attributes:
        names: each customer's group, a name of ARCHETYPES.
        count: how many groups there are.
        silhouette: how well they stand apart, from -1 to 1 (Rousseeuw 1987); the highest of those of GROUP_COUNTS.
    """

    names: list[str]
    count: int
    silhouette: float


def find_segments(recency: Floats, frequency: Floats, money: Floats, seed: int = SEED) -> Segments | None:
    """Divide customers into the number of groups that stand apart best; None where there are too few of them.

    The same customers in the same order give the same groups.

    Args:
        recency: days since each one's last order.
        frequency: orders.
        money: net amount; below 0 counts as 0.
    """
    if len(recency) < MIN_CUSTOMERS:
        return None
    points = _standardize(np.column_stack([np.log1p(recency), np.log1p(frequency), np.log1p(np.maximum(money, 0))]))
    draw = np.random.default_rng(seed)
    fitted = _sample(points, FIT_SAMPLE, draw)
    counts = [count for count in GROUP_COUNTS if count < len(np.unique(fitted, axis=0))]
    if not counts:
        return None
    judged = _sample(fitted, SILHOUETTE_SAMPLE, draw)
    scored = [(_judge(model, judged), model)
              for model in (KMeans(count, n_init=10, random_state=seed).fit(fitted) for count in counts)]
    silhouette, best = max(scored, key=lambda one: one[0])
    names = _name_centers(best.cluster_centers_)
    # The order of customers moves the last digits, and nobody needs them.
    return Segments([names[label] for label in best.predict(points)], len(names), round(silhouette, 6))


def _standardize(points: Floats) -> Floats:
    spread = points.std(axis=0)
    standardized: Floats = (points - points.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return standardized


def _sample(points: Floats, count: int, draw: np.random.Generator) -> Floats:
    return points if len(points) <= count else points[np.sort(draw.choice(len(points), count, replace=False))]


def _judge(model: KMeans, points: Floats) -> float:
    labels = model.predict(points)
    return float(silhouette_score(points, labels)) if 1 < len(np.unique(labels)) < len(points) else -1.0


def _name_centers(centers: Floats) -> list[str]:
    """Give each centre a name: those whose distances from their archetypes have the least sum of squares."""
    archetypes = np.array(list(ARCHETYPES.values()))
    distances = ((centers[:, None, :] - archetypes[None, :, :]) ** 2).sum(axis=2)
    _, chosen = linear_sum_assignment(distances)
    return [list(ARCHETYPES)[place] for place in chosen]
