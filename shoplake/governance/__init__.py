"""Who may do what with the data, and the record of what was done."""
