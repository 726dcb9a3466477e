resource "google_composer_environment" "airflow" {
  name   = "shoplake"
  region = local.region

  storage_config {
    bucket = google_storage_bucket.composer.name
  }

  config {
    environment_size           = "ENVIRONMENT_SIZE_${var.composer_size}"
    enable_private_environment = true
    enable_private_builds_only = true

    node_config {
      network         = google_compute_network.main.id
      subnetwork      = google_compute_subnetwork.main.id
      service_account = google_service_account.work["airflow"].email
    }

    software_config {
      image_version = var.composer_image_version
    }

    workloads_config {
      scheduler {
        cpu        = 1
        memory_gb  = 2
        storage_gb = 1
        count      = 1
      }

      dag_processor {
        cpu        = 1
        memory_gb  = 2
        storage_gb = 1
        count      = 1
      }

      triggerer {
        cpu       = 0.5
        memory_gb = 1
        count     = 1
      }

      web_server {
        cpu        = 1
        memory_gb  = 2
        storage_gb = 1
      }

      worker {
        cpu        = 2
        memory_gb  = 8
        storage_gb = 10
        min_count  = 1
        max_count  = var.composer_max_workers
      }
    }
  }

  lifecycle {
    # Both come with each release: gcp/deploy_composer.py.
    ignore_changes = [
      config[0].software_config[0].env_variables,
      config[0].software_config[0].pypi_packages,
    ]
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.airflow_installs,
    google_project_iam_member.work,
    google_storage_bucket_object.pip_conf,
  ]
}
