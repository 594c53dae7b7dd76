"""What asks timestamp authorities, from a broker's configuration; and what checks timestamps for an auditor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from broker.core.audit.times import BACKDATED_MS, TimesAudit
from broker.core.errors import ConfigInvalid, ExtraMissing
from broker.core.incarnations import Incarnations
from broker.core.webaddress import WebAddress
from broker.extras import needed
from broker.messagelog.sqlite import SqliteTimestampStore
from broker.services.timestamping import Timestamping, TimestampingSettings

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence

    from broker.bootstrap.opened import OpenedLog
    from broker.bootstrap.trust import BrokerTrust
    from broker.config.broker import BrokerConfig
    from broker.core.errors import CaseExchangeError
    from broker.core.policy import Directory
    from broker.ports import Clock, Evidence, TimestampCaller, TimestampRequests, TimestampStore
    from broker.services.proofs import ProofService

_log = structlog.get_logger("broker")


def open_timestamps(config: BrokerConfig, stack: contextlib.AsyncExitStack) -> TimestampStore:
    """Open what timestamp authorities have stamped. The stack closes it.

    Raises:
        LogError, LogUnavailable, LogFull
    """
    store = SqliteTimestampStore(config.log.folder / "timestamps.db")
    stack.push_async_callback(store.close)
    return store


def make_timestamping(
    config: BrokerConfig,
    trust: BrokerTrust,
    opened: OpenedLog,
    kept: TimestampStore,
    *,
    proofs: ProofService,
    evidence: Evidence,
    clock: Clock,
) -> Timestamping:
    """What asks the timestamp authorities of the configuration.

    Raises:
        ExtraMissing: there are some, and a library is not installed.
        ConfigInvalid: an address cannot be used.
    """
    return Timestamping(
        partitions=opened.origins(trust.directory.current().trust_domain),
        store=opened.store,
        proofs=proofs,
        kept=kept,
        directory=lambda: trust.directory.latest,
        requests=_requests,
        callers=_callers(config),
        evidence=evidence,
        clock=clock,
        settings=TimestampingSettings(config.timestamps.interval_seconds, config.timestamps.timeout_seconds),
        report=_report,
    )


def times_audit(
    directories: Sequence[Directory], own: Sequence[Path], backdated_after_ms: int | None = None
) -> TimesAudit:
    """What judges times for an auditor.

    Args:
        directories: those of the bundle, the newest last. Their timestamp authorities count if the auditor pins none.
        own: files (PEM) of the authorities that the auditor pins.
        backdated_after_ms: see ``BACKDATED_MS``.

    Raises:
        CertificateInvalid: a file cannot be used.
        ExtraMissing: the auditor pins some, and the library is not installed.
    """
    declared = Incarnations(directories[-1].incarnations)
    bound_ms = BACKDATED_MS if backdated_after_ms is None else backdated_after_ms
    chains = list(dict.fromkeys(chain for each in directories for chain in each.timestamp_authorities))
    if not own and not chains:
        return TimesAudit(
            why_unchecked="no timestamp authority is pinned", backdated_after_ms=bound_ms, declared=declared
        )
    try:
        with needed():
            from broker.trust.timestamps import TimestampAuthorities  # noqa: PLC0415 - verify works without the extra
    except ExtraMissing as missing:
        if own:
            raise
        return TimesAudit(why_unchecked=missing.message, backdated_after_ms=bound_ms, declared=declared)
    authorities = TimestampAuthorities.load(own) if own else TimestampAuthorities.listed(chains)
    return TimesAudit(authorities.verify, backdated_after_ms=bound_ms, declared=declared)


def _callers(config: BrokerConfig) -> dict[str, TimestampCaller]:
    given = config.timestamps
    if not given.urls:
        return {}
    with needed():
        import broker.trust.timestamps  # noqa: F401, PLC0415 - only a broker that asks for timestamps needs the extra
        from broker.web.timestamping import HttpTimestampAuthority  # noqa: PLC0415 - as above
    authorities = config.tls.authorities if given.authorities == Path() else given.authorities
    return {url: HttpTimestampAuthority(_address(url), authorities) for url in given.urls}


def _address(url: str) -> WebAddress:
    try:
        return WebAddress.parse(url, plain=True)
    except ValueError as error:
        message = f"timestamps.urls: {error}"
        raise ConfigInvalid(message) from error


def _requests(directory: Directory) -> TimestampRequests[Any]:
    from broker.trust.timestamps import TimestampAuthorities  # noqa: PLC0415 - as above

    return TimestampAuthorities.listed(directory.timestamp_authorities)


def _report(name: str, error: CaseExchangeError | None) -> None:
    who = f"the timestamp authority {name}" if name else "timestamps"
    if error is None:
        _log.warning(f"{who}: in order again")
        return
    # They belong to others, and the exchange goes on without them.
    _log.warning(f"{who}: nothing is stamped", reason=error.reason, cause=error.message, remedy=error.remedy)
