"""Replay for an auditor who does not trust the broker. It reads Kafka directly, with the auditor's own principal.

The auditor's machine does what a broker does when it rebuilds its state. It reads every topic, separates entries from
strays, and builds the trees from the leaves that followers published, up to the newest signed checkpoint. It keeps none
of this. The result is a bundle like a broker's, without receipts and without the exchange's signature.

The auditor's right in the directory decides which sections go into the bundle, as at a broker.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from broker.bootstrap.directlog import open_direct
from broker.core.incarnations import Incarnations
from broker.services.bundling import BundleMaker, BundleOrder
from broker.services.erasureorders import ErasureOrders
from broker.services.replay import ReplayRequest, replay_rights
from broker.trust.certificates import load_certificates, principal_of
from broker.trust.directory_files import DirectoryFile
from broker.trust.governance import Governance
from broker.trust.logkeys import DirectoryLogKeys
from broker.trust.material import PublishedTrust
from broker.trust.revocation_files import RevocationFiles
from broker.trust.system import SystemClock
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.config.edge import EdgeConfig
    from broker.core.bundle import SerializedFrame


async def replay_from_kafka(config: EdgeConfig, request: ReplayRequest) -> AsyncIterator[SerializedFrame]:
    """The frames of a bundle of what Kafka holds now, as far as checkpoints cover it, and of every stray.

    Raises:
        SetupInvalid: a setting or file cannot be used.
        PurposeMissing, RightDenied, PeerUnknown, DirectoryUnavailable
        LogUnavailable, LogAccessDenied, LogCorrupt: the topics cannot be read, or there is no checkpoint.
    """
    clock = SystemClock()
    directory = DirectoryFile(config.trust.directory, Governance.load(config.trust.governance_key), clock)
    auditor = principal_of(load_certificates(config.agency.certificate)[0])
    sections = replay_rights(directory.current(), auditor, request)
    grace_ms = int(config.trust.revocation_grace_seconds * 1000)
    revocations = RevocationFiles(
        [config.trust.signing_revocations], lambda: directory.latest.signing_authorities, grace_ms=grace_ms
    )
    keys = DirectoryLogKeys(lambda: directory.latest)
    trust_domain = directory.current().trust_domain

    def declared() -> Incarnations:
        return Incarnations(directory.latest.incarnations)

    async with contextlib.AsyncExitStack() as stack:
        log, store = await open_direct(
            config.kafka, keys, trust_domain, clock, declared=declared, folder=None, stack=stack
        )
        bundles = BundleMaker(
            log=log,
            store=store,
            codec=ProtobufCodec(),
            # Nobody can erase anything there.
            orders=ErasureOrders(),
            directory=directory,
            material=PublishedTrust(directory, revocations),
            clock=clock,
            signer=None,
        )
        order = BundleOrder(
            auditor.spiffe_id, request.purpose, sections, request.accepted_from_ms, request.accepted_until_ms
        )
        async for frame in bundles.make(order):
            yield frame
