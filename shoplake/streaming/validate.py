"""Judge candidate rows by the rules of `shoplake.quality`."""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from shoplake.quality.rules import JSON_VALID, NOT_LATE, Rule

BROKEN_RULES = "broken_rules"


def judge_events(candidates: DataFrame, rules: tuple[Rule, ...]) -> DataFrame:
    """Add `broken_rules` (the n-th bit is set where the n-th rule fails), `reasons` and `is_late`.

    `reasons` are the names of the broken rules that quarantine, in the rules' order. Each rule is asked once for a row,
    and names are only put together for the rows that break one.
    """
    bits = [F.when(_is_broken(rule), F.lit(1 << number)).otherwise(0) for number, rule in enumerate(rules)]
    judged = candidates.withColumn(BROKEN_RULES, reduce(Column.bitwiseOR, bits))
    quarantining = [rule for rule in rules if rule.on_failure == "quarantine"]
    names = F.array_compact(F.array(*(F.when(breaks(rule, rules), F.lit(rule.name)) for rule in quarantining)))
    nothing = F.array().cast("array<string>")
    (not_late,) = (rule for rule in rules if rule.name == NOT_LATE)
    return judged.select(
        "*", F.when(breaks_any(quarantining, rules), names).otherwise(nothing).alias("reasons"),
        breaks(not_late, rules).alias("is_late"),
    )


def breaks(rule: Rule, rules: tuple[Rule, ...]) -> Column:
    """Tell whether a judged row breaks the rule."""
    return breaks_any([rule], rules)


def breaks_any(some: list[Rule], rules: tuple[Rule, ...]) -> Column:
    """Tell whether a judged row breaks one of the rules `some`."""
    mask = sum(1 << rules.index(rule) for rule in some)
    return F.col(BROKEN_RULES).bitwiseAND(F.lit(mask)) != 0


def _is_broken(rule: Rule) -> Column:
    broken = ~F.expr(rule.expression)
    return broken if rule.name == JSON_VALID else F.col("is_json") & broken
