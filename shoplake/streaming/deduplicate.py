"""Give each record its one place: silver, duplicate, quarantine, or that of an erased user."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from shoplake.quality.rules import CONFLICTING_DUPLICATE

SILVER, DUPLICATE, QUARANTINE, ERASED = "silver", "duplicate", "quarantine", "erased"
IDENTITY = ("event_date", "event_id")
_COORDINATES = ("origin", "partition", "offset")
_PLACE = ["partition", "offset"]  # of a record in its batch, which has one origin
_KEPT = [f"kept_{name}" for name in _COORDINATES]
# So many rows are sent to every task rather than sorted with the batch: some 20 MB.
_FEW = 100_000


def assign_verdicts(judged: DataFrame, silver: DataFrame) -> DataFrame:
    """Add `verdict` (again as `place`), the coordinates of the copy kept (`kept_…`), and the conflict to `reasons`.

    The first copy of an event wins: the one already in `silver`, else the batch's first by partition and offset. A
    row that is in silver under its own coordinates is itself, so a repeated batch reaches the same verdicts.

    Args:
        judged: one batch of one origin, from `seal`; read several times, so persist it.
        silver: silver.events, at least the batch's own event dates. It is read here and not later: the caller may
            write to it before the verdicts are used.
    """
    copies = _few(find_copies(judged, silver).localCheckpoint())
    is_conflict = F.col("_verdict") == QUARANTINE
    reasons = F.when(is_conflict, F.array(F.lit(CONFLICTING_DUPLICATE))).otherwise(F.col("reasons"))
    verdict = F.when(F.col("is_erased"), ERASED).when(F.size("reasons") > 0, QUARANTINE).otherwise(
        F.coalesce("_verdict", F.lit(SILVER)))
    return judged.join(copies, on=_PLACE, how="left").select(
        *(name for name in judged.columns if name != "reasons"), verdict.alias("verdict"), verdict.alias("place"),
        reasons.alias("reasons"),
        *_KEPT,
    )


def find_copies(judged: DataFrame, silver: DataFrame) -> DataFrame:
    """Find the valid rows that are a later copy of an event, each with what it is and where the first copy lies.

    Out: partition, offset, `_verdict` (duplicate, or quarantine where the contents differ), kept_origin,
    kept_partition, kept_offset.

    Most events come once, so the whole batch is only counted, by a hash of the identity; what has an equal hash
    somewhere is then looked at exactly.
    """
    valid = judged.filter((F.size("reasons") == 0) & ~F.col("is_erased")).select(
        *IDENTITY, *_COORDINATES, "content_hash", _key())
    stored = silver.select(*IDENTITY, *_COORDINATES, "content_hash", _key())
    keys = valid.select("_key").unionAll(stored.select("_key"))
    repeated = _few(keys.groupBy("_key").count().filter("count > 1").select("_key").localCheckpoint())
    kept_fields = [*(F.col(name).alias(kept) for name, kept in zip(_COORDINATES, _KEPT, strict=True)),
                   F.col("content_hash").alias("kept_hash")]
    first = F.first(F.struct(*kept_fields)).over(Window.partitionBy(*IDENTITY).orderBy(*_PLACE))
    in_batch = valid.join(repeated, "_key", "left_semi").withColumn("_first", first)
    in_silver = stored.join(repeated, "_key", "left_semi").select(*IDENTITY, F.struct(*kept_fields).alias("_silver"))
    kept = F.coalesce("_silver", "_first")
    is_equal = kept["kept_hash"] == F.col("content_hash")
    return in_batch.join(in_silver, on=list(IDENTITY), how="left").filter(~_is_at(kept)).select(
        *_PLACE, F.when(is_equal, DUPLICATE).otherwise(QUARANTINE).alias("_verdict"),
        *(kept[name].alias(name) for name in _KEPT),
    )


def _key() -> Column:
    return F.xxhash64(*IDENTITY).alias("_key")


def _few(rows: DataFrame) -> DataFrame:
    """Mark rows that are at hand as few, where they are: Spark does not know how many a checkpoint holds."""
    return F.broadcast(rows) if rows.count() <= _FEW else rows


def _is_at(kept: Column) -> Column:
    same = F.lit(True)
    for name in _COORDINATES:
        same = same & (kept[f"kept_{name}"] == F.col(name))
    return same
