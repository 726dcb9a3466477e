"""gcp/terraform without Google: what it names exists, what it grants is little, and its names are the settings'."""

import json
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hcl2
import pytest
import sqlglot
from sqlglot import exp

from shoplake import deployment
from shoplake.contract.render import bigquery_ddl
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.warehouse.plan import plan_terraform, published_tables
from shoplake.warehouse.role_plan import PIPELINE_ACCOUNTS, plan_terraform_roles

FOLDER = PROJECT_ROOT / "gcp" / "terraform"
FILES = sorted(FOLDER.glob("*.tf"))
ENVIRONMENTS = ("dev", "staging", "prod")
TABLES_FILE = json.loads((FOLDER / "tables.json").read_text())
# Google offers these on a project alone; docs/cloud.md says why each is needed.
ON_THE_PROJECT = {
    "roles/bigquery.jobUser", "roles/composer.admin", "roles/composer.worker", "roles/dataproc.serverlessEditor",
    "roles/dataproc.worker", "roles/logging.logWriter",
}
needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")


def plain(value: Any) -> Any:
    """Take the quotes off the names and strings as the parser gives them, and its marks out."""
    if isinstance(value, str):
        return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {plain(key): plain(one) for key, one in value.items() if not key.startswith("__")}
    return value


def blocks(kind: str) -> list[tuple[str, Any]]:
    """Give every block of the kind with its labels, joined by dots."""
    found = []
    for file in FILES:
        for block in plain(hcl2.loads(file.read_text())).get(kind, []):
            if kind in ("resource", "data"):
                found += [(f"{type_}.{name}", body) for type_, named in block.items() for name, body in named.items()]
            else:
                found += list(block.items())
    return found


def without_comments(text: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)


SOURCE = "\n".join(without_comments(file.read_text()) for file in FILES)
# Resources and data sources have references of their own names; strings hold roles and words, which match nothing.
REFERENCES = {
    "var": set(re.findall(r"\bvar\.(\w+)", SOURCE)),
    "local": set(re.findall(r"\blocal\.(\w+)", SOURCE)),
    "data": set(re.findall(r"\bdata\.(\w+\.\w+)", SOURCE)),
    "resource": set(re.findall(r"(?<![\w.])(google_\w+\.\w+)", SOURCE)),
}
VARIABLES = dict(blocks("variable"))
LOCALS = dict(blocks("locals"))
RESOURCES = dict(blocks("resource"))


def test_the_files_were_read() -> None:
    assert len(RESOURCES) > 30
    assert "google_composer_environment.airflow" in RESOURCES


def test_every_reference_leads_somewhere_and_nothing_is_declared_in_vain() -> None:
    assert REFERENCES["var"] == set(VARIABLES)
    assert REFERENCES["local"] == set(LOCALS)
    assert REFERENCES["data"] == set(dict(blocks("data")))
    assert REFERENCES["resource"] - set(RESOURCES) == set()


def test_every_variable_says_its_type_and_what_it_is() -> None:
    assert [name for name, body in VARIABLES.items() if not (body.get("type") and body.get("description"))] == []
    assert [name for name, body in blocks("output") if not body.get("description")] == []


