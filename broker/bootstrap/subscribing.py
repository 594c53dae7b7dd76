"""The parts of a broker that deliver: dead letters, subscriptions and their streams, and what is left out as erased."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.bootstrap.limits import subscribe_limits
from broker.services.auditfold import AuditFold
from broker.services.deadletters import DeadLetters
from broker.services.erasing import Erasing
from broker.services.subscribe import SubscribeService
from broker.services.subscriptions import Subscriptions
from broker.trust.system import SystemEntropy
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from broker.bootstrap.opened import OpenedLog
    from broker.config.broker import BrokerConfig
    from broker.ports import AuditTrail, Clock, DirectoryInForce
    from broker.services.auditindex import AuditIndex
    from broker.services.quotas import Quotas


class Subscribing(NamedTuple):
    """These parts. They share one index, which follows the audit stream."""

    letters: DeadLetters
    subscriptions: Subscriptions
    streams: SubscribeService
    erasing: Erasing


def make_subscribing(
    config: BrokerConfig,
    index: AuditIndex,
    opened: OpenedLog,
    *,
    audit: AuditTrail,
    directory: DirectoryInForce,
    quotas: Quotas,
    clock: Clock,
) -> Subscribing:
    """Make them."""
    codec, entropy, log = ProtobufCodec(), SystemEntropy(), opened.log
    fold = AuditFold(index, log, codec)
    letters = DeadLetters(
        index=index,
        log=log,
        audit=audit,
        codec=codec,
        directory=directory,
        entropy=entropy,
        clock=clock,
        fold=fold,
        orders=opened.orders,
    )
    subscriptions = Subscriptions(
        index=index, fold=fold, log=log, audit=audit, directory=directory, quotas=quotas, clock=clock
    )
    erasing = Erasing(
        log=log,
        erasure=opened.erasure,
        orders=opened.orders,
        audit=audit,
        codec=codec,
        directory=directory,
        quotas=quotas,
        clock=clock,
    )
    streams = SubscribeService(
        directory=directory,
        codec=codec,
        log=log,
        audit=audit,
        entropy=entropy,
        clock=clock,
        limits=subscribe_limits(config),
        quotas=quotas,
        letters=letters,
        subscriptions=subscriptions,
        orders=opened.orders,
    )
    return Subscribing(letters, subscriptions, streams, erasing)
