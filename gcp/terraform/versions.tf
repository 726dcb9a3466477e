terraform {
  # Write-only arguments and ephemeral variables, which keep secrets out of the state, came with 1.11.
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "8.6.0"
    }
  }

  # Bucket and prefix: environments/<environment>.gcs.tfbackend.
  backend "gcs" {}
}

provider "google" {
  project = local.project_id
  region  = local.region

  default_labels = local.labels
}
