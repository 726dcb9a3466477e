"""gold.customer_segments: the group that each customer belonged to at the end of a day."""

from datetime import date

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from shoplake.batch.segmentation import find_segments

_MEASURES = ("recency_days", "order_count", "net_amount")


def build_customer_segments(metrics: DataFrame, as_of: date) -> DataFrame:
    """Give one row for each row of gold.customer_metrics of `as_of`.

    The groups are found on the driver, which holds four columns of all customers with an order for it.
    """
    rows = metrics.filter(F.col("as_of_date") == F.lit(as_of)).select(
        "user_id", "recency_days", "order_count", F.col("net_amount").cast("double")).orderBy("user_id")
    customers = rows.toPandas()
    with_order = customers["recency_days"].notna().to_numpy()
    recency, orders, money = (customers.loc[with_order, name].to_numpy(float) for name in _MEASURES)
    found = find_segments(recency, orders, money)
    names = np.full(len(customers), None, dtype=object)
    if found:
        names[with_order] = found.names
    count, silhouette = (found.count, found.silhouette) if found else (None, None)
    return metrics.sparkSession.createDataFrame(pa.table({
        "as_of_date": pa.repeat(pa.scalar(as_of, pa.date32()), len(names)),
        "user_id": pa.array(customers["user_id"], pa.string()), "segment": pa.array(names, pa.string()),
        "segment_count": pa.repeat(pa.scalar(count, pa.int32()), len(names)),
        "silhouette": pa.repeat(pa.scalar(silhouette, pa.float64()), len(names))}))
