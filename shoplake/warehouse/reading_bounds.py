"""Bounds on reading a question's text, which anybody may have written: its size, its characters, and the time it takes.

The parser and the resolver are a library's, in Python. A text of a few lines can make them recurse without end, or
write one expression into another until nothing is left of the memory; what it does then is nobody's business but ours.
"""

import ctypes
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import ParamSpec, TypeVar

from shoplake.errors import QueryRefusedError, ShoplakeError

LOG = logging.getLogger("shoplake.warehouse")
MAX_CHARACTERS = 20_000  # the longest query of sql/ has a fifth of them
READ_SECONDS = 10.0  # a query of sql/ takes less than one
_AGAIN_SECONDS = 0.5

P = ParamSpec("P")
T = TypeVar("T")


class _TooLongError(BaseException):
    """Its time is over; no `except Exception` of the library holds it up."""


def check_text(text: str, what: str) -> None:
    """Refuse what is too long, and characters that no question needs: control characters, and halves of characters.

    Raises:
        QueryRefusedError: it is, or it has one.
    """
    if len(text) > MAX_CHARACTERS:
        raise QueryRefusedError(f"{what} has {len(text):,} characters; allowed are {MAX_CHARACTERS:,}. Ask in parts.")
    odd = next((one for one in text if (one < " " and one not in "\t\n\r") or one == "\x7f"
                or "\ud800" <= one <= "\udfff"), None)
    if odd is not None:
        raise QueryRefusedError(f"{what} has the character U+{ord(odd):04X}, which is no text; leave it out.")


def bounded(read: Callable[P, T]) -> Callable[P, T]:
    """Make a function that reads questions refuse one that breaks it, or takes more than READ_SECONDS.

    The function must be of pure Python: it is stopped between two of its instructions.
    """
    @wraps(read)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with _time_limit(READ_SECONDS):
                return read(*args, **kwargs)
        except ShoplakeError:
            raise
        except _TooLongError:
            raise QueryRefusedError(f"the query is too large: reading it takes more than {READ_SECONDS:g} s. Ask for "
                                    "less at once, and name fewer expressions by others.") from None
        except RecursionError:
            raise QueryRefusedError("the query is too large: it is nested too deeply, or has too many terms in one "
                                    "expression. Ask for less at once, or put parts into WITH queries.") from None
        except Exception as error:
            LOG.debug("a query broke its reading", exc_info=True)
            raise QueryRefusedError(f"this is no GoogleSQL that can be read ({type(error).__name__}). Write the "
                                    "query with plain operators, CASE and the usual aggregates.") from error

    return guarded


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _TooLongError inside the block when its time is over, in whatever thread it runs.

    More than once: where it hits a finalizer, the interpreter only prints it, and the block goes on.
    """
    thread, lock, is_over = ctypes.c_ulong(threading.get_ident()), threading.Lock(), threading.Event()
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def stop() -> None:
        wait = seconds
        while not is_over.wait(wait):
            with lock:
                if not is_over.is_set():
                    raise_in(thread, ctypes.py_object(_TooLongError))
            wait = _AGAIN_SECONDS

    threading.Thread(target=stop, daemon=True).start()
    try:
        yield
    finally:
        while not is_over.is_set():
            with suppress(_TooLongError):
                is_over.set()
        with lock:
            raise_in(thread, None)  # what was to be raised a moment later
