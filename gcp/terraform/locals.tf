# The names come from the same files that the platform reads, so neither can drift from the other.

locals {
  configs       = "${path.module}/../../configs"
  base_settings = yamldecode(file("${local.configs}/config.yaml"))
  settings      = yamldecode(file("${local.configs}/${var.environment}.yaml"))
  gcp           = merge(local.base_settings.gcp, local.settings.gcp)
  sources       = merge(local.base_settings.sources, lookup(local.settings, "sources", {}))
  kafka         = merge(local.base_settings.kafka, lookup(local.settings, "kafka", {}))

  project_id      = local.gcp.project_id
  region          = local.gcp.location
  lake_bucket     = local.gcp.bucket_name
  composer_bucket = "${local.project_id}-composer"
  keys_bucket     = "${local.project_id}-keys"
  staging_bucket  = "${local.project_id}-dataproc-staging"

  kafka_bootstrap_servers = coalesce(var.kafka_bootstrap_servers, local.kafka.bootstrap_servers)

  labels = {
    application = "shoplake"
    environment = var.environment
    managed_by  = "terraform"
  }

  # Written from shoplake/contract by `make docs`.
  contract = jsondecode(file("${path.module}/tables.json"))
  datasets = {
    for layer in distinct([for table in local.contract : table.layer]) :
    layer => layer == "gold" ? local.gcp.dataset_id : layer
  }
  tables = { for table in local.contract : "${table.layer}.${table.name}" => table }
}
