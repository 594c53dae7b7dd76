"""What asks the witnesses of the directory, from a broker's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CosignaturesLate
from broker.core.webaddress import WebAddress
from broker.extras import needed
from broker.messagelog.sqlite import SqliteCosignedStore
from broker.services.cosigning import Cosigning
from broker.services.cosigningbound import CosigningSettings
from broker.trust.witnesskeys import witness_checks

if TYPE_CHECKING:
    import contextlib

    from broker.bootstrap.opened import OpenedLog
    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.core.errors import CaseExchangeError
    from broker.core.tree.witnesspolicy import PolicyWitness
    from broker.ports import Clock, CosignedStore, WitnessCaller
    from broker.services.proofs import ProofService
    from broker.services.rollback import RollbackGuard

_log = structlog.get_logger("broker")


def open_cosigned(config: BrokerConfig, stack: contextlib.AsyncExitStack) -> CosignedStore:
    """Open what witnesses have cosigned. The stack closes it.

    Raises:
        LogError, LogUnavailable, LogFull
    """
    store = SqliteCosignedStore(config.log.folder / "cosigned.db")
    stack.push_async_callback(store.close)
    return store


def make_cosigning(
    config: BrokerConfig,
    trust: BrokerTrust,
    opened: OpenedLog,
    kept: CosignedStore,
    *,
    proofs: ProofService,
    rollback: RollbackGuard,
    clock: Clock,
) -> Cosigning:
    """What asks the witnesses, and the evidence with which publishing goes on."""
    given = config.witnesses
    authorities = config.tls.authorities if given.authorities == Path() else given.authorities

    def call(witness: PolicyWitness) -> WitnessCaller:
        with needed():
            from broker.web.asking import HttpWitness  # noqa: PLC0415 - only a broker with witnesses needs the extra
        return HttpWitness(WebAddress.parse(witness.url), authorities)

    return Cosigning(
        partitions=opened.origins(trust.directory.current().trust_domain),
        store=opened.store,
        proofs=proofs,
        kept=kept,
        directory=lambda: trust.directory.latest,
        checks=witness_checks,
        call=call,
        evidence=rollback,
        present=rollback.present,
        clock=clock,
        settings=CosigningSettings(
            given.interval_seconds, given.timeout_seconds, given.bound_seconds, given.stop_publishing
        ),
        report=_report,
    )


def _report(name: str, error: CaseExchangeError | None) -> None:
    who = f"the witness {name}" if name else "the witnesses"
    if error is None:
        _log.warning(f"{who}: in order again")
        return
    # Witnesses belong to others, and the exchange goes on without them.
    late = isinstance(error, CosignaturesLate)
    write = _log.warning if late or name else _log.error
    write(f"{who}: not cosigned", reason=error.reason, cause=error.message, remedy=error.remedy)
