"""gold.user_segments: the group that each registered user of a file belongs to, as the file tells of them."""

from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shoplake.batch.segmentation import find_segments
from shoplake.contract.render import arrow_schema
from shoplake.contract.tables import USER_SEGMENTS, USERS_DIM
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import read_table, replace_rows, table_exists, text_literal
from shoplake.lake.locks import hold_lock


def build_user_segments(lake: Lake, lock_timeout: float, *, is_wanted: bool) -> set[date]:
    """Replace the rows of each source's day, unless they are of the file that silver.users_dim has; give those days.

    Args:
        is_wanted: replace them in any case.

    Raises:
        LockError: another build of this table held its lock for `lock_timeout` seconds.
    """
    if not table_exists(lake, USERS_DIM):
        return set()
    with hold_lock(lake, USER_SEGMENTS.name, lock_timeout) as lock:
        is_new = is_wanted or not table_exists(lake, USER_SEGMENTS)
        done = set() if is_new else set(read_table(lake, USER_SEGMENTS, ["origin"])["origin"].to_pylist())
        users, days = read_table(lake, USERS_DIM), set()
        for source in sorted(pc.unique(users["source"]).to_pylist()):
            mine = users.filter(pc.equal(users["source"], source))
            if mine["origin"][0].as_py() not in done:
                day = mine["as_of_date"][0].as_py()
                where = f"as_of_date = DATE'{day}' AND source = {text_literal(source)}"
                replace_rows(lake, USER_SEGMENTS, segment_users(mine), where, lock)
                days.add(day)
        return days


def segment_users(users: pa.Table) -> pa.Table:
    """Divide one source's users by how lately, how often and how eagerly; the same users give the same groups.

    Args:
        users: rows of silver.users_dim.

    Returns:
        Rows of gold.user_segments.
    """
    users = users.sort_by("user_id")
    found = find_segments(_sum(users, "days_since_login"), _sum(users, "bought_count", "sold_count"),
                          _sum(users, "listed_count", "wished_count", "liked_count"))
    count = users.num_rows
    return pa.table({
        "as_of_date": users["as_of_date"], "source": users["source"], "user_id": users["user_id"],
        "segment": pa.array(found.names if found else [None] * count, pa.string()),
        "segment_count": pa.array([found.count if found else None] * count, pa.int32()),
        "silhouette": pa.array([found.silhouette if found else None] * count, pa.float64()),
        "origin": users["origin"],
    }).cast(arrow_schema(USER_SEGMENTS))


def _sum(users: pa.Table, *names: str) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = np.sum([users[name].to_numpy() for name in names], axis=0, dtype=np.float64)
    return total
