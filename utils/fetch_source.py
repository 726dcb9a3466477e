"""Fetch events from a database or a service, or a public set, into the landing folder, by the names of
configs/sources.yaml.

What a database or service has gained since the last run comes as one or more Parquet files of events; a row that comes
twice is recognized by its event_id. A public set is downloaded, or given with --file. Then utils/ingest_landing.py, or
Airflow's file_arrival, takes the files in.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from shoplake.errors import EXIT_OK, ConfigError
from shoplake.fetching.definitions import DatabaseSource, HttpSource, PublicSet, load_definitions
from shoplake.logs import configure_logging
from shoplake.outcome import print_result, run_to_exit_code
from shoplake.settings import PROFILES, Settings, find_resources, load_settings

NEXT = "Next: python utils/ingest_landing.py"


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", metavar="NAME", help="which source (default: list them)")
    parser.add_argument("--definitions", type=Path, metavar="FILE",
                        help="where sources are defined (default: configs/sources.yaml)")
    parser.add_argument("--file", type=Path, metavar="ARCHIVE",
                        help="of a public set: take this file, do not download it")
    parser.add_argument("--sha256", metavar="HASH", help="of a public set: refuse a file of another SHA-256")
    parser.add_argument("--from", dest="bookmark", metavar="BOOKMARK",
                        help="of a database or service: from here on, whatever was fetched before")
    parser.add_argument("--profile", choices=PROFILES, help="which configs/<profile>.yaml (default: local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags = parser.parse_args(argv)
    return run_to_exit_code(lambda: fetch(flags))


def fetch(flags: argparse.Namespace) -> int:
    """Fetch the source that is named, or list all."""
    settings = load_settings(flags.profile)
    configure_logging(settings.log_level)
    definitions = load_definitions(flags.definitions or find_resources("configs") / "sources.yaml")
    if flags.name is None:
        kinds = {name: one.kind for name, one in definitions.items()}
        print_result(kinds, "\n".join(f"{name:<20} {kind}" for name, kind in kinds.items()), flags.json)
        return EXIT_OK
    if flags.name not in definitions:
        raise ConfigError(f"no source {flags.name!r} is defined; there are {', '.join(definitions)}")
    if settings.landing_root.startswith("gs://"):
        raise ConfigError(f"files arrive in {settings.landing_root}, and fetching writes to a local folder only. Fetch "
                          "with the local profile, then: python gcp/gcs_client.py upload FILE gs://…")
    source = definitions[flags.name]
    if isinstance(source, PublicSet):
        result = take_public_set(flags, source, settings)
    elif flags.file or flags.sha256:
        raise ConfigError("--file and --sha256 go with a public set")
    else:
        result = read_events(flags, source, settings)
    print_result(result, describe(result), flags.json)
    return EXIT_OK


def take_public_set(flags: argparse.Namespace, source: PublicSet, settings: Settings) -> dict[str, Any]:
    """Put the set's archive into the landing folder of the source that reads it."""
    from shoplake.fetching.delivery import deliver_file
    from shoplake.fetching.public_sets import download
    from shoplake.sources import list_sources

    if flags.bookmark:
        raise ConfigError("--from goes with a database or a service")
    names = list_sources(settings)
    if source.source not in names:
        raise ConfigError(f"{flags.name} names the source {source.source!r}; there are {', '.join(names)}")
    file = flags.file or download(flags.name, source, settings.data_path / "fetched", os.environ)
    path, sha256 = deliver_file(file, source.source, settings, flags.sha256 or source.sha256)
    return {"name": flags.name, "files": [{"file": str(path), "sha256": sha256}]}


def read_events(flags: argparse.Namespace, source: DatabaseSource | HttpSource, settings: Settings) -> dict[str, Any]:
    """Put what the source has gained into the landing folder of events."""
    from shoplake.fetching import database, http_api
    from shoplake.fetching.delivery import Bookmarks, deliver_pages

    bookmarks = Bookmarks(settings, flags.name)
    with bookmarks.hold():
        start = flags.bookmark or bookmarks.read()
        pages = (database.read_pages(source, start, os.environ) if isinstance(source, DatabaseSource)
                 else http_api.read_pages(source, start, os.environ))
        files = [{"file": str(path), "rows": rows}
                 for path, rows in deliver_pages(flags.name, source, pages, settings, bookmarks)]
        return {"name": flags.name, "from": start, "bookmark": bookmarks.read(), "files": files}


def describe(result: dict[str, Any]) -> str:
    """Say in words what came."""
    if not result["files"]:
        return f"{result['name']}: nothing new since {result['bookmark']}"
    lines = [f"{one['file']}: " + (f"{one['rows']:,} rows" if "rows" in one else f"SHA-256 {one['sha256']}")
             for one in result["files"]]
    return "\n".join([*lines, NEXT])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
