"""An agency's edge: makes the parts of its programs from one profile."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from adapters.edge.anotherversion import BY_ANOTHER_DIRECTORY
from adapters.edge.checkpoints import SeenCheckpoints
from adapters.edge.countersigning import Countersigning, load_signing
from adapters.edge.directories import SeenDirectories, go_on, key_history
from adapters.edge.included import IncludedRecords
from adapters.edge.known import KnownAgencies
from adapters.edge.ownkeys import watch_own_keys
from adapters.edge.profile import own_files_of
from adapters.edge.sent import sweep
from adapters.edge.spool import Spool
from adapters.retention import keep_swept
from broker.client.auditor import Auditor
from broker.client.checkpoints import present_checkpoints
from broker.client.composing import RecordComposer
from broker.client.connection import ConnectionSettings, RenewableChannel
from broker.client.directories import directories_in_force
from broker.client.opening import Opening
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.sealing import Sealing
from broker.client.subscriber import Subscriber
from broker.client.verifying import RecordVerifier
from broker.core.authorship import read_body
from broker.core.errors import (
    CaseExchangeError,
    CertificateInvalid,
)
from broker.core.former import stated
from broker.core.sealing import sealed_from_ms
from broker.trust.certificates import der, principal_of
from broker.trust.directory import open_directory
from broker.trust.directory_files import DirectoryFile
from broker.trust.expiries import ExpiryWatch, key_expiries, list_expiries, own_expiries
from broker.trust.governance import Governance
from broker.trust.hpke import HpkeWrapper
from broker.trust.keyfolder import FolderKeys
from broker.trust.keyring import LiveKeyring
from broker.trust.revocation_files import RevocationFiles
from broker.trust.sealing import AesGcmCipher
from broker.trust.signers import WatchedSigner, lists
from broker.trust.system import SystemClock, SystemEntropy, forbid_core_dumps
from broker.trust.tls import WatchedTls
from broker.wire.codec import ProtobufCodec
from broker.wire.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc

    from adapters.edge.profile import GatewayProfile, ProgramProfile
    from adapters.ownfiles import OwnFiles
    from broker.client.subscriber import Delivered
    from broker.client.verifying import InForce, VerifiedRecord
    from broker.config.edge import AgencyConfig
    from broker.core.policy import Directory
    from broker.trust.expiries import Expiry

_log = structlog.get_logger("adapters.edge.edge")


class Edge(NamedTuple):
    """The parts of a program. ``agency`` is the agency id in the signing certificate."""

    agency: str
    spool: Spool
    composer: RecordComposer
    verifier: RecordVerifier
    publisher: Publisher
    subscriber: Subscriber
    codec: ProtobufCodec
    clock: SystemClock
    directory: DirectoryFile
    known: KnownAgencies
    directories: SeenDirectories
    checkpoints: SeenCheckpoints
    included: IncludedRecords
    revocations: RevocationFiles
    channel: grpc.aio.Channel
    tls: WatchedTls
    signer: WatchedSigner
    own_files: OwnFiles
    open_directory: Callable[[bytes], Directory]
    countersigning: Countersigning

    def reload_trust(self) -> None:
        """Read again what governance publishes, and the TLS files.

        If a file cannot be used, this is logged, and the old content stays.
        """

        def note_newest() -> None:
            # From now on the time counts for a certificate that is new.
            self.known.usable(self.directory.latest)
            self.directories.note(self.directory.latest.document)

        for reload in (self.directory.reload, self.revocations.reload, note_newest, self.tls.reload):
            try:
                reload()
            except CaseExchangeError as error:
                _log.error("a file of trust cannot be used", reason=error.reason, remedy=error.remedy)
            except Exception as defect:  # noqa: BLE001 - whatever it is, the files are looked at again
                _log.error("a file of trust cannot be used", cause=type(defect).__name__)

    async def renew_signer(self) -> None:
        """Sign with a renewed certificate, if the directory in force lists it, here and at the broker.

        Raises:
            CaseExchangeError: it cannot be used, or the broker did not answer. The former one stays in use.
        """
        renewed = await asyncio.to_thread(self.signer.renewed, self.directory.latest)
        if renewed is None:
            return
        # Asked only now: it is rare. A record that the broker refuses would be lost to its agency.
        in_force = [self.open_directory(document) for document in await directories_in_force(self.channel)]
        if in_force and all(lists(directory, self.agency, der(renewed.certificate)) for directory in in_force):
            self.composer.use(await asyncio.to_thread(self.signer.use, renewed))
            _log.info("the signing certificate was renewed")

    async def verify(self, delivered: Delivered) -> VerifiedRecord:
        """Check a received record with the directories seen here; if that is not enough, with those of the broker.

        Raises:
            CaseExchangeError: as ``RecordVerifier``. ``Unavailable``, such as DirectoryVersionMissing: it has to wait.
            SpoolUnavailable: a directory version could not be stored. The record has to wait too.
        """

        def verify_with(in_force: InForce) -> VerifiedRecord:
            return self.verifier.verify(delivered.envelope, delivered.accepted_at_ms, in_force)

        at_ms = accepted_at_ms = delivered.accepted_at_ms
        former = []
        if delivered.envelope.former_receipt:
            at_ms = stated(delivered.envelope, self.codec).accepted_at_ms
            former = [at_ms]
        times = [accepted_at_ms, *former]
        since_ms = sealed_from_ms(read_body(delivered.envelope, self.codec), at_ms)
        # In a thread: a signature check takes time, and reading a new directory takes more.
        try:
            return await asyncio.to_thread(
                lambda: verify_with(self.directories.from_seen(*times, sealed_from_ms=since_ms))
            )
        except BY_ANOTHER_DIRECTORY:
            answered = await self.directories.from_broker(*times, sealed_from_ms=since_ms)
        return await asyncio.to_thread(verify_with, answered)


@contextlib.asynccontextmanager
async def open_edge(profile: GatewayProfile | ProgramProfile) -> AsyncIterator[Edge]:
    """Load keys and trust, open the spool, and make ready to connect. From now on the process leaves no core dump.

    Raises:
        SetupInvalid: a file or setting cannot be used.
        DirectoryUnavailable: the directory has expired.
        SpoolUnavailable: another gateway or program uses the spool.
    """
    forbid_core_dumps()
    clock, codec, config = SystemClock(), ProtobufCodec(), profile.agency
    tls = WatchedTls(TlsFiles(config.certificate, config.key, config.authorities), clock)
    signer = WatchedSigner(config.signing_key, config.signing_certificate, clock)
    # The system comes from the connection's certificate: the broker accepts no records of another system.
    principal = tls.principal
    if principal_of(signer.current.certificate).agency != principal.agency:
        message = "the signing certificate and the TLS certificate belong to different agencies"
        raise CertificateInvalid(message)
    governance = Governance.load(profile.trust.governance_key)
    # What was in force stays in force, also if an older file comes back and the program is restarted.
    kept = profile.folder / "trust"
    forgot = not kept.exists()
    with contextlib.closing(Spool(profile.folder / "spool.db")) as former:
        history = key_history(former, governance)
    directory = DirectoryFile(profile.trust.directory, governance, clock, kept / "directory.json", history)
    revocations = RevocationFiles(
        [profile.trust.signing_revocations],
        lambda: directory.latest.signing_authorities,
        grace_ms=int(profile.trust.revocation_grace_seconds * 1000),
        kept=kept / "signing-revocations.pem",
    )
    keyring = LiveKeyring(directory, revocations)
    known = KnownAgencies(kept / "agencies.json", clock)
    known.usable(directory.latest)
    plain_kinds = frozenset(config.plain_kinds)
    sealing = Sealing(lambda: known.usable(directory.latest), AesGcmCipher(), HpkeWrapper(), plain_kinds)
    own_files, keys = own_files_of(profile), config.encryption_keys
    opening = None if keys == Path() else Opening(AesGcmCipher(), FolderKeys(keys))
    spool = Spool(profile.folder / "spool.db")
    settings = ConnectionSettings(profile.broker.address, profile.broker.server_name or None)
    try:
        async with RenewableChannel(settings, tls.initial) as channel:
            read = functools.partial(open_directory, governance=governance)
            ask = functools.partial(directories_in_force, channel)
            directories = SeenDirectories(spool, read, revocations, clock, ask, history=history)
            go_on(directory, spool.directories(), forgot=forgot)
            directories.note(directory.latest.document)
            present = functools.partial(present_checkpoints, channel)
            checkpoints = SeenCheckpoints(spool, lambda: directory.latest, present, clock)
            prove = Auditor(channel).prove_inclusion
            included = IncludedRecords(spool, lambda: directory.latest, prove, clock)
            edge = Edge(
                principal.agency,
                spool,
                RecordComposer(
                    principal,
                    signer.current,
                    codec,
                    SystemEntropy(),
                    clock,
                    sealing=sealing,
                    signing=load_signing(config, lambda: directory.latest),
                ),
                RecordVerifier(principal.agency, codec, opening),
                Publisher(channel, codec, ReceiptVerifier(directory, keyring)),
                Subscriber(channel),
                codec,
                clock,
                directory,
                known,
                directories,
                checkpoints,
                included,
                revocations,
                channel,
                tls,
                signer,
                own_files,
                read,
                Countersigning(profile.folder / "countersign", codec, keyring),
            )
            latest, seconds = lambda: directory.latest, profile.trust.reload_seconds
            work = (
                watch_own_keys(keys, principal.agency, latest, seconds),
                _watch(edge, channel, config, profile.trust.reload_seconds),
                checkpoints.run(profile.trust.checkpoint_seconds),
                included.run(profile.trust.checkpoint_seconds),
                sweep(spool.sent, clock, profile.keep_days),
                keep_swept(profile.folder, profile.retention, clock.now_ms, spool.holds.sources, own_files),
            )
            watching = [asyncio.create_task(each) for each in work]
            try:
                yield edge
                await checkpoints.before_the_end()
            finally:
                for task in watching:
                    task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
    finally:
        spool.close()


async def _watch(edge: Edge, channel: RenewableChannel, config: AgencyConfig, seconds: float) -> None:
    expiries = ExpiryWatch(functools.partial(_expiries, edge, config), edge.clock)
    while True:
        try:
            await asyncio.to_thread(expiries.look)
        except Exception as defect:  # noqa: BLE001 - it only warns: keys and trust are renewed all the same
            _log.error("what ends when is not known", cause=type(defect).__name__)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(edge.reload_trust)
        renewed = edge.tls.newest()
        if renewed is not None:
            _log.info("the TLS files were renewed")
            channel.renew(renewed)
            edge.subscriber.reopen()
        try:
            await edge.renew_signer()
        except CaseExchangeError as error:
            _log.error("a renewed signing certificate is not used yet", reason=error.reason, cause=error.message)


def _expiries(edge: Edge, config: AgencyConfig) -> list[Expiry]:
    # The directory's file tells of its own end.
    own = own_expiries(config.certificate, config.signing_certificate, config.authorities, edge.directory.latest)
    keys = key_expiries(edge.directory.latest, [edge.agency], edge.clock.now_ms())
    return [*own, *keys, *list_expiries(edge.revocations.documents())]
