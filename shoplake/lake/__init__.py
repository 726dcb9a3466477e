"""The lake: addresses, Delta reads and writes, locks."""
