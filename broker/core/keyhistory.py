"""The history of key statements: no directory takes back what an agency stated of its encryption keys.

A directory may add a key of an agency. It may end one earlier only by the word of this agency. It may leave one out
after the key has expired, or if this word stands in its place. So governance and a broker together cannot quietly put
an old key into force again, or make publishers seal to fewer keys, for anybody who has seen the statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.errors import KeyHistoryBroken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.policy import Directory


class _Stated(NamedTuple):
    """What a version says of one key: its facts, or None where only its retirement stands; and its earliest end."""

    facts: tuple[str, int, int] | None
    retired_at_ms: int | None


class _Version(NamedTuple):
    """What a directory version says of keys, by agency and key id."""

    number: int
    issued_at_ms: int
    agencies: Mapping[str, Mapping[bytes, _Stated]]


_Known = dict[tuple[str, bytes], _Stated]
"""By agency and key id, what all versions below one say together."""


class KeyHistory:
    """The directory versions seen, as far as they speak of keys. For one thread at a time."""

    def __init__(self) -> None:
        self._versions: dict[int, _Version] = {}
        self._known: _Known = {}
        self._faults: set[tuple[int, str, bytes]] = set()

    def add(self, directory: Directory) -> list[KeyHistoryBroken]:
        """Check a version against those seen before, and remember it. One that is remembered already is not checked.

        Returns:
            What is wrong with higher versions that were seen before, and shows only now.

        Raises:
            KeyHistoryBroken: it takes back something that a lower version says. It is not remembered.
        """
        return self._add(_version(directory), refuse=True)

    def add_accepted(self, directory: Directory) -> list[KeyHistoryBroken]:
        """Remember a version that was in force here before. It cannot be refused any more, whatever is wrong with it.

        Returns:
            What is wrong with it and with higher versions.
        """
        return self._add(_version(directory), refuse=False)

    def _add(self, added: _Version, *, refuse: bool) -> list[KeyHistoryBroken]:
        if self._versions.get(added.number) == added:
            return []
        # Nearly always it is the highest one. Else what lower versions say has to be gathered again.
        highest = max(self._versions, default=None)
        newest = highest is None or added.number > highest
        known, former = self._known, highest
        if not newest:
            known = self._gathered(added.number)
            former = max((number for number in self._versions if number < added.number), default=None)
        issued_ms = 0 if former is None else self._versions[former].issued_at_ms
        faults = _faults(added, known, issued_ms)
        if refuse and faults:
            raise next(iter(faults.values()))
        shown = {(added.number, *key): fault for key, fault in faults.items()}
        self._versions[added.number] = added
        _learn(known, added)
        if not newest:
            issued_ms = added.issued_at_ms
            for number, version in sorted(self._versions.items()):
                if number > added.number:
                    shown |= {(number, *key): fault for key, fault in _faults(version, known, issued_ms).items()}
                    _learn(known, version)
                    issued_ms = version.issued_at_ms
            self._known = known
        told = [fault for key, fault in shown.items() if key not in self._faults]
        self._faults |= shown.keys()
        return told

    def _gathered(self, below: int) -> _Known:
        known: _Known = {}
        for number, version in sorted(self._versions.items()):
            if number < below:
                _learn(known, version)
        return known


def _learn(known: _Known, version: _Version) -> None:
    """Add what a version says. What a lower one said of use and times stays, and of ends the earliest counts."""
    for agency, keys in version.agencies.items():
        for key_id, said in keys.items():
            before = known.get((agency, key_id), said)
            ends = [end for end in (before.retired_at_ms, said.retired_at_ms) if end is not None]
            known[agency, key_id] = _Stated(before.facts or said.facts, min(ends, default=None))


def _faults(version: _Version, known: _Known, issued_ms: int) -> dict[tuple[str, bytes], KeyHistoryBroken]:
    """What is wrong with a version. ``known`` is what lower ones say, and the last of these was issued at this time."""
    found = {}
    for (agency, key_id), seen in known.items():
        fault = _fault(version, agency, key_id, seen, issued_ms)
        if fault is not None:
            found[agency, key_id] = fault
    return found


def check_successor(former: Directory, directory: Directory) -> None:
    """Check one version against the one before it.

    Raises:
        KeyHistoryBroken: it takes back something that the one before says.
    """
    history = KeyHistory()
    history.add(former)
    history.add(directory)


def _version(directory: Directory) -> _Version:
    agencies = {}
    for agency in directory.agencies.values():
        keys: dict[bytes, _Stated] = {}
        for one in sorted(agency.key_retirements, key=lambda one: -one.retired_at_ms):
            keys[one.key_id] = _Stated(None, one.retired_at_ms)
        for key in agency.encryption_keys:
            # The key id says which public key it is, and of which suite.
            facts = (key.use, key.not_before_ms, key.not_after_ms)
            keys[key.key_id] = _Stated(facts, key.retired_at_ms)
        agencies[agency.id] = keys
    return _Version(directory.version, directory.issued_at_ms, agencies)


def _end(seen: _Stated) -> int:
    ends = [end for end in (seen.facts and seen.facts[2], seen.retired_at_ms) if end is not None]
    return min(ends, default=0)


def _fault(version: _Version, agency: str, key_id: bytes, seen: _Stated, issued_ms: int) -> KeyHistoryBroken | None:
    """What is wrong with a version, if lower ones say this of a key."""
    # An agency may leave. Nobody seals to it then. If it comes back, what it stated still counts.
    if agency not in version.agencies:
        return None
    said = version.agencies[agency].get(key_id)
    if said is None:
        # Its retirement stays in its place until then. Else who has not seen any version between could not know.
        what = "leaves out" if seen.facts is not None and seen.facts[2] > version.issued_at_ms else None
    elif said.facts is not None and seen.facts is not None and said.facts != seen.facts:
        what = "changes the use or the times of"
    elif seen.retired_at_ms is not None and (said.retired_at_ms is None or said.retired_at_ms > seen.retired_at_ms):
        what = "takes back the retirement of"
    elif said.retired_at_ms is not None and said.retired_at_ms < min(issued_ms, _end(seen)):
        # What was sealed to it by the version before was right. The agency can state the retirement again.
        what = "ends, before the version before it was issued,"
    else:
        what = None
    if what is None:
        return None
    message = f"the directory {what} an encryption key that {agency} stated"
    return KeyHistoryBroken(message, version=str(version.number), agency=agency, key_id=key_id.hex())
