"""The days that a command is asked for."""

from datetime import date, timedelta

from shoplake.errors import ConfigError

MAX_DAYS = 3660


def list_days(first: date | None, last: date | None) -> set[date] | None:
    """Give the days of --from and --to, both inclusive; None when neither is given.

    Raises:
        ConfigError: one is missing, or they are not 1 to MAX_DAYS days.
    """
    if first is None and last is None:
        return None
    if first is None or last is None:
        raise ConfigError("--from and --to go together: give both days, as YYYY-MM-DD")
    count = (last - first).days + 1
    if not 1 <= count <= MAX_DAYS:
        raise ConfigError(f"--from {first} --to {last} is {count} days; allowed are 1 to {MAX_DAYS}")
    return {first + timedelta(days=number) for number in range(count)}
