"""The ends of log keys in a directory's payload: JSON to the core's EndedLogKey and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.core.logkeyends import EndedLogKey, LastPosition
from broker.core.tree.merkle import MAX_SIZE
from broker.trust.directory_fields import read_keys, read_text, read_time, refuse, rfc3339
from broker.trust.directory_incarnations import LOG_ID, read_partition

if TYPE_CHECKING:
    from collections.abc import Collection

ENDED_LOG_KEYS: Final = "ended_log_keys"
_KEYS: Final = frozenset({"key", "ended_at", "last"})
_LAST: Final = frozenset({"partition", "log_id", "tree_size", "next_offset"})


def read_ended_log_keys(value: Any, log_keys: Collection[str]) -> tuple[EndedLogKey, ...]:
    """Read the list.

    Raises:
        DirectoryInvalid: an entry is malformed, or names a key twice, or one that is not in ``log_keys``.
    """
    if not isinstance(value, list):
        refuse(f"{ENDED_LOG_KEYS} is not a list")
    found = tuple(_read(item, log_keys) for item in value)
    if len({each.key for each in found}) != len(found):
        refuse(f"{ENDED_LOG_KEYS} names a key twice")
    if found and len(found) == len(log_keys):
        refuse("every one of log_keys has ended: list the one that brokers sign with")
    return found


def ended_log_key_fields(ended: EndedLogKey) -> dict[str, Any]:
    """An entry as JSON."""
    last = [{**each._asdict(), "partition": str(each.partition)} for each in ended.last]
    return {"key": ended.key, "ended_at": rfc3339(ended.ended_at_ms), "last": last}


def _read(value: Any, log_keys: Collection[str]) -> EndedLogKey:
    fields = read_keys(value, _KEYS, ENDED_LOG_KEYS)
    key = read_text(fields["key"], log_keys.__contains__, f"{ENDED_LOG_KEYS}.key, one of log_keys,")
    if not isinstance(fields["last"], list):
        refuse(f"{ENDED_LOG_KEYS}.last is not a list")
    last = tuple(_read_last(item) for item in fields["last"])
    if len({each[:2] for each in last}) != len(last):
        refuse(f"{ENDED_LOG_KEYS}.last names a log of a partition twice")
    return EndedLogKey(key, read_time(fields["ended_at"], ENDED_LOG_KEYS), last)


def _read_last(value: Any) -> LastPosition:
    where = f"{ENDED_LOG_KEYS}.last"
    fields = read_keys(value, _LAST, where)
    numbers = (fields["tree_size"], fields["next_offset"])
    if any(type(number) is not int or not 0 <= number <= MAX_SIZE for number in numbers):
        refuse(f"{where} has a size or an offset that is no number")
    log_id = read_text(fields["log_id"], LOG_ID.fullmatch, where)
    return LastPosition(read_partition(fields["partition"], where), log_id, *numbers)
