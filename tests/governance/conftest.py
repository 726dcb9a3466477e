"""A lake with one table, which is empty, and the settings that name it."""

from pathlib import Path

import pytest
from deltalake import write_deltalake

from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import RUNS
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.settings import Settings, load_settings


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return load_settings()


@pytest.fixture
def lake(settings: Settings) -> Lake:
    lake = locate_lake(settings)
    write_deltalake(lake.table(RUNS), arrow_schema(RUNS).empty_table())
    return lake
