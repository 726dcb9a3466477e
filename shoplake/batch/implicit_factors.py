"""Products alike by implicit feedback: factors of who looked at, put into the cart and ordered what.

Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets (ICDM 2008), by alternating least squares
of Spark ML. Two products are alike by the cosine of their factors.
"""

import numpy as np
import numpy.typing as npt
from pyspark.ml.feature import StringIndexer
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# What an event says of the interest, in looks.
WEIGHTS = {"product_viewed": 1.0, "add_to_cart": 3.0, "order_created": 5.0}
FACTORS, ROUNDS, CONFIDENCE, REGULARIZATION = 32, 10, 10.0, 0.1
SEED = 20_240_229
_BLOCK = 1024


def find_alike(events: DataFrame, ranks: int) -> dict[str, list[str]]:
    """Give the products most alike to each product, best first.

    The factors of all products are held on the driver: 32 numbers of each.

    Args:
        events: rows of silver.events.
    """
    weight = F.coalesce(*(F.when(F.col("event_type") == kind, F.lit(worth)) for kind, worth in WEIGHTS.items()))
    interest = events.withColumn("weight", weight).groupBy("user_id", "product_id").agg(F.sum("weight").alias("weight"))
    known = interest.filter("weight > 0")
    indexers = StringIndexer(inputCols=["user_id", "product_id"], outputCols=["user", "item"]).fit(known)
    numbered = indexers.transform(known).select(F.col("user").cast("int"), F.col("item").cast("int"), "weight")
    model = ALS(userCol="user", itemCol="item", ratingCol="weight", implicitPrefs=True, rank=FACTORS, maxIter=ROUNDS,
                alpha=CONFIDENCE, regParam=REGULARIZATION, seed=SEED).fit(numbered)
    factors = model.itemFactors.orderBy("id").toPandas()
    names = np.array(indexers.labelsArray[1])[factors["id"].to_numpy()]
    vectors = np.array(factors["features"].tolist(), np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return {name: names[nearest].tolist() for name, nearest in zip(names, _nearest(vectors, ranks), strict=True)}


def _nearest(vectors: npt.NDArray[np.float64], ranks: int) -> npt.NDArray[np.int64]:
    """Give the rows nearest to each row by the cosine, but itself."""
    found = []
    for start in range(0, len(vectors), _BLOCK):
        likeness = vectors[start:start + _BLOCK] @ vectors.T
        likeness[np.arange(len(likeness)), np.arange(start, start + len(likeness))] = -2
        found.append(np.argsort(-likeness, axis=1, kind="stable")[:, :ranks])
    return np.concatenate(found)
