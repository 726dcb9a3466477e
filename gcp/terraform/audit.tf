# Who read and wrote what, people and programs alike. BigQuery writes such a log without being told; storage does not.
resource "google_project_iam_audit_config" "data_access" {
  for_each = toset([
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])

  project = local.project_id
  service = each.value

  dynamic "audit_log_config" {
    for_each = ["ADMIN_READ", "DATA_READ", "DATA_WRITE"]

    content {
      log_type = audit_log_config.value
    }
  }
}

# Data access logs go to this bucket of Cloud Logging, which keeps 30 days unless told otherwise.
resource "google_logging_project_bucket_config" "default" {
  project        = local.project_id
  location       = "global"
  bucket_id      = "_Default"
  retention_days = 400

  depends_on = [google_project_service.enabled]
}
