"""Which witnesses must have cosigned a checkpoint: a policy file as C2SP tlog-policy defines it.

``log`` and ``witness`` lines list keys, ``group`` lines form groups with a threshold, and the ``quorum`` line says
which witness or group is enough. ``quorum none`` demands no witness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeVar

from broker.core.errors import CheckpointInvalid, WitnessPolicyInvalid
from broker.core.tree.checkpoint import VerifierKey
from broker.core.tree.cosignature import WitnessKey
from broker.core.webaddress import WebAddress

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

MAX_POLICY_BYTES: Final = 1 << 18
MAX_LINES: Final = 256
"""The limit for lines that define something. tlog-policy demands at least 32 logs, 32 witnesses and 32 groups."""

MAX_WITNESSES: Final = 32
"""The limit for a directory: each of them adds a line to a checkpoint's note."""

_NONE: Final = b"none"
_FORBIDDEN: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_BLANK: Final = re.compile(rb"[ \t]+")
_NUMBER: Final = re.compile(rb"[1-9][0-9]{0,3}")
_KeyT = TypeVar("_KeyT", bound=VerifierKey)


class PolicyLog(NamedTuple):
    """A log whose signature counts. ``url`` is empty if there is none."""

    key: VerifierKey
    url: str


class PolicyWitness(NamedTuple):
    """A witness: its name inside the policy, its key, and where to ask it (its submission prefix), or empty."""

    name: str
    key: WitnessKey
    url: str


