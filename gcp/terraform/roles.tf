# Who sees what of BigQuery. configs/roles.yaml is rendered into roles.json (`make docs`); governance.role_members of the
# settings says who has which role. Nothing of this is made while nobody has one. The views, their right to the tables
# and the row policies are made by `python gcp/bigquery_client.py create`, after this. docs/adr/0028 says why so.

# Holds the salt of the masks' hashes: nobody is given a right here, and views of roles read it.
resource "google_bigquery_dataset" "private" {
  count = length(local.roles) == 0 ? 0 : 1

  dataset_id                 = "private"
  description                = "What views of roles are made with; nobody reads it"
  location                   = local.region
  delete_contents_on_destroy = true

  depends_on = [google_project_service.enabled]
}

# Views only, which create makes again: a role that nobody has any more loses them here.
resource "google_bigquery_dataset" "role" {
  for_each = local.role_datasets

  dataset_id                 = each.key
  description                = "The ${each.value.layer} layer as the role ${each.value.role} may see it"
  location                   = local.region
  delete_contents_on_destroy = true

  depends_on = [google_project_service.enabled]
}

resource "google_bigquery_dataset_iam_member" "role" {
  for_each = merge([
    for dataset, view in local.role_datasets : {
      for member in local.role_members[view.role] : "${dataset} ${member}" => { dataset = dataset, member = member }
    }
  ]...)

  dataset_id = google_bigquery_dataset.role[each.value.dataset].dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value.member

  depends_on = [google_service_account.work] # which may be members
}

# Who publishes a table writes on its views what day they are of.
resource "google_bigquery_dataset_iam_member" "publisher" {
  for_each = local.role_datasets

  dataset_id = google_bigquery_dataset.role[each.key].dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.work["airflow"].member
}

resource "google_bigquery_dataset_iam_member" "admin" {
  for_each = merge([
    for layer, dataset in local.datasets : {
      for member in lookup(local.role_members, "admin", []) : "${layer} ${member}" => { layer = layer, member = member }
    }
  ]...)

  dataset_id = google_bigquery_dataset.layer[each.value.layer].dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value.member
}

# A question is a job of the project.
resource "google_project_iam_member" "asks" {
  for_each = toset(flatten(values(local.role_members)))

  project = local.project_id
  role    = "roles/bigquery.jobUser"
  member  = each.value

  depends_on = [google_service_account.work]
}

resource "google_data_catalog_taxonomy" "roles" {
  count = length(local.roles) == 0 ? 0 : 1

  display_name           = "shoplake roles"
  description            = "Which roles' views are made of a column's values"
  region                 = local.region
  activated_policy_types = ["FINE_GRAINED_ACCESS_CONTROL"]

  depends_on = [google_project_service.enabled]
}

resource "google_data_catalog_policy_tag" "readers" {
  for_each = local.tags

  taxonomy     = google_data_catalog_taxonomy.roles[0].id
  display_name = each.key
  description  = "Read by the pipeline, admins and: ${each.key}"
}

resource "google_data_catalog_policy_tag_iam_member" "reads" {
  for_each = local.tag_readers

  policy_tag = google_data_catalog_policy_tag.readers[each.value.tag].name
  role       = "roles/datacatalog.categoryFineGrainedReader"
  member     = each.value.member

  depends_on = [google_service_account.work]
}

# NULL is the one of BigQuery's own masks that equals ours: its hash has no key, and its last four start at 5 characters.
resource "google_bigquery_datapolicy_data_policy" "nullify" {
  for_each = local.tags

  location         = local.region
  data_policy_id   = "nullify_${each.key}"
  policy_tag       = google_data_catalog_policy_tag.readers[each.key].name
  data_policy_type = "DATA_MASKING_POLICY"

  data_masking_policy {
    predefined_expression = "ALWAYS_NULL"
  }
}

resource "google_bigquery_datapolicy_data_policy_iam_member" "masked" {
  for_each = local.tag_masked

  location       = google_bigquery_datapolicy_data_policy.nullify[each.value.tag].location
  data_policy_id = google_bigquery_datapolicy_data_policy.nullify[each.value.tag].data_policy_id
  role           = "roles/bigquerydatapolicy.maskedReader"
  member         = each.value.member

  depends_on = [google_service_account.work]
}
