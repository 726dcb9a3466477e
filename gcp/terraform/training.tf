# Made once there is an image: gcp/build_images.py, then apply again with the file that it has written.
resource "google_cloud_run_v2_job" "training" {
  count = contains(keys(var.images), "ml") ? 1 : 0

  name                = "shoplake-training"
  location            = local.region
  deletion_protection = false

  template {
    task_count = 1

    template {
      service_account = google_service_account.work["ml"].email
      max_retries     = 1
      timeout         = "3600s"

      containers {
        image   = var.images["ml"]
        command = ["python", "ml/train.py"]
        args    = ["--profile", var.environment]

        resources {
          limits = {
            cpu    = "4"
            memory = "8Gi"
          }
        }

        volume_mounts {
          name       = "models"
          mount_path = "/mnt/models"
        }

        env {
          name  = "SHOPLAKE_ML__MODEL_DIR"
          value = "/mnt/models"
        }
      }

      # Models are files: their folder of the bucket is mounted, the only one that the account may write to.
      volumes {
        name = "models"

        gcs {
          bucket        = google_storage_bucket.lake.name
          read_only     = false
          mount_options = ["only-dir=models"]
        }
      }

      vpc_access {
        egress = "ALL_TRAFFIC"

        network_interfaces {
          network    = google_compute_network.main.name
          subnetwork = google_compute_subnetwork.main.name
        }
      }
    }
  }

  lifecycle {
    # Each release deploys its own: gcp/deploy_training.py.
    ignore_changes = [template[0].template[0].containers[0].image]
  }

  depends_on = [google_project_service.enabled]
}
