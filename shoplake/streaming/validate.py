"""Judge candidate rows by the rules of `shoplake.quality`."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shoplake.quality.rules import JSON_VALID, NOT_LATE, Rule


def judge_events(candidates: DataFrame, rules: tuple[Rule, ...]) -> DataFrame:
    """Add `failed_rules` (all names, in the rules' order), `reasons` (those that quarantine) and `is_late`."""
    names = {on: [rule.name for rule in rules if rule.on_failure == on] for on in ("quarantine", "mark")}
    judged = candidates.withColumn("failed_rules", F.array_compact(F.array(*(_failure(rule) for rule in rules))))
    return judged.select(
        "*",
        F.array_intersect("failed_rules", F.array(*map(F.lit, names["quarantine"]))).alias("reasons"),
        F.array_contains("failed_rules", NOT_LATE).alias("is_late"),
    )


def _failure(rule: Rule) -> Column:
    broken = ~F.expr(rule.expression)
    if rule.name != JSON_VALID:
        broken = F.col("is_json") & broken
    return F.when(broken, F.lit(rule.name))
