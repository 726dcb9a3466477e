"""What databases and services have gained, into the landing folder; no such DAG while `sources.fetch` is empty.

Wiring only: each step runs a shell by its path, as a command.
"""

from airflow.sdk import DAG
from shoplake_steps import command, dag_options, shell_step

from shoplake.settings import load_settings

SETTINGS = load_settings()

DOC = """
### Each source is fetched by itself, and `file_arrival` takes in what came

The names are those of `sources.fetch`, which `configs/sources.yaml` defines. **fetch_NAME** asks for what is new since
the source's bookmark and puts it into the landing folder as files of events. A step that fails is tried again from its
bookmark, and stops no other source. Set `sources.fetch_schedule` to how often the shop wants to know.
"""

if SETTINGS.sources.fetch:
    with DAG(
        "source_fetch",
        description="New rows of databases and services, as files in the landing folder",
        schedule=SETTINGS.sources.fetch_schedule,
        doc_md=DOC,
        **dag_options(SETTINGS),
    ) as dag:
        for name in SETTINGS.sources.fetch:
            shell_step(f"fetch_{name}", command("python", "utils/fetch_source.py", name))
