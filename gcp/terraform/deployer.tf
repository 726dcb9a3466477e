# The account as which .github/workflows/deploy.yml acts: by workload identity, so there is no key that could leak. It
# deploys code into what stands here and can change none of it; `terraform apply` is a person's work.

resource "google_service_account" "deployer" {
  account_id   = "shoplake-deployer"
  display_name = "Deploys releases from the GitHub workflow"

  depends_on = [google_project_service.enabled]
}

resource "google_iam_workload_identity_pool" "github" {
  count = var.github_repository == "" ? 0 : 1

  workload_identity_pool_id = "github"
  display_name              = "GitHub Actions"

  depends_on = [google_project_service.enabled]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  # checkov:skip=CKV_GCP_125:it looks for assertion.sub alone; the condition holds its two parts, repository and environment
  count = var.github_repository == "" ? 0 : 1

  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "deploy"
  display_name                       = "The deploy workflow"

  attribute_mapping = {
    "google.subject"        = "assertion.sub"
    "attribute.repository"  = "assertion.repository"
    "attribute.environment" = "assertion.environment"
  }

  # Only jobs that wait for this environment's approval in GitHub.
  attribute_condition = "assertion.repository == '${var.github_repository}' && assertion.environment == '${var.environment}'"

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "github_acts_as_deployer" {
  count = var.github_repository == "" ? 0 : 1

  service_account_id = google_service_account.deployer.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/attribute.repository/${var.github_repository}"
}

# Packages, variables and pools of the Composer environment: Google offers this role on the project alone.
resource "google_project_iam_member" "deployer_updates_composer" {
  project = local.project_id
  role    = "roles/composer.admin"
  member  = google_service_account.deployer.member
}

resource "google_storage_bucket_iam_member" "deployer_writes_dags" {
  bucket = google_storage_bucket.composer.name
  role   = "roles/storage.objectUser"
  member = google_service_account.deployer.member
}

resource "google_storage_managed_folder_iam_member" "deployer_writes_code" {
  bucket         = google_storage_bucket.lake.name
  managed_folder = google_storage_managed_folder.lake["code"].name
  role           = "roles/storage.objectUser"
  member         = google_service_account.deployer.member
}

resource "google_artifact_registry_repository_iam_member" "deployer_publishes" {
  for_each = {
    images = google_artifact_registry_repository.images.name
    python = google_artifact_registry_repository.python.name
  }

  location   = local.region
  repository = each.value
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.deployer.member
}

resource "google_cloud_run_v2_job_iam_member" "deployer_updates_training" {
  count = length(google_cloud_run_v2_job.training)

  name     = google_cloud_run_v2_job.training[0].name
  location = local.region
  role     = "roles/run.developer"
  member   = google_service_account.deployer.member
}

# Whoever updates an environment or a job must be allowed to run as its account.
resource "google_service_account_iam_member" "deployer_acts_as" {
  for_each = toset(["airflow", "ml"])

  service_account_id = google_service_account.work[each.value].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deployer.member
}
