from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.messagelog.kafka.memberids import is_broker, sealed_member_id
from broker.messagelog.kafka.members import Member, strangers_named
from broker.trust.signing import Ed25519NoteSigner
from tests.support.kafkalog import ListedKeys

SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
STRANGER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
KEYS = ListedKeys(SIGNER)
GROUP = "case-exchange.national-dna-database.samples"
OURS = sealed_member_id(GROUP, "0123abcd", SIGNER)


def test_the_id_that_a_broker_made_is_a_broker_s() -> None:
    assert is_broker(GROUP, OURS, KEYS)


@pytest.mark.parametrize(
    "member_id",
    [
        "",
        "0123abcd",
        "kafka-python-3.0.12-8b1f",
        OURS[:-1],
        "1" + OURS[1:],
        sealed_member_id(f"{GROUP}-2", "0123abcd", SIGNER),
        sealed_member_id(GROUP, "0123abcd", STRANGER),
    ],
)
def test_any_other_id_is_a_stranger_s(member_id: str) -> None:
    assert not is_broker(GROUP, member_id, KEYS)


def test_strangers_are_named_and_what_they_chose_cannot_forge_a_log_line() -> None:
    bad = Member("id\nreason=NONE\x1b[2J" + "x" * 500, "\N{PILE OF POO}", "/10.0.0.7")
    told = strangers_named(GROUP, [bad])
    assert told.startswith(f"members of the group {GROUP} are no brokers of this exchange: 'id\\nreason=NONE\\x1b[2J")
    assert "'\\U0001f4a9' at '/10.0.0.7'" in told
    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 400


def test_of_many_strangers_some_are_named_and_the_others_counted() -> None:
    told = strangers_named(GROUP, [Member(f"id-{number}", "client", "/10.0.0.7") for number in range(9)])
    assert told.count("of the client") == 5
    assert told.endswith(" and 4 more")
