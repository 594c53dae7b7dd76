"""Records that wait for the signature of a second principal, and the folder through which it comes.

The program lays a record that waits into ``countersign``, as ``RECORD_ID.envelope``. Somebody takes it to the second
principal, who looks at it and signs (``case-exchange countersign``), and lays the answer beside it, as
``RECORD_ID.FINGERPRINT.dsse.json``. The record stays in the spool all the while, and the later ones of its case wait.
"""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from broker.client.signing import OtherSigner, Signing, completed, countersignatures, outstanding
from broker.core.body import NamedSigner
from broker.core.dsse import DsseEnvelope
from broker.core.envelope import ECDSA_P256_SHA256
from broker.core.errors import CaseExchangeError, CertificateInvalid, CountersignatureAwaited, SignatureInvalid
from broker.core.strict import NotStrict, parse_json
from broker.files import PRIVATE_FILE, make_private, read_file, replace_file
from broker.trust.certificates import fingerprint, load_certificates, principal_of
from broker.trust.recordkeys import MlDsaSigner, algorithm_of, record_key
from broker.trust.signing import EcdsaSigner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adapters.edge.holds import Outgoing
    from broker.config.edge import AgencyConfig
    from broker.core.authorship import Certificate, Certificates
    from broker.core.body import Body
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory
    from broker.ports import RecordCodec, Signer

_log = structlog.get_logger("adapters.edge.countersigning")
REQUEST: Final = ".envelope"
ANSWER: Final = ".dsse.json"
MAX_ANSWER_BYTES: Final = 4 << 20
"""A body in base64, with its signatures."""
_REFUSED: Final = ".refused"


def load_signing(config: AgencyConfig, directory: Callable[[], Directory]) -> Signing:
    """What an edge signs with beside its first key.

    Raises:
        KeyInvalid, CertificateInvalid, PeerIdentityMissing: a file cannot be used, or a second signer is the edge's own
            principal.
    """
    more: tuple[Signer, ...] = ()
    if config.post_quantum_certificate != Path():
        more = (MlDsaSigner.load(config.post_quantum_key, config.post_quantum_certificate),)
    others = []
    if config.second_signers != Path():
        own = principal_of(load_certificates(config.signing_certificate)[0])
        for certificate in load_certificates(config.second_signers):
            if principal_of(certificate) == own:
                message = f"{config.second_signers.name} has a certificate of {own.system}, which signs first itself"
                raise CertificateInvalid(message)
            named = NamedSigner(fingerprint(certificate), algorithm_of(record_key(certificate)))
            others.append(OtherSigner(principal_of(certificate).system, named))
    return Signing(directory, more, tuple(others))


def load_signer(certificate: Path) -> EcdsaSigner | MlDsaSigner:
    """The signer of a certificate's file. Its key has the same name with the suffix .key.

    Raises:
        KeyInvalid, CertificateInvalid: a file cannot be used.
    """
    is_ecdsa = algorithm_of(record_key(load_certificates(certificate)[0])) == ECDSA_P256_SHA256
    return (EcdsaSigner if is_ecdsa else MlDsaSigner).load(certificate.with_suffix(".key"), certificate)


class Countersigning:
    """See the module. ``folder`` is made when a record waits; only its owner can open it. For one thread at a time."""

    def __init__(self, folder: Path, codec: RecordCodec, certificates: Certificates[Certificate]) -> None:
        self._folder = folder
        self._codec = codec
        self._certificates = certificates
        self._answers: dict[str, list[Path]] = {}
        self._unread: dict[Path, tuple[int, int]] = {}
        """Size and time of change of what could not be read, as it was at the last look."""

    def look(self) -> None:
        """List the folder, once for all records that ``complete`` is then asked for."""
        self._answers.clear()
        with _logged(""):
            for path in sorted(self._folder.glob(f"*{ANSWER}")):
                self._answers.setdefault(path.name.partition(".")[0], []).append(path)
        listed = {path for paths in self._answers.values() for path in paths}
        self._unread = {path: state for path, state in self._unread.items() if path in listed}

    def complete(self, item: Outgoing) -> bytes:
        """The envelope with all signatures that its body names: as it is, or with those that ``look`` found.

        A file or a folder that cannot be used is logged. It holds this record only.

        Raises:
            CountersignatureAwaited: a signature is not there. The record lies in the folder.
        """
        envelope = self._codec.decode_envelope(item.envelope)
        body = self._codec.parse_body(envelope.body)
        if not outstanding(envelope, body):
            return item.envelope
        found: dict[bytes, bytes] = {}
        with _logged(item.record_id):
            make_private(self._folder)
            for path in self._answers.get(item.record_id, []):
                with _logged(item.record_id):
                    found |= self._answer(path, envelope, body)
        envelope = completed(envelope, body, found)
        if not outstanding(envelope, body):
            return self._codec.encode_envelope(envelope)
        with _logged(item.record_id):
            request = self._folder / f"{item.record_id}{REQUEST}"
            if not request.exists() or request.read_bytes() != item.envelope:
                replace_file(request, item.envelope, PRIVATE_FILE)
        message = f"the record {item.record_id} waits for the signature of another principal"
        raise CountersignatureAwaited(message, record_id=item.record_id)

    def _answer(self, path: Path, envelope: Envelope, body: Body) -> dict[bytes, bytes]:
        if not path.is_file():
            # A pipe would be waited for.
            raise OSError(errno.EINVAL, "no file, or a link to none")
        status = path.stat()
        state = status.st_size, status.st_mtime_ns
        try:
            try:
                answer = DsseEnvelope.from_json(parse_json(read_file(path, MAX_ANSWER_BYTES)))
            except NotStrict:
                # Perhaps it is still being copied.
                if self._unread.get(path) != state:
                    self._unread[path] = state
                    return {}
                raise
            return countersignatures(envelope, body, answer, self._certificates)
        except (NotStrict, CaseExchangeError) as error:
            reason = error.reason if isinstance(error, CaseExchangeError) else SignatureInvalid.reason
            _log.error("a countersignature cannot be used", record_id=body.record_id, reason=reason)
            path.rename(path.with_name(path.name + _REFUSED))
            return {}

    def forget(self, record_id: str) -> None:
        """Remove the files of a record that is complete in the spool, or left it. Without them nothing changes."""
        for path in self._folder.glob(f"{record_id}.*"):
            with _logged(record_id):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _logged(record_id: str) -> Iterator[None]:
    """Whoever can write into the folder must not stop other records."""
    try:
        yield
    except OSError as error:
        _log.error("a file in the folder countersign cannot be used", record_id=record_id, fault=error.strerror)
