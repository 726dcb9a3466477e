resource "google_artifact_registry_repository" "images" {
  repository_id = "images"
  description   = "Images of Spark's driver and executors and of the training job, deployed by digest"
  format        = "DOCKER"
  location      = local.region

  cleanup_policies {
    id     = "keep-the-last-ten"
    action = "KEEP"

    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-after-ninety-days"
    action = "DELETE"

    condition {
      older_than = "7776000s"
    }
  }

  depends_on = [google_project_service.enabled]
}

resource "google_artifact_registry_repository" "python" {
  repository_id = "python"
  description   = "The shoplake wheel"
  format        = "PYTHON"
  location      = local.region

  depends_on = [google_project_service.enabled]
}

resource "google_artifact_registry_repository" "public_python" {
  repository_id = "python-public"
  description   = "A cache of the public Python package index"
  format        = "PYTHON"
  location      = local.region
  mode          = "REMOTE_REPOSITORY"

  remote_repository_config {
    python_repository {
      public_repository = "PYPI"
    }
  }

  depends_on = [google_project_service.enabled]
}

# What Composer installs from. Ours comes first: a package that a stranger publishes as "shoplake" is never taken.
resource "google_artifact_registry_repository" "all_python" {
  repository_id = "python-all"
  description   = "The shoplake wheel before the public index"
  format        = "PYTHON"
  location      = local.region
  mode          = "VIRTUAL_REPOSITORY"

  virtual_repository_config {
    upstream_policies {
      id         = "own"
      repository = google_artifact_registry_repository.python.id
      priority   = 100
    }

    upstream_policies {
      id         = "public"
      repository = google_artifact_registry_repository.public_python.id
      priority   = 10
    }
  }
}
