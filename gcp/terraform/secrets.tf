resource "google_secret_manager_secret" "kafka" {
  secret_id = "shoplake-kafka"

  replication {
    user_managed {
      replicas {
        location = local.region
      }
    }
  }

  depends_on = [google_project_service.enabled]
}

# Write-only: the value is sent when the version number changes and stands in no plan and no state.
resource "google_secret_manager_secret_version" "kafka" {
  count = var.kafka_secret_version > 0 ? 1 : 0

  secret                 = google_secret_manager_secret.kafka.id
  secret_data_wo         = var.kafka_secret
  secret_data_wo_version = var.kafka_secret_version
}
