resource "google_storage_bucket" "lake" {
  name                        = local.lake_bucket
  location                    = local.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protect_data

  versioning {
    enabled = true
  }

  # A version that was overwritten or deleted can be brought back for a month.
  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }

  # Published partitions are read once, by BigQuery's load job; the truth is the lake.
  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      age            = 7
      matches_prefix = ["lake/gold_export/"]
    }
  }

  # What was taken in is kept under bronze/files too. What was rejected lies nowhere else: it waits for a person.
  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      age            = 90
      matches_prefix = ["${local.sources.landing_dir}/done/"]
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }

    condition {
      age = 7
    }
  }

  depends_on = [google_project_service.enabled]
}

# Each folder has its own readers and writers: identities.tf.
resource "google_storage_managed_folder" "lake" {
  for_each = toset(["code", "lake", "models", local.sources.landing_dir])

  bucket = google_storage_bucket.lake.name
  name   = "${each.value}/"
}

resource "google_storage_bucket" "composer" {
  name                        = local.composer_bucket
  location                    = local.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protect_data

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      age            = 90
      matches_prefix = ["logs/"]
    }
  }

  depends_on = [google_project_service.enabled]
}

# Composer reads it before it installs packages.
resource "google_storage_bucket_object" "pip_conf" {
  bucket  = google_storage_bucket.composer.name
  name    = "config/pip/pip.conf"
  content = <<-EOT
    [global]
    index-url = https://${local.region}-python.pkg.dev/${local.project_id}/${google_artifact_registry_repository.all_python.repository_id}/simple/
  EOT
}

resource "google_storage_bucket" "staging" {
  # checkov:skip=CKV_GCP_78:nothing here outlives two weeks, so there is no older version to bring back
  name                        = local.staging_bucket
  location                    = local.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      age = 14
    }
  }

  depends_on = [google_project_service.enabled]
}

# A new file in the landing folder -> Pub/Sub -> the DAG file_arrival.

resource "google_pubsub_topic" "landing" {
  name                       = "shoplake-landing"
  message_retention_duration = "604800s"

  depends_on = [google_project_service.enabled]
}

data "google_storage_project_service_account" "this" {
  depends_on = [google_project_service.enabled]
}

resource "google_pubsub_topic_iam_member" "bucket_publishes" {
  topic  = google_pubsub_topic.landing.id
  role   = "roles/pubsub.publisher"
  member = data.google_storage_project_service_account.this.member
}

resource "google_storage_notification" "landing" {
  bucket             = google_storage_bucket.lake.name
  topic              = google_pubsub_topic.landing.id
  payload_format     = "JSON_API_V1"
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = "${local.sources.landing_dir}/"

  depends_on = [google_pubsub_topic_iam_member.bucket_publishes]
}

resource "google_pubsub_subscription" "landing" {
  name                       = local.sources.landing_subscription
  topic                      = google_pubsub_topic.landing.id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  # A file that was moved aside is not a new one.
  filter = join(" AND ", [
    for folder in ["done", "rejected"] : "NOT hasPrefix(attributes.objectId, \"${local.sources.landing_dir}/${folder}/\")"
  ])

  expiration_policy {
    ttl = ""
  }
}
