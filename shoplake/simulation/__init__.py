"""Simulated shoppers, the faults planted among their events, and the right answers."""

from shoplake.simulation.files import simulate_file
from shoplake.simulation.records import Kind, SimulatedRecord
from shoplake.simulation.streams import simulate_history, simulate_live
from shoplake.simulation.truth import Truth

__all__ = ["Kind", "SimulatedRecord", "Truth", "simulate_file", "simulate_history", "simulate_live"]
