"""shoplake: the importable package behind the shells; see docs/architecture.md."""
