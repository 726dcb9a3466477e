"""How much the fuzzing tries: little in make test, the same each time; more, and anew, with FUZZ_EXAMPLES.

    FUZZ_EXAMPLES=20000 pytest tests/sql/test_sql_fuzz.py tests/unit/test_fuzzed_files.py …
"""

import os
from typing import Any

from hypothesis import HealthCheck, settings

GIVEN = os.environ.get("FUZZ_EXAMPLES")


def fuzz(examples: int) -> Any:
    """Give hypothesis' settings for a test; on a failure it prints the example, made as small as it can be.

    Args:
        examples: how many are tried where FUZZ_EXAMPLES says nothing.
    """
    return settings(
        max_examples=int(GIVEN or examples), derandomize=GIVEN is None, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck))
