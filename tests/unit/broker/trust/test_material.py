from __future__ import annotations

from typing import TYPE_CHECKING

from broker.trust.directory_files import DirectoryFile
from broker.trust.keyring import DirectoryKeyring, LiveKeyring
from broker.trust.material import PublishedTrust
from broker.trust.revocation import PeerRevocation, RevocationLists
from broker.trust.revocation_files import RevocationFiles
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from broker import ports
    from tests.support.pki import SamplePki


def test_with_the_published_documents_alone_a_signature_can_be_judged_again(pki: SamplePki) -> None:
    directory = DirectoryFile(pki.folder.directory, pki.governance, ManualClock(pki.now_ms))
    lists = RevocationFiles(
        [pki.folder.revocation_list("signing")], lambda: directory.latest.signing_authorities, grace_ms=0
    )
    published = PublishedTrust(directory, lists)
    again = RevocationLists(published.revocation_lists(), published.authorities(), grace_ms=0)
    signer = pki.signer()
    listed = DirectoryKeyring(directory.latest, again).signer(signer.certificate_sha256)
    listed.check_valid(pki.now_ms)
    listed.verify(b"sample", signer.sign(b"sample"))


def test_what_bootstrap_wires_has_the_form_that_the_ports_ask_for(pki: SamplePki) -> None:
    """The assignments are for the type checker, which compares them with the protocols."""
    clock: ports.Clock = ManualClock(pki.now_ms)
    directory_file = DirectoryFile(pki.folder.directory, pki.governance, clock)
    directory: ports.DirectoryInForce = directory_file
    files = RevocationFiles([], list, grace_ms=0)
    signer: ports.Signer = pki.signer()
    note_signer: ports.NoteSigner = pki.note_signer
    keyring: ports.Keyring = LiveKeyring(directory, files)
    check: ports.RevocationCheck = PeerRevocation(files, [], clock)
    material: ports.TrustMaterial = PublishedTrust(directory_file, files)
    assert all((signer, note_signer, keyring, check, material))
