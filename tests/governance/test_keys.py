"""The lake's key: whose it is, where it may lie, and that no message shows it."""

import os
from pathlib import Path

import pytest

from shoplake.errors import ConfigError
from shoplake.governance.audit import record
from shoplake.governance.audit_lines import Act
from shoplake.lake.addresses import Lake, locate_lake
from shoplake.settings import Settings, load_settings


@pytest.mark.parametrize(("variable", "value"), [
    ("SHOPLAKE_GOVERNANCE__KEYS", "ab" * 32), ("SHOPLAKE_GOVERNANCE", f'{{"key": ["{"ab" * 32}"]}}'),
    ("SHOPLAKE_AIRFLOW__WEBHOOK", "ab" * 32)])
def test_a_secret_under_a_wrong_name_is_not_printed(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as raised:
        load_settings()
    assert "abab" not in str(raised.value)


def test_the_key_is_the_owners_alone_and_outside_of_the_lake(
    lake: Lake, settings: Settings, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    record([Act("query", "x")], lake, settings)
    keys = data_dir / "keys"
    assert keys.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in keys.iterdir()} == {0o600}
    os.chmod(keys / "governance.key", 0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        record([Act("query", "x")], lake, settings)
    monkeypatch.setenv("SHOPLAKE_LAKE__ROOT", str(data_dir))
    inside = load_settings()
    with pytest.raises(ConfigError, match="lies below the lake"):
        record([Act("query", "x")], locate_lake(inside), inside)


@pytest.mark.parametrize("text", ["abc", "g" * 64, "ab" * 31])
def test_a_key_that_is_none_is_refused(lake: Lake, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPLAKE_GOVERNANCE__KEY", text)
    with pytest.raises(ConfigError, match="64 hexadecimal digits") as raised:
        record([Act("query", "x")], lake, load_settings())
    assert text not in str(raised.value)
