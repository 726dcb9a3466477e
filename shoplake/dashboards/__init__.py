"""What the dashboard and its reports show: pages made of blocks, from answers of the warehouse."""
