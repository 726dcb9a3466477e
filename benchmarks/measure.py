"""Run a command and tell what it took: CPU-seconds of its process tree, wall seconds and peak memory, as JSON.

CPU-seconds are the kernel's own count of the process and of all its descendants that were waited for, which for a
spark-submit are the JVM and Python. Memory is the largest sum of the tree's resident sets that was seen. `samples`
tells the way there, so that a part of the run can be told apart afterwards.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

EVERY_SECONDS = 0.25


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and run; give the command's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="where the figures are written")
    parser.add_argument("--log", type=Path, required=True, metavar="FILE", help="where the command's output goes")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND ...")
    flags = parser.parse_args(argv)
    command = flags.command[1:] if flags.command[:1] == ["--"] else flags.command
    if not command:
        parser.error("no command given")
    started, wall = time.time(), time.monotonic()
    with flags.log.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    samples = watch(process.pid, wall)
    _, status, usage = os.wait4(process.pid, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    figures = {
        "started": started, "wall_seconds": time.monotonic() - wall, "exit_code": exit_code,
        "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_rss_bytes": max((rss for *_, rss in samples), default=0),
        "samples": samples,
    }
    flags.to.write_text(json.dumps(figures))
    return exit_code


def watch(pid: int, started: float) -> list[tuple[float, float, int]]:
    """Look at the process tree until its root has ended: seconds since the start, CPU-seconds and bytes by then."""
    samples, seen = [], {pid}
    # WNOWAIT leaves the ended process for wait4, which alone tells the usage of the whole tree.
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        tree = look_at_tree(pid)
        # A process that is just being started still shows its parent's memory: only those seen before count.
        rss = sum(bytes_ for process, (_, bytes_) in tree.items() if process in seen)
        samples.append((time.monotonic() - started, sum(cpu for cpu, _ in tree.values()), rss))
        seen = {pid, *tree}
        time.sleep(EVERY_SECONDS)
    return samples


def look_at_tree(pid: int) -> dict[int, tuple[float, int]]:
    """Give by process the CPU-seconds, those of its ended children included, and the resident bytes."""
    figures = {}
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                cpu = times.user + times.system + times.children_user + times.children_system
                figures[process.pid] = (cpu, process.memory_info().rss)
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
