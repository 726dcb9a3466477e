"""What the dashboard and its reports show: pages as blocks, built from answers of the warehouse; no server, no browser."""
