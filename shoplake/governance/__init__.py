"""Keys, the log of who did what, and who sees what."""
