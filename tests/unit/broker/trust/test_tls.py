from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.trust.certificates import validity
from broker.trust.tls import check_tls_files
from certs import profiles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki


def test_a_certificate_can_be_used_from_its_first_to_its_last_moment(pki: SamplePki, tmp_path: Path) -> None:
    credential = pki.credential(profiles.TLS_SERVER)
    files = credential.write(tmp_path, "tls")
    period = validity(credential.certificate)
    check_tls_files(*files, period.first_ms)
    check_tls_files(*files, period.last_ms)
    with pytest.raises(CertificateInvalid, match=r"tls\.pem is not valid yet"):
        check_tls_files(*files, period.first_ms - 1)
    with pytest.raises(CertificateInvalid, match=r"tls\.pem has expired"):
        check_tls_files(*files, period.last_ms + 1)


def test_the_key_is_the_certificates_own(pki: SamplePki, tmp_path: Path) -> None:
    certificate, _ = pki.credential(profiles.TLS_SERVER).write(tmp_path, "one")
    _, key = pki.credential(profiles.TLS_SERVER).write(tmp_path, "other")
    with pytest.raises(KeyInvalid, match=r"other\.key is not the key of one\.pem"):
        check_tls_files(certificate, key, pki.now_ms)
