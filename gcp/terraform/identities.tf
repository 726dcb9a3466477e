# One service account for each kind of work, and what each may do. Roles are granted on a folder, a dataset, a secret, a
# repository or another account; on the project stand only those that Google offers nowhere else. docs/cloud.md shows
# the same as a table, and a test keeps the two equal.

resource "google_service_account" "work" {
  for_each = {
    airflow   = "Airflow: Composer's environment and the shells that its workers run"
    spark     = "Spark: driver and executors on Dataproc"
    ml        = "The training job"
    dashboard = "The dashboard: reads BigQuery"
  }

  account_id   = "shoplake-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.enabled]
}

locals {
  landing = local.sources.landing_dir

  project_roles = {
    airflow   = ["roles/bigquery.jobUser", "roles/composer.worker", "roles/dataproc.serverlessEditor"]
    spark     = ["roles/dataproc.worker"]
    ml        = ["roles/bigquery.jobUser", "roles/logging.logWriter"]
    dashboard = ["roles/bigquery.jobUser"]
  }

  folder_roles = {
    airflow = {
      "${local.landing}" = "roles/storage.objectUser"
      lake               = "roles/storage.objectUser"
      models             = "roles/storage.objectUser"
    }
    spark = {
      "${local.landing}" = "roles/storage.objectViewer"
      lake               = "roles/storage.objectUser"
      code               = "roles/storage.objectViewer"
    }
    ml = {
      lake   = "roles/storage.objectViewer"
      models = "roles/storage.objectUser"
    }
  }

  dataset_roles = {
    airflow   = { gold = "roles/bigquery.dataEditor", silver = "roles/bigquery.dataEditor", ops = "roles/bigquery.dataEditor" }
    ml        = { gold = "roles/bigquery.dataViewer" }
    dashboard = { gold = "roles/bigquery.dataViewer", silver = "roles/bigquery.dataViewer", ops = "roles/bigquery.dataViewer" }
  }

  # Airflow's producer and the check of the stream, and Spark, speak to Kafka.
  kafka_readers = ["airflow", "spark"]
  # Who takes records in, or takes a person out.
  key_readers = ["airflow", "spark"]
}

resource "google_project_iam_member" "work" {
  for_each = merge([
    for account, roles in local.project_roles : {
      for role in roles : "${account} ${role}" => { account = account, role = role }
    }
  ]...)

  project = local.project_id
  role    = each.value.role
  member  = google_service_account.work[each.value.account].member
}

resource "google_storage_managed_folder_iam_member" "work" {
  for_each = merge([
    for account, folders in local.folder_roles : {
      for folder, role in folders : "${account} ${folder}" => { account = account, folder = folder, role = role }
    }
  ]...)

  bucket         = google_storage_bucket.lake.name
  managed_folder = google_storage_managed_folder.lake[each.value.folder].name
  role           = each.value.role
  member         = google_service_account.work[each.value.account].member
}

# A dashboard that shows what a role sees (governance.role) is a member of that role: it reads its views, and no table.
resource "google_bigquery_dataset_iam_member" "work" {
  for_each = merge([
    for account, layers in local.dataset_roles : {
      for layer, role in layers : "${account} ${layer}" => { account = account, layer = layer, role = role }
      if account != "dashboard" || local.governance.role == "admin"
    }
  ]...)

  dataset_id = google_bigquery_dataset.layer[each.value.layer].dataset_id
  role       = each.value.role
  member     = google_service_account.work[each.value.account].member
}

resource "google_secret_manager_secret_iam_member" "kafka" {
  for_each = toset(local.kafka_readers)

  secret_id = google_secret_manager_secret.kafka.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.work[each.value].member
}

resource "google_pubsub_subscription_iam_member" "airflow_hears_of_files" {
  subscription = google_pubsub_subscription.landing.name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.work["airflow"].member
}

# Airflow starts batches that run as Spark.
resource "google_service_account_iam_member" "airflow_acts_as_spark" {
  service_account_id = google_service_account.work["spark"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.work["airflow"].member
}

resource "google_artifact_registry_repository_iam_member" "airflow_installs" {
  for_each = {
    all    = google_artifact_registry_repository.all_python.name
    own    = google_artifact_registry_repository.python.name
    public = google_artifact_registry_repository.public_python.name
  }

  location   = local.region
  repository = each.value
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.work["airflow"].member
}

# Dataproc pulls the batches' image as Spark; the stream's cluster installs the wheel as Spark too.
resource "google_artifact_registry_repository_iam_member" "spark_pulls" {
  for_each = {
    images = google_artifact_registry_repository.images.name
    python = google_artifact_registry_repository.all_python.name
  }

  location   = local.region
  repository = each.value
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.work["spark"].member
}

resource "google_cloud_run_v2_job_iam_member" "airflow_trains" {
  count = length(google_cloud_run_v2_job.training)

  name     = google_cloud_run_v2_job.training[0].name
  location = local.region
  role     = "roles/run.jobsExecutorWithOverrides"
  member   = google_service_account.work["airflow"].member
}
