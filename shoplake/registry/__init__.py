"""The model registry: trainings kept as runs of MLflow, the gate, and the line of champions."""
