"""Keys, and the log of who did what."""
