# The names come from the same files that the platform reads, so neither can drift from the other.

locals {
  configs       = "${path.module}/../../configs"
  base_settings = yamldecode(file("${local.configs}/config.yaml"))
  settings      = yamldecode(file("${local.configs}/${var.environment}.yaml"))
  gcp           = merge(local.base_settings.gcp, local.settings.gcp)
  sources       = merge(local.base_settings.sources, lookup(local.settings, "sources", {}))
  kafka         = merge(local.base_settings.kafka, lookup(local.settings, "kafka", {}))
  governance    = merge(local.base_settings.governance, lookup(local.settings, "governance", {}))

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

  # Who sees what: written from configs/roles.yaml by `make docs`; used in roles.tf.
  policy = jsondecode(file("${path.module}/roles.json"))

  # Only roles that somebody has. An admin reads the tables.
  role_members = { for role, members in local.governance.role_members : role => members if length(members) > 0 }
  roles        = [for role in local.policy.roles : role if contains(keys(local.role_members), role)]
  role_datasets = merge([
    for role in local.roles : {
      for layer, dataset in local.datasets : "${dataset}_${role}" => { role = role, layer = layer }
    }
  ]...)

  # A tag stands for the roles whose views are made of a column's values: "analyst_marketing" or "nobody".
  tags = { for tag, roles in local.policy.tags : tag => roles if length(local.roles) > 0 }
  tagged_columns = merge([
    for table, columns in local.policy.columns : {
      for column, tag in columns : "${table}.${column}" => tag if length(local.roles) > 0
    }
  ]...)

  # Google asks for the rights of who queries a view; so whose view hashes a column must be a reader of it.
  # Accounts by their names, which are known before they are made.
  pipeline_accounts = [
    for account in ["airflow", "dashboard", "ml"] : "serviceAccount:shoplake-${account}@${local.project_id}.iam.gserviceaccount.com"
  ]
  tag_readers = merge([
    for tag, roles in local.tags : {
      for member in distinct(concat(local.pipeline_accounts, flatten([
        for role in concat(["admin"], roles) : lookup(local.role_members, role, [])
      ]))) :
      "${tag} ${member}" => { tag = tag, member = member }
    }
  ]...)
  tag_masked = merge([
    for tag, roles in local.tags : {
      for member in distinct(flatten([for role in setsubtract(local.roles, roles) : local.role_members[role]])) :
      "${tag} ${member}" => { tag = tag, member = member }
    }
  ]...)
}
