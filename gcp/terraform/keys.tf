# The users' data keys, and the master key with which they are encrypted (docs/security_model.md).

# Without versions and without a way back: a key that was destroyed must be gone.
resource "google_storage_bucket" "keys" {
  # checkov:skip=CKV_GCP_78:an older version would be a key that was destroyed
  name                        = local.keys_bucket
  location                    = local.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protect_data

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  depends_on = [google_project_service.enabled]
}

resource "google_storage_bucket_iam_member" "keys" {
  for_each = toset(local.key_readers)

  bucket = google_storage_bucket.keys.name
  role   = "roles/storage.objectUser"
  member = google_service_account.work[each.value].member
}

# Its version is added outside of Terraform: docs/cloud.md.
resource "google_secret_manager_secret" "governance" {
  secret_id = "shoplake-governance"

  replication {
    user_managed {
      replicas {
        location = local.region
      }
    }
  }

  depends_on = [google_project_service.enabled]
}

resource "google_secret_manager_secret_iam_member" "governance" {
  for_each = toset(local.key_readers)

  secret_id = google_secret_manager_secret.governance.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.work[each.value].member
}
