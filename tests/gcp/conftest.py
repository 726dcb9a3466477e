"""What the tests of gcp/ share: gcloud's own knowledge of its commands."""

import ast
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def gcloud_tree() -> dict[str, Any]:
    """Give gcloud's list of its commands and flags, which its installation has for completing them."""
    found = shutil.which("gcloud")
    file = Path(found or "/bin/gcloud").resolve().parents[1] / "data" / "cli" / "gcloud_completions.py"
    if not found or not file.exists():
        pytest.skip("gcloud is not installed")
    (assignment,) = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Assign)]
    tree: dict[str, Any] = ast.literal_eval(assignment.value)
    return tree


@pytest.fixture(scope="session")
def check_gcloud(gcloud_tree: dict[str, Any]) -> Callable[[list[str]], None]:
    """Give `check(words)`, which fails if gcloud has no such command or the command no such flag."""

    def check(words: list[str]) -> None:
        node, known, depth = gcloud_tree, set(gcloud_tree["flags"]), 1
        while depth < len(words) and words[depth] in node["commands"]:
            node = node["commands"][words[depth]]
            known |= set(node["flags"])
            depth += 1
        assert depth > 2, words
        assert not node["commands"], f"no such command: {words}"
        rest = words[depth:words.index("--")] if "--" in words else words[depth:]
        assert [word for word in rest if word.startswith("--") and word.split("=")[0] not in known] == [], words

    return check
