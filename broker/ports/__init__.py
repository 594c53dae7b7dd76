"""The ports: the Protocols through which services use clocks, keys, codecs and stores.

Each port has the name of its role. Its docstrings state what every implementation promises. For each port, one suite of
contract tests (tests/contract) runs over every backend. Only bootstrap chooses implementations.
"""

from __future__ import annotations

from broker.ports.checkpoints import (
    CheckpointBoard,
    CheckpointStore,
    Evidence,
    KeptBytes,
    LeafRow,
    ScrubPlace,
    TreeExtension,
    TreeHead,
)
from broker.ports.codec import RecordCodec
from broker.ports.messagelog import AuditTrail, LogErasure, LogReader, LogRepair, MessageLog
from broker.ports.subscriptions import (
    Assigned,
    AssignmentChange,
    DeadLetterState,
    LogCursor,
    PlaceState,
    Revoked,
    Standing,
    SubscriptionKey,
    SubscriptionState,
    UnprocessedRecord,
)
from broker.ports.tiles import TileSource
from broker.ports.time import Clock, Entropy, WatchedClock
from broker.ports.timestamps import (
    AskedAuthorities,
    AskedAuthority,
    KeptTimestamp,
    TimestampCaller,
    TimestampedCheckpoints,
    TimestampRequests,
    TimestampStore,
)
from broker.ports.trust import (
    CosignatureSigner,
    DirectoryClaim,
    DirectoryInForce,
    Keyring,
    KeyUnwrapper,
    KeyWrapper,
    LogKeys,
    MessageExaminer,
    NoteSigner,
    PeerAuthentication,
    RevocationCheck,
    SectionCipher,
    SignatureVerifier,
    Signed,
    Signer,
    SignerCertificate,
    TrustMaterial,
)
from broker.ports.witnesses import CosignedCheckpoints, CosignedStore, WitnessCaller, WitnessedNote, WitnessStore

__all__ = [
    "AskedAuthorities",
    "AskedAuthority",
    "Assigned",
    "AssignmentChange",
    "AuditTrail",
    "CheckpointBoard",
    "CheckpointStore",
    "Clock",
    "CosignatureSigner",
    "CosignedCheckpoints",
    "CosignedStore",
    "DeadLetterState",
    "DirectoryClaim",
    "DirectoryInForce",
    "Entropy",
    "Evidence",
    "KeptBytes",
    "KeptTimestamp",
    "KeyUnwrapper",
    "KeyWrapper",
    "Keyring",
    "LeafRow",
    "LogCursor",
    "LogErasure",
    "LogKeys",
    "LogReader",
    "LogRepair",
    "MessageExaminer",
    "MessageLog",
    "NoteSigner",
    "PeerAuthentication",
    "PlaceState",
    "RecordCodec",
    "RevocationCheck",
    "Revoked",
    "ScrubPlace",
    "SectionCipher",
    "SignatureVerifier",
    "Signed",
    "Signer",
    "SignerCertificate",
    "Standing",
    "SubscriptionKey",
    "SubscriptionState",
    "TileSource",
    "TimestampCaller",
    "TimestampRequests",
    "TimestampStore",
    "TimestampedCheckpoints",
    "TreeExtension",
    "TreeHead",
    "TrustMaterial",
    "UnprocessedRecord",
    "WatchedClock",
    "WitnessCaller",
    "WitnessStore",
    "WitnessedNote",
]
