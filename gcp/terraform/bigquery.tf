# Every dataset and table is rendered from the contract into tables.json: change shoplake/contract, then `make docs`.

resource "google_bigquery_dataset" "layer" {
  for_each = local.datasets

  dataset_id                 = each.value
  description                = "The ${each.key} layer of shoplake, published from the lake"
  location                   = local.region
  delete_contents_on_destroy = !var.protect_data
  max_time_travel_hours      = 168

  depends_on = [google_project_service.enabled]
}

resource "google_bigquery_table" "served" {
  for_each = local.tables

  dataset_id  = google_bigquery_dataset.layer[each.value.layer].dataset_id
  table_id    = each.value.name
  description = each.value.description
  schema = jsonencode([
    for field in each.value.schema : merge(field, {
      for key in ["policyTags"] :
      key => { names = [google_data_catalog_policy_tag.readers[local.tagged_columns["${each.key}.${field.name}"]].name] }
      if contains(keys(local.tagged_columns), "${each.key}.${field.name}")
    })
  ])
  clustering               = each.value.clustering
  require_partition_filter = each.value.requires_partition_filter
  deletion_protection      = var.protect_data

  labels = {
    layer = each.value.layer
  }

  dynamic "time_partitioning" {
    for_each = each.value.partition_by == null ? [] : [each.value.partition_by]

    content {
      type  = "DAY"
      field = time_partitioning.value
    }
  }
}
