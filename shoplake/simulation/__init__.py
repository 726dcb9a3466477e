"""Simulated shoppers, the faults planted among their events, and the right answers."""

from shoplake.simulation.files import as_file_records, check_file_path, file_settings, write_records
from shoplake.simulation.records import Kind, SimulatedRecord
from shoplake.simulation.streams import simulate_history, simulate_live
from shoplake.simulation.truth import Truth

__all__ = [
    "Kind", "SimulatedRecord", "Truth", "as_file_records", "check_file_path", "file_settings", "simulate_history",
    "simulate_live", "write_records",
]
