"""Over real gRPC: a kind that needs both algorithms, and a kind that needs two people."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner
from msgspec import structs
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.cli.countersign import countersign
from adapters.edge.edge import open_edge
from adapters.gateway.outbound import Outbound
from broker.bootstrap.export import signed_record
from broker.client.publisher import Published
from broker.core.algorithms import SignatureRule
from broker.core.bundle import PartitionRecords
from broker.core.envelope import ECDSA_P256_SHA256, ML_DSA_65
from broker.core.errors import CaseExchangeError, CountersignatureAwaited, ExportInvalid, SignatureMissing
from broker.core.identity import Principal
from broker.trust.certificates import der, load_certificates, pem
from broker.trust.exports import check_cms, check_dsse, check_sigstore, cms_of, dsse_of, sigstore_of
from certs import operations, profiles
from certs.development import KEY_FOLDER
from certs.rights import SHANXI, TRUST_DOMAIN
from certs.storage import write_public
from tests.support.bundles import changed_entries
from tests.support.exchange import running_exchange
from tests.support.gateways import SAMPLES, lab_profile, police_profile, receiving
from tests.support.pki import SamplePki
from tests.support.records import CODEC
from tests.support.replays import replayed
from tests.support.signers import BOTH, CHIEF, KIND

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.edge.profile import GatewayProfile
    from tests.support.exchange import Exchange
