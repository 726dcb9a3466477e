"""Give each record its one place: silver, duplicate or quarantine."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from shoplake.quality.rules import CONFLICTING_DUPLICATE

SILVER, DUPLICATE, QUARANTINE = "silver", "duplicate", "quarantine"
IDENTITY = ("event_date", "event_id")
_COORDINATES = ("origin", "partition", "offset")


def assign_verdicts(judged: DataFrame, silver: DataFrame) -> DataFrame:
    """Add `verdict`, the coordinates of the copy kept (`kept_…`), and the conflict to `reasons`.

    The first copy of an event wins: the one already in `silver`, else the batch's first by partition and offset. A
    row that is in silver under its own coordinates is itself, so a repeated batch reaches the same verdicts.

    Args:
        judged: one batch, from `judge_events`.
        silver: silver.events, at least the batch's own event dates.
    """
    kept_fields = [*(F.col(name).alias(f"kept_{name}") for name in _COORDINATES),
                   F.col("content_hash").alias("kept_hash")]
    is_valid = F.size("reasons") == 0
    first = Window.partitionBy(*IDENTITY, is_valid).orderBy("partition", "offset")
    in_batch = judged.withColumn("_first", F.first(F.struct(*kept_fields)).over(first))
    in_silver = silver.select(*IDENTITY, F.struct(*kept_fields).alias("_silver"))
    joined = in_batch.join(in_silver, on=list(IDENTITY), how="left")
    kept = F.coalesce("_silver", "_first")
    is_kept = _same_place(kept)
    is_copy = kept["kept_hash"] == F.col("content_hash")
    verdict = F.when(~is_valid, QUARANTINE).when(is_kept, SILVER).when(is_copy, DUPLICATE).otherwise(QUARANTINE)
    reasons = F.when(is_valid & ~is_kept & ~is_copy, F.array(F.lit(CONFLICTING_DUPLICATE))).otherwise(F.col("reasons"))
    return joined.select(
        *(name for name in judged.columns if name != "reasons"),
        verdict.alias("verdict"), reasons.alias("reasons"),
        *(F.when(is_valid & ~is_kept, kept[f"kept_{name}"]).alias(f"kept_{name}") for name in _COORDINATES),
    )


def _same_place(kept: Column) -> Column:
    same = F.lit(True)
    for name in _COORDINATES:
        same = same & (kept[f"kept_{name}"] == F.col(name))
    return same
