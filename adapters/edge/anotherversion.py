"""The refusals of a received record that another directory version may not give."""

from __future__ import annotations

from typing import Final

from broker.core.errors import (
    AlgorithmEnded,
    DirectoryVersionMissing,
    EncryptionKeyNotInForce,
    FormerReceiptInvalid,
    KeyWrapsInvalid,
    PeerUnknown,
    RightDenied,
    SectionNotAllowed,
    SignatureMissing,
    SignerCertificateInvalid,
    SignerUnknown,
)

BY_ANOTHER_DIRECTORY: Final = (
    AlgorithmEnded,
    DirectoryVersionMissing,
    EncryptionKeyNotInForce,
    FormerReceiptInvalid,
    KeyWrapsInvalid,
    PeerUnknown,
    RightDenied,
    SectionNotAllowed,
    SignatureMissing,
    SignerCertificateInvalid,
    SignerUnknown,
)
