"""The embedded broker's configuration."""

import re
from pathlib import Path

from shoplake import embedded_broker


def test_every_address_is_loopback() -> None:
    text = embedded_broker.render_properties(9092, 9093, Path("/data/log"))
    assert set(re.findall(r"[\w.]+(?=:\d)", text)) - {"1"} == {"127.0.0.1"}


def test_cluster_ids_have_kafkas_form_and_differ() -> None:
    ids = {embedded_broker.make_cluster_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", cluster_id) for cluster_id in ids)
