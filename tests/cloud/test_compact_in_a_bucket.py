"""utils/compact.py on a lake in a bucket: by delta-rs and leases, as on the disk."""

import json
import runpy
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from deltalake import write_deltalake

from shoplake.contract.tables import BRONZE_EVENTS, Table
from shoplake.lake.addresses import locate_lake
from shoplake.lake.arrow import read_table, storage_options
from shoplake.lake.locks import INGEST, hold_lock
from shoplake.settings import PROJECT_ROOT, load_settings

pytestmark = pytest.mark.cloud


@pytest.mark.usefixtures("bucket")
def test_a_table_in_a_bucket_is_compacted_under_its_lease(
    make_arrow: Callable[[Table, list[dict[str, Any]]], Any], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOPLAKE_LAKE__LOCK_TIMEOUT", "0")
    lake = locate_lake(load_settings("local"))
    row = dict.fromkeys(BRONZE_EVENTS.column_names)
    for number in range(2):
        rows = [{**row, "offset": 10 * day + number, "ingest_date": date(2026, 3, day)} for day in (1, 2)]
        write_deltalake(lake.table(BRONZE_EVENTS), make_arrow(BRONZE_EVENTS, rows), mode="append",
                        partition_by=["ingest_date"], storage_options=storage_options(lake))
    compact = runpy.run_path(str(PROJECT_ROOT / "utils" / "compact.py"))["main"]
    with hold_lock(lake, INGEST, timeout=0):
        assert compact([]) == 1
    capsys.readouterr()
    assert compact(["--json"]) == 0
    (done,) = json.loads(capsys.readouterr().out)["tables"]
    assert (done["files_before"], done["files_after"], done["deleted_files"]) == (4, 2, 0)
    assert sorted(read_table(lake, BRONZE_EVENTS)["offset"].to_pylist()) == [10, 11, 20, 21]
    assert compact(["--retention", "0", "--json"]) == 0
    (done,) = json.loads(capsys.readouterr().out)["tables"]
    assert done["deleted_files"] == 4
