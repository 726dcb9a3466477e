"""How a Spark session reaches a lake in a bucket."""

import pytest

from shoplake.lake.delta import session_options
from shoplake.settings import load_settings


def test_credentials_are_never_shown_to_an_emulator_and_always_to_google(monkeypatch: pytest.MonkeyPatch) -> None:
    assert session_options(load_settings()) == {}
    monkeypatch.setenv("SHOPLAKE_GCP__STORAGE_ENDPOINT", "http://127.0.0.1:4443")
    assert session_options(load_settings()) == {}, "the lake is a folder"
    assert session_options(load_settings("dev")) == {
        "spark.hadoop.fs.gs.auth.type": "UNAUTHENTICATED",
        "spark.hadoop.fs.gs.storage.root.url": "http://127.0.0.1:4443/"}
    monkeypatch.delenv("SHOPLAKE_GCP__STORAGE_ENDPOINT")
    assert session_options(load_settings("dev")) == {"spark.hadoop.fs.gs.auth.type": "APPLICATION_DEFAULT"}
