# Serverless batches need nothing that stands: the API (services.tf), the subnet (network.tf), the account
# (identities.tf) and the staging bucket (storage.tf). Their executor maximum and ttl are settings, gcp.dataproc in
# configs/, which the DAG puts into each batch.

# The alternative for the endless stream: a cluster of its own, without a batch's limited life.
resource "google_dataproc_cluster" "stream" {
  count = var.stream_cluster_count

  name   = "shoplake-stream"
  region = local.region

  cluster_config {
    staging_bucket = google_storage_bucket.staging.name

    gce_cluster_config {
      subnetwork             = google_compute_subnetwork.main.id
      internal_ip_only       = true
      service_account        = google_service_account.work["spark"].email
      service_account_scopes = ["cloud-platform"]

      metadata = {
        shoplake-python-index = "${local.region}-python.pkg.dev/${local.project_id}/${google_artifact_registry_repository.all_python.repository_id}/simple/"
        shoplake-version      = basename(local.gcp.dataproc.code_uri)
      }

      shielded_instance_config {
        enable_secure_boot          = true
        enable_vtpm                 = true
        enable_integrity_monitoring = true
      }
    }

    master_config {
      num_instances = 1
      machine_type  = "n2-standard-4"

      disk_config {
        boot_disk_size_gb = 100
      }
    }

    worker_config {
      num_instances = var.stream_cluster_workers
      machine_type  = "n2-standard-4"

      disk_config {
        boot_disk_size_gb = 100
      }
    }

    software_config {
      image_version = "3.0-debian12"
    }

    # Uploaded by gcp/deploy_dataproc.py.
    initialization_action {
      script      = "${local.gcp.dataproc.code_uri}/install_packages.sh"
      timeout_sec = 600
    }
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.spark_pulls,
    google_project_iam_member.work,
  ]
}
