"""Demand forecasts: features, models, the comparison between them, and the artifacts they are kept in."""
