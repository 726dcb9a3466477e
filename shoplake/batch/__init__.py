"""The gold tables, one module each: silver in, a table's rows out."""
