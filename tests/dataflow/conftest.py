"""A lake of the test's own, fed through the shells."""

from shells_on_lake import Shells, shells

__all__ = ["Shells", "shells"]
