"""New private keys, by the algorithm of a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, mldsa

from broker.core.envelope import ML_DSA_65
from broker.trust.keys import private_key_pem
from broker.trust.recordkeys import mldsa_key_pem

if TYPE_CHECKING:
    from certs.profiles import Profile

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | mldsa.MLDSA65PrivateKey


def new_key(profile: Profile) -> PrivateKey:
    """A key of the algorithm of a profile."""
    return (
        mldsa.MLDSA65PrivateKey.generate()
        if profile.algorithm == ML_DSA_65
        else ec.generate_private_key(ec.SECP256R1())
    )


def key_pem(key: PrivateKey) -> bytes:
    """PKCS #8 in PEM, not encrypted. Only the file's mode protects it."""
    return mldsa_key_pem(key) if isinstance(key, mldsa.MLDSA65PrivateKey) else private_key_pem(key)
