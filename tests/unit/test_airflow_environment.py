"""The environment of Airflow's steps, tried with a real bash."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from shoplake.airflow_environment import command_environment


def find_tool(home: Path, environment: dict[str, str]) -> str:
    """Run `tool` in a `bash -c` whose standard input is a socket, as Airflow runs a step."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(["bash", "-c", "tool"], stdin=theirs, env={"HOME": str(home), **environment},
                              capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("level", [{}, {"SHLVL": "0"}, {"SHLVL": "3"}], ids=str)
def test_a_step_runs_our_programs_whatever_the_users_bashrc_puts_first(level: dict[str, str], tmp_path: Path) -> None:
    for name in ("ours", "shims"):
        (tmp_path / name).mkdir()
        tool = tmp_path / name / "tool"
        tool.write_text(f"#!/bin/sh\necho {name}\n")
        tool.chmod(0o755)
    (tmp_path / ".bashrc").write_text(f'export PATH="{tmp_path / "shims"}:$PATH"\n')
    base = {"PATH": os.environ["PATH"], **level}
    environment = base | command_environment(base, tmp_path / "ours")
    assert find_tool(tmp_path, environment) == "ours"
    # Else the test would prove nothing: a bash that believes itself the first does read the file.
    assert find_tool(tmp_path, environment | {"SHLVL": "0"}) == "shims"