class Group(NamedTuple):
    """Names of witnesses and groups, and how many of them must have cosigned."""

    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """A policy.

    Attributes:
        logs: the logs that count. Empty: the caller knows them from elsewhere.
        witnesses: every witness.
        groups: by name, each after the groups in it. Names are opaque bytes.
        quorum: the witness or group that must have cosigned. None: no witness is needed.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: Mapping[bytes, Group]
    quorum: bytes | None

    def satisfied_by(self, cosigners: Collection[VerifierKey]) -> bool:
        """Whether these witnesses together are the quorum. Unknown ones do not count."""
        if self.quorum is None:
            return True
        witnessed = {_bytes(witness.name) for witness in self.witnesses if any(witness.key == key for key in cosigners)}
        for name, group in self.groups.items():
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(name)
        return self.quorum in witnessed

    def satisfied_since(self, times: Mapping[WitnessKey, int]) -> int | None:
        """The latest time such that the witnesses that have cosigned at or after it are the quorum.

        Args:
            times: when each witness has cosigned a checkpoint: seconds since the Unix epoch.

        Returns:
            None: they are not the quorum. 0: no witness is needed.
        """
        if self.quorum is None:
            return 0
        together: list[VerifierKey] = []
        for key, time_s in sorted(times.items(), key=lambda item: item[1], reverse=True):
            together.append(key)
            if self.satisfied_by(together):
                return time_s
        return None

    @property
    def fewest(self) -> int:
        """The smallest number of witnesses that can be the quorum."""
        needed = {_bytes(witness.name): 1 for witness in self.witnesses}
        for name, group in self.groups.items():
            needed[name] = sum(sorted(needed[member] for member in group.members)[: group.threshold])
        return 0 if self.quorum is None else needed[self.quorum]


def parse_policy(text: bytes) -> WitnessPolicy:
    """Read a policy file (tlog-policy, "Policy file syntax and structure"). Its last line may lack its newline.

    Raises:
        WitnessPolicyInvalid: it names the line.
    """
    if len(text) > MAX_POLICY_BYTES:
        message = "the witness policy is too large"
        raise WitnessPolicyInvalid(message)
    reader = _Reader()
    for number, line in enumerate(text.split(b"\n"), start=1):
        if _FORBIDDEN.search(line):
            _refuse(number, "holds a control character")
        words = [word for word in _BLANK.split(line) if word]
        if words and not words[0].startswith(b"#"):
            reader.take(number, *words)
    return reader.policy()


def parse_directory_policy(text: str, log_keys: Sequence[str]) -> WitnessPolicy | None:
    """Read the policy of a directory. None: it is empty, so there are no witnesses.

    It lists no logs, because the directory does. Each witness has an address, and no log's key.

    Raises:
        WitnessPolicyInvalid
    """
    if not text:
        return None
    policy = parse_policy(text.encode())
    if policy.logs:
        message = "the directory's witness policy has a log line; log_keys lists the logs"
        raise WitnessPolicyInvalid(message)
    if len(policy.witnesses) > MAX_WITNESSES:
        message = f"the directory's witness policy has more than {MAX_WITNESSES} witnesses"
        raise WitnessPolicyInvalid(message)
    logs = {VerifierKey.parse(key).public_key for key in log_keys}
    for witness in policy.witnesses:
        try:
            WebAddress.parse(witness.url)
        except ValueError as error:
            message = f"the witness {witness.key.name} in the directory's witness policy has no address: {error}"
            raise WitnessPolicyInvalid(message) from error
        if witness.key.public_key in logs:
            message = f"the witness {witness.key.name} in the directory's witness policy has the key of a log"
            raise WitnessPolicyInvalid(message)
    return policy


class _Reader:
    def __init__(self) -> None:
        self._lines = 0
        self._logs: list[PolicyLog] = []
        self._witnesses: dict[bytes, PolicyWitness] = {}
        self._groups: dict[bytes, Group] = {}
        self._grouped: set[bytes] = set()
        self._quorum: list[bytes] = []

    def policy(self) -> WitnessPolicy:
        if not self._quorum:
            message = "the witness policy has no quorum line"
            raise WitnessPolicyInvalid(message)
        quorum = None if self._quorum[0] == _NONE else self._quorum[0]
        return WitnessPolicy(tuple(self._logs), tuple(self._witnesses.values()), self._groups, quorum)

    def take(self, number: int, kind: bytes, *rest: bytes) -> None:
        self._lines += 1
        if self._lines > MAX_LINES:
            _refuse(number, f"is one of more than {MAX_LINES} that define something")
        match (kind, *rest):
            case (b"log", vkey):
                self._log(number, vkey, b"")
            case (b"log", vkey, url):
                self._log(number, vkey, url)
            case (b"witness", name, vkey):
                self._witness(number, name, vkey, b"")
            case (b"witness", name, vkey, url):
                self._witness(number, name, vkey, url)
            case (b"group", name, threshold, *members) if members:
                self._group(number, name, threshold, members)
            case (b"quorum", name):
                self._take_quorum(number, name)
            case _:
                _refuse(number, "is no log, witness, group or quorum line with what belongs to it")

    def _log(self, number: int, vkey: bytes, url: bytes) -> None:
        key = _key(VerifierKey, number, vkey)
        if any(key.public_key == log.key.public_key for log in self._logs):
            _refuse(number, "lists a log's key again")
        self._logs.append(PolicyLog(key, _text(number, url)))

    def _witness(self, number: int, name: bytes, vkey: bytes, url: bytes) -> None:
        self._check_new(number, name)
        key = _key(WitnessKey, number, vkey)
        if any(key.public_key == witness.key.public_key for witness in self._witnesses.values()):
            _refuse(number, "lists a witness's key again")
        self._witnesses[name] = PolicyWitness(_opaque(name), key, _text(number, url))

    def _group(self, number: int, name: bytes, threshold: bytes, members: list[bytes]) -> None:
        self._check_new(number, name)
        for member in members:
            if member not in self._witnesses and member not in self._groups:
                _refuse(number, "names a member that no line above defines")
            # Each witness can contribute in only one way.
            if member in self._grouped:
                _refuse(number, "names a member that is in a group already")
            self._grouped.add(member)
        if threshold == b"all":
            least = len(members)
        elif threshold == b"any":
            least = 1
        elif _NUMBER.fullmatch(threshold):
            least = int(threshold)
        else:
            _refuse(number, "has a threshold that is not all, any or a number")
        if least > len(members):
            _refuse(number, "demands more members than it names")
        self._groups[name] = Group(least, tuple(members))

    def _take_quorum(self, number: int, name: bytes) -> None:
        if self._quorum:
            _refuse(number, "is a second quorum line")
        if name != _NONE and name not in self._witnesses and name not in self._groups:
            _refuse(number, "names a quorum that no line above defines")
        self._quorum.append(name)

    def _check_new(self, number: int, name: bytes) -> None:
        if name == _NONE or name in self._witnesses or name in self._groups:
            _refuse(number, "defines a name that is taken")


def _key(kind: type[_KeyT], number: int, vkey: bytes) -> _KeyT:
    try:
        return kind.parse(vkey.decode())
    except (UnicodeDecodeError, CheckpointInvalid):
        _refuse(number, f"has no Ed25519 key of the type {kind.algorithm[0]} (C2SP vkey)")


def _text(number: int, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        _refuse(number, "has an address that is not UTF-8")


def _opaque(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _refuse(number: int, what: str) -> NoReturn:
    message = f"line {number} of the witness policy {what}"
    raise WitnessPolicyInvalid(message)