def test_versions_are_exact_and_the_lock_of_terraform_new_enough_for_secrets_outside_the_state() -> None:
    ((_, settings),) = [("terraform", body) for file in FILES for body in plain(hcl2.loads(file.read_text())).get(
        "terraform", [])]
    (providers,) = settings["required_providers"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", providers["google"]["version"])
    assert settings["required_version"].startswith(">= 1.11")


def test_no_role_is_broader_than_its_work() -> None:
    roles = set(re.findall(r"roles/[\w.]+", SOURCE))
    broad = {"roles/owner", "roles/editor", "roles/viewer", "roles/storage.admin", "roles/bigquery.admin"}
    assert roles & broad == set()
    on_projects = {role for roles in LOCALS["project_roles"].values() for role in roles} | {
        body["role"] for name, body in RESOURCES.items() if name.startswith("google_project_iam_member")
        and body["role"].startswith("roles/")}
    assert on_projects == ON_THE_PROJECT
    assert not re.search(r"google_project_iam_(binding|policy)|google_service_account_key", SOURCE)


@pytest.mark.parametrize("word", ["allUsers", "allAuthenticatedUsers", "0.0.0.0/0", "::/0", "private_key"])
def test_nothing_is_open_to_everyone(word: str) -> None:
    assert word not in SOURCE


def test_buckets_are_closed_and_machines_have_no_public_address() -> None:
    buckets = [body for name, body in RESOURCES.items() if name.startswith("google_storage_bucket.")]
    assert len(buckets) == 4
    assert all(body["uniform_bucket_level_access"] is True for body in buckets)
    assert all(body["public_access_prevention"] == "enforced" for body in buckets)
    (cluster,) = RESOURCES["google_dataproc_cluster.stream"]["cluster_config"]
    assert cluster["gce_cluster_config"][0]["internal_ip_only"] is True
    assert RESOURCES["google_composer_environment.airflow"]["config"][0]["enable_private_environment"] is True


def test_a_key_that_was_destroyed_does_not_come_back() -> None:
    bucket = RESOURCES["google_storage_bucket.keys"]
    assert bucket["soft_delete_policy"] == [{"retention_duration_seconds": 0}]
    assert "versioning" not in bucket


def test_no_rule_deletes_what_lies_nowhere_else() -> None:
    rules = dict(blocks("resource"))["google_storage_bucket.lake"]["lifecycle_rule"]
    prefixes = [prefix for rule in rules for condition in rule["condition"]
                for prefix in condition.get("matches_prefix", [])]
    assert sorted(prefixes) == ["${local.sources.landing_dir}/done/", "lake/gold_export/"]


def test_google_keeps_who_read_and_wrote_the_lake_for_longer_than_a_year() -> None:
    audited = RESOURCES["google_project_iam_audit_config.data_access"]
    assert "storage.googleapis.com" in str(audited["for_each"])
    assert audited["dynamic"][0]["audit_log_config"]["for_each"] == ["ADMIN_READ", "DATA_READ", "DATA_WRITE"]
    assert RESOURCES["google_logging_project_bucket_config.default"]["retention_days"] > 366


def test_a_secret_reaches_neither_a_file_nor_the_state() -> None:
    secret = VARIABLES["kafka_secret"]
    assert (secret["sensitive"], secret["ephemeral"], secret["default"]) == (True, True, None)
    assert "secret_data_wo" in RESOURCES["google_secret_manager_secret_version.kafka"]
    assert not re.search(r"\bsecret_data\s*=", SOURCE)
    for file in (FOLDER / "environments").iterdir():
        assert not re.search(r"secret|password|token|key", file.read_text(), re.IGNORECASE), file.name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_overlay_sets_declared_variables_of_its_own_environment(environment: str) -> None:
    overlay = plain(hcl2.loads((FOLDER / "environments" / f"{environment}.tfvars").read_text()))
    assert set(overlay) <= set(VARIABLES)
    assert overlay["environment"] == environment
    backend = plain(hcl2.loads((FOLDER / "environments" / f"{environment}.gcs.tfbackend").read_text()))
    assert backend["bucket"] == f"{load_settings(environment).gcp.project_id}-terraform"


def test_only_the_experiment_may_be_deleted() -> None:
    overlays = {environment: plain(hcl2.loads((FOLDER / "environments" / f"{environment}.tfvars").read_text()))
                for environment in ENVIRONMENTS}
    assert VARIABLES["protect_data"]["default"] is True
    assert [name for name, overlay in overlays.items() if not overlay.get("protect_data", True)] == ["dev"]
    assert len({overlay["subnet_cidr"] for overlay in overlays.values()}) == len(ENVIRONMENTS)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_settings_name_what_terraform_makes(environment: str) -> None:
    settings = load_settings(environment)
    gcp, bucket = settings.gcp, f"gs://{settings.gcp.bucket_name}"
    assert settings.lake_root == f"{bucket}/lake"
    assert LOCALS["keys_bucket"] == "${local.project_id}-keys"
    assert settings.governance.data_keys == f"gs://{gcp.project_id}-keys/data_keys"
    assert settings.governance.key_secret == RESOURCES["google_secret_manager_secret.governance"]["secret_id"]
    assert gcp.dataproc.code_uri == f"{bucket}/code/{version('shoplake')}"
    assert gcp.dataproc.service_account == f"shoplake-spark@{gcp.project_id}.iam.gserviceaccount.com"
    subnet = RESOURCES["google_compute_subnetwork.main"]["name"]
    assert gcp.dataproc.subnetwork == f"projects/{gcp.project_id}/regions/{gcp.location}/subnetworks/{subnet}"
    assert deployment.composer_bucket(gcp) == f"gs://{gcp.project_id}-composer"
    assert LOCALS["composer_bucket"] == "${local.project_id}-composer"
    assert RESOURCES["google_service_account.work"]["account_id"] == "shoplake-${each.key}"


def test_the_scripts_name_what_terraform_makes() -> None:
    assert RESOURCES["google_composer_environment.airflow"]["name"] == deployment.COMPOSER_ENVIRONMENT
    assert RESOURCES["google_cloud_run_v2_job.training"]["name"] == deployment.TRAINING_JOB
    repositories = {body["repository_id"] for name, body in RESOURCES.items()
                    if name.startswith("google_artifact_registry_repository.")}
    assert {deployment.IMAGE_REPOSITORY, deployment.PYTHON_REPOSITORY} <= repositories


def test_composer_runs_the_image_that_the_dags_are_written_for() -> None:
    plugin = (PROJECT_ROOT / "airflow" / "plugins" / "shoplake_steps.py").read_text()
    assert VARIABLES["composer_image_version"]["default"] in plugin


def test_the_tables_are_the_contracts() -> None:
    assert (FOLDER / "tables.json").read_text() == plan_terraform(), "run make docs"


def test_the_roles_are_the_policys() -> None:
    assert (FOLDER / "roles.json").read_text() == plan_terraform_roles(), "run make docs"


def test_row_policies_and_tags_know_every_account_that_reads_tables() -> None:
    assert set(PIPELINE_ACCOUNTS) == set(LOCALS["dataset_roles"])
    assert set(re.findall(r'"(\w+)"', str(LOCALS["pipeline_accounts"]).split(":")[0])) == set(PIPELINE_ACCOUNTS)


def test_no_account_is_given_the_private_dataset() -> None:
    granting = [str(body) for name, body in RESOURCES.items() if "_iam_" in name]
    assert granting
    assert not any("google_bigquery_dataset.private" in body for body in granting)


@pytest.mark.parametrize("entry", TABLES_FILE, ids=lambda entry: f"{entry['layer']}.{entry['name']}")
def test_a_table_for_terraform_is_the_one_of_the_ddl(entry: dict[str, Any]) -> None:
    table = next(table for table in published_tables() if table.name == f"{entry['layer']}.{entry['name']}")
    parsed = sqlglot.parse_one(bigquery_ddl(table, table.layer), dialect="bigquery")
    of_the_ddl = [
        (column.name, column.args["kind"].sql("bigquery").replace("`", ""),
         bool(column.find(exp.NotNullColumnConstraint))) for column in parsed.this.expressions]
    assert [(field["name"], sql_type(field), field["mode"] == "REQUIRED") for field in entry["schema"]] == of_the_ddl
    assert all(field["description"] for field in entry["schema"])
    assert (entry["partition_by"] or "") in bigquery_ddl(table, table.layer)
    assert tuple(entry["clustering"]) == table.cluster_by
    assert entry["requires_partition_filter"] == ("require_partition_filter=TRUE" in bigquery_ddl(table, table.layer))
    assert RESOURCES["google_bigquery_table.served"]["require_partition_filter"] == (
        "${each.value.requires_partition_filter}")


def sql_type(field: dict[str, Any]) -> str:
    """Write a field of the JSON schema as GoogleSQL's type."""
    names = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
    type_ = names.get(field["type"], field["type"])
    if type_ == "RECORD":
        type_ = f"STRUCT<{', '.join(part['name'] + ' ' + sql_type(part) for part in field['fields'])}>"
    if "precision" in field:
        type_ = f"{type_}({field['precision']}, {field['scale']})"
    return f"ARRAY<{type_}>" if field["mode"] == "REPEATED" else type_


@needs_terraform
def test_the_files_are_formatted() -> None:
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", str(FOLDER)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def names_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a root module of the variables and names alone: it needs no provider, so terraform runs it offline."""
    root = tmp_path_factory.mktemp("checkout")
    folder = root / "gcp" / "terraform"
    folder.mkdir(parents=True)
    shutil.copytree(PROJECT_ROOT / "configs", root / "configs")
    for name in ("variables.tf", "locals.tf", "tables.json", "roles.json"):
        shutil.copy(FOLDER / name, folder)
    (folder / "outputs.tf").write_text("""
output "names" {
  value = {
    project = local.project_id, region = local.region, lake = local.lake_bucket, composer = local.composer_bucket
    datasets = local.datasets, tables = keys(local.tables), subscription = local.sources.landing_subscription
    staging = local.staging_bucket, labels = local.labels
    role_datasets = local.role_datasets, tags = local.tags, tagged_columns = local.tagged_columns
    tag_readers = values(local.tag_readers), tag_masked = values(local.tag_masked)
  }
}
output "kafka" {
  value     = local.kafka_bootstrap_servers
  sensitive = true
}
""")
    done = subprocess.run(["terraform", "init", "-input=false"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def apply(folder: Path, environment: str, *variables: str) -> tuple[str, dict[str, Any]]:
    """Apply with an overlay and give the errors, or the outputs."""
    done = subprocess.run(
        ["terraform", "apply", "-auto-approve", "-input=false", "-no-color", f"-state={environment}.tfstate",
         f"-var-file={FOLDER / 'environments' / environment}.tfvars", *(f"-var={one}" for one in variables)],
        cwd=folder, capture_output=True, text=True)
    if done.returncode:
        return done.stderr, {}
    shown = subprocess.run(["terraform", "output", "-json", f"-state={environment}.tfstate"], cwd=folder,
                           capture_output=True, text=True, check=True)
    return "", {name: one["value"] for name, one in json.loads(shown.stdout).items()}


@needs_terraform
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_terraform_reads_the_names_from_the_settings(names_only: Path, environment: str) -> None:
    settings = load_settings(environment)
    errors, outputs = apply(names_only, environment)
    assert errors == ""
    names = outputs["names"]
    assert names["project"] == settings.gcp.project_id
    assert names["region"] == settings.gcp.location
    assert names["lake"] == settings.gcp.bucket_name
    assert names["subscription"] == settings.sources.landing_subscription != ""
    assert names["datasets"] == {"gold": settings.gcp.dataset_id, "silver": "silver", "ops": "ops"}
    assert names["tables"] == sorted(table.name for table in published_tables())
    assert names["labels"]["environment"] == environment
    assert outputs["kafka"] == settings.kafka.bootstrap_servers


@needs_terraform
def test_who_has_no_role_makes_no_rule(names_only: Path) -> None:
    _, outputs = apply(names_only, "staging")
    names = outputs["names"]
    assert [names[name] for name in ("role_datasets", "tags", "tagged_columns", "tag_readers", "tag_masked")] == [
        {}, {}, {}, [], []]


@needs_terraform
def test_members_of_roles_read_what_their_views_are_made_of_and_get_null_for_the_rest(
    names_only: Path, tmp_path: Path,
) -> None:
    root = tmp_path / "checkout"
    shutil.copytree(names_only.parents[1], root)
    members = {"analyst": ["group:a@x.example"], "viewer": ["group:v@x.example", "domain:x.example"],
               "admin": ["user:boss@x.example"], "marketing": []}
    profile = root / "configs" / "dev.yaml"
    profile.write_text(profile.read_text() + f"\ngovernance:\n  role_members: {json.dumps(members)}\n")
    errors, outputs = apply(root / "gcp" / "terraform", "dev")
    assert errors == ""
    names = outputs["names"]
    assert set(names["role_datasets"]) == {f"{layer}_{role}" for layer in ("gold", "silver", "ops")
                                           for role in ("analyst", "viewer")}
    held = json.loads((FOLDER / "roles.json").read_text())
    assert names["tagged_columns"] == {
        f"{table}.{column}": tag for table, columns in held["columns"].items() for column, tag in columns.items()}
    whole = {f"serviceAccount:shoplake-{work}@shoplake-dev.iam.gserviceaccount.com" for work in PIPELINE_ACCOUNTS}
    for tag, roles in held["tags"].items():
        readers = {one["member"] for one in names["tag_readers"] if one["tag"] == tag}
        assert readers == whole | {"user:boss@x.example"} | {member for role in roles for member in members[role]}
        masked = {one["member"] for one in names["tag_masked"] if one["tag"] == tag}
        assert masked == {member for role in ("analyst", "viewer") if role not in roles for member in members[role]}


@needs_terraform
def test_kafkas_address_may_be_given_and_is_not_shown(names_only: Path) -> None:
    _, outputs = apply(names_only, "dev", "kafka_bootstrap_servers=broker.example:9093")
    assert outputs["kafka"] == "broker.example:9093"


@needs_terraform
@pytest.mark.parametrize("variable", [
    "environment=local", "subnet_cidr=8.8.8.0/24", "subnet_cidr=10.0.0.0",
    "composer_image_version=composer-3-airflow-3", "composer_image_version=composer-2.9.0-airflow-2.9.3",
    "composer_size=HUGE", "composer_max_workers=0",
    "stream_cluster_count=2", "stream_cluster_workers=1",
    'images={"ml":"host/ml:latest"}', "kafka_secret_version=1.5",
    "billing_account=mine", "budget_amount=0", "github_repository=https://host/a/b",
])
def test_a_wrong_value_is_refused_before_anything_is_made(names_only: Path, variable: str) -> None:
    errors, _ = apply(names_only, "dev", variable)
    assert "Invalid value for variable" in errors


@needs_terraform
@pytest.mark.parametrize("variable", [
    "subnet_cidr=192.168.0.0/20", "composer_image_version=composer-3-airflow-3.3.1-build.2",
    "stream_cluster_count=1", f'images={{"ml":"host/ml@sha256:{"0" * 64}"}}',
    "kafka_secret_version=3", "github_repository=a-shop/shop.lake",
    "billing_account=012345-6789AB-CDEF01",  # pragma: allowlist secret
])
def test_a_right_value_is_taken(names_only: Path, variable: str) -> None:
    assert apply(names_only, "dev", variable)[0] == ""
