# No machine has a public address: Google's services are reached over Private Google Access, the package index through
# Artifact Registry, and Kafka over whatever peering the broker's network offers.

resource "google_compute_network" "main" {
  name                    = "shoplake"
  auto_create_subnetworks = false

  depends_on = [google_project_service.enabled]
}

resource "google_compute_subnetwork" "main" {
  name                     = "shoplake"
  network                  = google_compute_network.main.id
  region                   = local.region
  ip_cidr_range            = var.subnet_cidr
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "EXCLUDE_ALL_METADATA"
  }
}

# Spark's driver and executors talk to one another on any port; nothing from outside the subnet may.
resource "google_compute_firewall" "within_subnet" {
  name          = "shoplake-within-subnet"
  network       = google_compute_network.main.id
  direction     = "INGRESS"
  source_ranges = [var.subnet_cidr]

  allow {
    protocol = "tcp"
  }

  allow {
    protocol = "udp"
  }

  allow {
    protocol = "icmp"
  }
}
