"""An agency joins the directory with the rights of another one, and gets another certificate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.errors import EnrolmentRefused
from broker.core.policy import Agency

if TYPE_CHECKING:
    from broker.core.policy import Directory


def enrol(directory: Directory, agency: str, name: str, certificate: bytes, *, like: str) -> Directory:
    """A directory with a new agency, which stands wherever another one stands.

    It has the other one's rights and quotas. Every agency that may address the other one, or hear it, may do so with
    the new one, too. Where the other one names itself, the new one names itself. So the two have no rights with each
    other, except by "*".

    Args:
        directory: the former one.
        agency: the new agency's id.
        name: its name.
        certificate: its signing certificate (DER).
        like: the id of the other one.

    Raises:
        EnrolmentRefused: the directory lists the new agency already, or not the other one, or that is the exchange.
    """
    if agency in directory.agencies:
        message = f"the directory lists {agency} already: case-exchange directory add-certificate adds to it"
        raise EnrolmentRefused(message)
    model = _listed(directory, like)
    if like == directory.exchange:
        message = f"{like} is the exchange itself: no agency stands where it stands"
        raise EnrolmentRefused(message)

    def beside(names: frozenset[str]) -> frozenset[str]:
        return names | {agency} if like in names else names

    def in_place(names: frozenset[str]) -> frozenset[str]:
        return frozenset(agency if one == like else one for one in names)

    def known(other: Agency) -> Agency:
        publish = {kind: replace(right, recipients=beside(right.recipients)) for kind, right in other.publish.items()}
        receive = {kind: replace(right, publishers=beside(right.publishers)) for kind, right in other.receive.items()}
        return replace(other, publish=publish, receive=receive)

    agencies = {one.id: one if one.id == like else known(one) for one in directory.agencies.values()}
    agencies[agency] = Agency(
        id=agency,
        name=name,
        signing_certificates=(certificate,),
        publish={kind: replace(right, recipients=in_place(right.recipients)) for kind, right in model.publish.items()},
        receive={kind: replace(right, publishers=in_place(right.publishers)) for kind, right in model.receive.items()},
        replay=dict(model.replay),
        limits=dict(model.limits),
    )
    may_correct = {kind: beside(who) for kind, who in directory.may_correct.items()}
    return replace(directory, agencies=agencies, may_correct=may_correct)


def with_certificate(directory: Directory, agency: str, certificate: bytes) -> Directory:
    """A directory in which an agency has one more signing certificate (DER). Its others stay in use.

    Raises:
        EnrolmentRefused: the directory lists no such agency, or the certificate already.
    """
    member = _listed(directory, agency)
    if certificate in (*member.signing_certificates, *(one.certificate for one in member.retired_certificates)):
        message = f"{agency} has this certificate already"
        raise EnrolmentRefused(message)
    listed = replace(member, signing_certificates=(*member.signing_certificates, certificate))
    return replace(directory, agencies={**directory.agencies, agency: listed})


def next_version(directory: Directory, now_ms: int, life_ms: int | None = None) -> Directory:
    """The next version: issued now, for as long as this one, or for ``life_ms``."""
    life_ms = directory.expires_at_ms - directory.issued_at_ms if life_ms is None else life_ms
    return replace(directory, version=directory.version + 1, issued_at_ms=now_ms, expires_at_ms=now_ms + life_ms)


def _listed(directory: Directory, agency: str) -> Agency:
    found = directory.agencies.get(agency)
    if found is None:
        message = f"the directory lists no agency {agency}"
        raise EnrolmentRefused(message)
    return found
