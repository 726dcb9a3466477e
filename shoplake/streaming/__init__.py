"""From raw records to silver: parse, validate, deduplicate, windows; DataFrame to DataFrame."""
