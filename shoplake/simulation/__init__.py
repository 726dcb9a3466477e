"""Simulated shoppers, the faults planted among their events, and the right answers."""

from shoplake.simulation.demand import write_promotions
from shoplake.simulation.files import simulate_file
from shoplake.simulation.records import Kind, SimulatedRecord
from shoplake.simulation.shop import build_shop
from shoplake.simulation.streams import simulate_history, simulate_live
from shoplake.simulation.truth import Truth

__all__ = [
    "Kind", "SimulatedRecord", "Truth", "build_shop", "simulate_file", "simulate_history", "simulate_live",
    "write_promotions",
]
