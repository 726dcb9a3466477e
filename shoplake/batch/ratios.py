"""Quotients as the gold tables hold them: exact decimals, rounded once, halves away from zero."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from shoplake.contract.tables import RATE

_WHOLE = "decimal(19,0)"


def divide(part: str | Column, whole: str | Column, to: str = RATE) -> Column:
    """Divide whole numbers or an amount by whole numbers; NULL where those are 0.

    Args:
        to: the decimal type of the result, whose digits it is rounded to.
    """
    digits = int(to.rstrip(")").split(",")[1])
    part, whole = (F.col(one) if isinstance(one, str) else one for one in (part, whole))
    return F.when(whole > 0, F.round(part.cast("decimal(28,4)") / whole.cast(_WHOLE), digits)).cast(to)
