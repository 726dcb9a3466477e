"""Whose pseudonyms a lake has: one lake has those of one key, or raw ids, for its whole life."""

from shoplake.contract.tables import SILVER_EVENTS
from shoplake.errors import ConfigError
from shoplake.lake.addresses import Lake
from shoplake.lake.arrow import delta_errors, open_table, table_exists
from shoplake.lake.data_keys import DataKeys
from shoplake.lake.locks import HeldLock
from shoplake.lake.partitions import read_state

_PROPERTY = "shoplake.pseudonyms"
_RAW = "none"


def check_pseudonyms(lake: Lake, data_keys: DataKeys | None) -> bool:
    """Refuse a lake whose silver.events has other pseudonyms than these; tell whether it has said yet which it has.

    Args:
        data_keys: None where users stay as they are.

    Raises:
        ConfigError: says what the lake has, and how to go on.
    """
    if not table_exists(lake, SILVER_EVENTS):
        return False
    with delta_errors(lake):
        found = open_table(lake, SILVER_EVENTS).metadata().configuration.get(_PROPERTY)
    if found is None and data_keys is not None and _has_rows(lake):
        found = _RAW  # an older version made them
    wanted = _fingerprint(data_keys)
    if found not in (None, wanted):
        raise ConfigError(_explain(lake, found, wanted))
    return found is not None


def settle_pseudonyms(lake: Lake, data_keys: DataKeys | None, lock: HeldLock) -> None:
    """Check, and have the first rows of a lake decide what it has for its whole life.

    Args:
        lock: the lake's `ingest`, which the caller holds.
    """
    if not check_pseudonyms(lake, data_keys):
        lock.check()
        with delta_errors(lake):
            open_table(lake, SILVER_EVENTS).alter.set_table_properties(
                {_PROPERTY: _fingerprint(data_keys)}, raise_if_not_exists=False)


def _fingerprint(data_keys: DataKeys | None) -> str:
    return _RAW if data_keys is None else data_keys.check()


def _has_rows(lake: Lake) -> bool:
    state = read_state(lake, SILVER_EVENTS)
    return state is not None and state.row_count > 0


def _explain(lake: Lake, found: str, wanted: str) -> str:
    another = "build another lake: SHOPLAKE_LAKE__ROOT=<new folder>, with the stream and the historical files again"
    if found == _RAW:
        return (f"the users in the lake {lake.root} have their own ids, and governance.pseudonyms is on: one person "
                f"would be two from now on. Go on as before with SHOPLAKE_GOVERNANCE__PSEUDONYMS=false, or {another}")
    if wanted == _RAW:
        return (f"the users in the lake {lake.root} are pseudonyms, and governance.pseudonyms is off: one person would "
                f"be two from now on. Set it to true, or {another}")
    return (f"the pseudonyms in the lake {lake.root} were made with another key: one person would be two from now on. "
            f"Put back the folder of keys that belongs to the lake, or {another}")
