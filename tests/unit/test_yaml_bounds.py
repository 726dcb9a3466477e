"""Settings, roles and definitions of sources as somebody careless or hostile writes them: our words, and at once."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_bounds import fuzz
from hypothesis import given
from hypothesis import strategies as st

from shoplake.errors import ConfigError
from shoplake.fetching.definitions import load_definitions
from shoplake.governance.roles import load_roles
from shoplake.settings import PROJECT_ROOT, load_settings
from shoplake.yaml_files import MAX_BYTES, read_yaml

CONFIGS = PROJECT_ROOT / "configs"
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]\n" for number in range(1, 12))
BAD = {
    "a billion laughs": (LAUGHS, "with what its aliases"), "itself": ("a: &a [*a]", "aliases"),
    "itself as a mapping": ("a: &a {b: *a}", "aliases"), "merged with itself": ("a: &a\n  <<: *a", ""),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000, "nested more than 50"), "deep lists, open": ("[" * 100_000, ""),
    "deep mappings": ("{a: " * 5000, "nested more than 50"), "deep blocks": ("- " * 5000, "nested more than 50"),
    "large": ("a: " + "x" * MAX_BYTES, "more than 1,000,000 bytes"), "Latin-1": ("a: é".encode("latin-1"), "not UTF-8"),
    "UTF-16": ("a: b".encode("utf-16"), "not UTF-8"), "NUL": (b"a: \x00", "no valid YAML"),
    "binary": (bytes(range(256)), ""),
    "a list as a key": ("? [a]\n: b", "a key is no plain text"), "a mapping as a key": ("{{a: b}: c}",
    "a key is no plain"),
    "no such day": ("a: 2026-02-30", "day is out of range"), "a number's tag": ("a: !!int x", "none of its kind"),
    "a day's tag": ("a: !!timestamp x", ""), "a tag of Python's": ("a: !!python/object/apply:os.system [ls]",
    "could not"),
    "a bool's tag": ("a: !!bool x", ""), "a long number": ("a: " + "9" * 5000, ""), "binary's tag": ("a: !!binary é",
    ""),
    "two documents": ("a: 1\n---\nb: 2", "no valid YAML"), "a key twice": ("a: 1\na: 2", "stands there twice"),
    "a section of no name": ("? \n: {a: 1}", ""), "a number's section": ("1: {a: 1}", ""),
    "an unknown alias": ("a: *b", "undefined alias"), "half a character": ('a: "\\ud800"', ""),
}


def settings_of(folder: Path) -> object:
    return load_settings("local", folder)


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "settings": ("config.yaml", settings_of), "roles": ("roles.yaml", load_roles),
    "sources": ("sources.yaml", lambda folder: load_definitions(folder / "sources.yaml")),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    for file in CONFIGS.glob("*.yaml"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_at_once_and_in_our_words(folder: Path, name: str, reader: str) -> None:
    content, said = BAD[name]
    file, read = READERS[reader]
    (folder / file).write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    began = time.monotonic()
    with pytest.raises(ConfigError) as refused:
        read(folder)
    assert time.monotonic() - began < 20
    assert said in str(refused.value)
    assert len(str(refused.value)) < 20_000


def test_a_few_aliases_are_read_as_they_were(folder: Path) -> None:
    text = (CONFIGS / "roles.yaml").read_text()
    assert "&" in text
    assert read_yaml(folder / "roles.yaml") == yaml.safe_load(text)


def test_what_is_no_file_is_named(folder: Path) -> None:
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").mkdir()
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        settings_of(folder)


@pytest.mark.parametrize("value", ["[" * 100_000, "{" * 9, '{"a": ' * 100_000, "é\udcff", "[1e999999999]", "null",
"{}"])
def test_a_bad_value_of_the_environment_is_refused_in_our_words(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name in ("SHOPLAKE_SOURCES__FORMATS", "SHOPLAKE_SOURCES", "SHOPLAKE_ML__FEATURES__LAGS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with suppress(ConfigError):
                load_settings()


PIECES = ["&a ", "*a", "<<: ", "!!int ", "!!set ", "? ", ": ", "- ", "[", "]", "{", "}", "|", ">", "'", '"', "#", "%",
          "@",
          "\n", "  ", "\t", "~", "null", "true", "1e9", "0x1", "2026-01-01", "2026-13-45", "-.inf", ".nan", "é",
          "\u2028",
          "\x07", "---", "...", "\\", "x" * 300]


@fuzz(80)
@given(st.sampled_from(sorted(READERS)), st.randoms(use_true_random=False),
       st.lists(st.one_of(st.sampled_from(PIECES).map(str.encode), st.binary(max_size=3)), min_size=1, max_size=4))
def test_no_file_leaves_another_error_than_ours(
    tmp_path_factory: pytest.TempPathFactory, reader: str, draw: random.Random, pieces: list[bytes],
) -> None:
    """Our own files, with pieces put in, taken out and doubled."""
    file, read = READERS[reader]
    folder = tmp_path_factory.mktemp("configs")
    for name in ("config.yaml", "local.yaml", "roles.yaml", "sources.yaml"):
        os.link(CONFIGS / name, folder / name) if name != file else None
    content: Any = bytearray((CONFIGS / file).read_bytes())
    for piece in pieces:
        at = draw.randrange(len(content))
        content[at:at + draw.choice((0, 0, 1, 20))] = piece
    (folder / file).write_bytes(content)
    with suppress(ConfigError):
        read(folder)
