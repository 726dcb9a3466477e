"""Quality rules as data: no engine here, Spark and DuckDB both run the expressions."""
