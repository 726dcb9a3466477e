"""How a shell ends: errors in words on stderr with their exit code, results on stdout."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from shoplake.errors import EXIT_FAILURE, ShoplakeError
from shoplake.settings import hide_secrets

EXIT_INTERRUPTED = 130


def run_to_exit_code(command: Callable[[], int]) -> int:
    """Run a shell's body and turn what a person can act on into a message and exit code; a bug keeps its traceback."""
    try:
        return command()
    except ShoplakeError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our stdout (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except OSError as error:
        _say(_describe_os_error(error))
        return EXIT_FAILURE


def _say(message: str) -> None:
    print(f"error: {hide_secrets(message)}", file=sys.stderr)


def _describe_os_error(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    where = error.filename2 or error.filename
    if where is None:
        return f"{what}. Check that the disk has room and that the data folder (SHOPLAKE_DATA_DIR) can be written"
    path = os.fsdecode(where)
    return f"{what}: {path}; check that it exists, that you may read and write it, and that the disk has room"


def print_result(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print a command's result on stdout: one JSON object, or the text that a person reads.

    Decimals, dates and times in `result` are written as strings.
    """
    print(json.dumps(result, default=str, ensure_ascii=False) if as_json else text)
