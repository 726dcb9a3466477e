output "airflow_url" {
  description = "Airflow's web page."
  value       = google_composer_environment.airflow.config[0].airflow_uri
}

output "composer_bucket" {
  description = "Where gcp/deploy_composer.py puts DAGs, plugins and shells."
  value       = "gs://${google_storage_bucket.composer.name}"
}

output "lake_bucket" {
  description = "The lake, the landing folder and the code of the Spark batches."
  value       = "gs://${google_storage_bucket.lake.name}"
}

output "service_accounts" {
  description = "Who works as whom."
  value       = { for name, account in google_service_account.work : name => account.email }
}

output "kafka_bootstrap_servers" {
  description = "Kafka's address: SHOPLAKE_KAFKA__BOOTSTRAP_SERVERS for gcp/deploy_composer.py."
  value       = local.kafka_bootstrap_servers
  sensitive   = true
}

output "workload_identity_provider" {
  description = "For the GitHub environment's variable GCP_WORKLOAD_IDENTITY_PROVIDER."
  value       = one(google_iam_workload_identity_pool_provider.github[*].name)
}

output "deployer" {
  description = "For the GitHub environment's variable GCP_DEPLOYER."
  value       = google_service_account.deployer.email
}
