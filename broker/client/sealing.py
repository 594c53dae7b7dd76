"""Seal the sections of a record for its recipients, and open those of a received record.

Every section is sealed for which the directory does not grant its publisher the right ``plain``. The publisher has a
floor of its own: what is of another kind than those that it ever publishes plain is sealed, whatever is granted.
A content key is in the publisher's memory while it seals, and in a recipient's while it opens. Nothing stores it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from broker.core.body import KEY_BYTES, KeyWrap
from broker.core.encryptionkeys import ARCHIVE
from broker.core.envelope import Section
from broker.core.errors import EncryptionKeyMissing
from broker.core.policy import keys_in_force, may_be_plain
from broker.core.sealing import (
    NONCE_BYTES,
    SealedContent,
    pad,
    sealed_for,
    sealed_places,
    section_context,
    wrap_info,
)
from broker.core.sections import SALT_BYTES, salted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.body import Body
    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.policy import Directory
    from broker.ports import Entropy, KeyWrapper, SectionCipher


class Protected(NamedTuple):
    """A body that commits to its sections and has its wraps, and the bytes of these sections."""

    body: Body
    sections: tuple[Section, ...]


class Sealing(NamedTuple):
    """What a publisher seals with.

    ``directory`` gives the newest directory that it knows, with the keys to which it seals. ``plain_kinds`` are the
    only kinds of which it leaves a section plain, if the directory grants that.
    """

    directory: Callable[[], Directory]
    cipher: SectionCipher
    wrapper: KeyWrapper
    plain_kinds: frozenset[str] = frozenset({"PublicNotice"})

    def protect(self, body: Body, contents: Sequence[bytes], entropy: Entropy) -> Protected:
        """Seal the contents of a record's sections, but salt those that may be plain.

        Args:
            body: the body. Its descriptors have no digests yet.
            contents: of each section, in order.
            entropy: where keys, nonces and salts come from.

        Raises:
            EncryptionKeyMissing: a recipient has no key in force.
            PeerUnknown: an agency of the record is not in the directory.
            SealInvalid: a key in the directory cannot be used.
        """
        directory = self.directory()
        keys = {
            place: entropy.token(KEY_BYTES)
            for place, section in enumerate(body.sections)
            if body.kind not in self.plain_kinds or not may_be_plain(directory, body, section.name)
        }
        protected = []
        for place, (section, content) in enumerate(zip(body.sections, contents, strict=True)):
            if place in keys:
                context = section_context(directory.trust_domain, body, section)
                nonce = entropy.token(NONCE_BYTES)
                protected.append(self.cipher.seal(keys[place], nonce, context, pad(content)))
            else:
                protected.append(_salted(content, entropy))
        committed = _committed(body, protected)
        return committed._replace(body=self.wrapped(committed.body, keys, directory))

    def wrapped(self, body: Body, content_keys: Mapping[int, bytes], directory: Directory | None = None) -> Body:
        """The body with the wraps for its recipients and the archive, of the content keys of its sealed sections.

        Args:
            body: the body. Its descriptors have digests and commitments.
            content_keys: by the place of the section.
            directory: the version to seal by. None: the newest.

        Raises:
            EncryptionKeyMissing, PeerUnknown, SealInvalid: as ``protect``.
        """
        directory = directory or self.directory()
        wraps = [
            self._wrap(key, directory.trust_domain, body, places, content_keys) for key, places in _due(directory, body)
        ]
        return replace(body, key_wraps=tuple(wraps))

    def _wrap(
        self,
        key: EncryptionKey,
        trust_domain: str,
        body: Body,
        places: tuple[int, ...],
        content_keys: Mapping[int, bytes],
    ) -> KeyWrap:
        wrap = KeyWrap(key.agency, key.key_id, places, b"")
        inside = b"".join(content_keys[place] for place in places)
        return wrap._replace(wrapped_keys=self.wrapper.wrap(key, inside, wrap_info(trust_domain, body, wrap)))


def salt_all(body: Body, contents: Sequence[bytes], entropy: Entropy) -> Protected:
    """Leave every section plain. The broker takes it only from who has the right to it."""
    return _committed(body, [_salted(content, entropy) for content in contents])


def _salted(content: bytes, entropy: Entropy) -> SealedContent:
    return SealedContent(salted(entropy.token(SALT_BYTES), content), b"")


def _committed(body: Body, protected: Sequence[SealedContent]) -> Protected:
    described = zip(body.sections, protected, strict=True)
    descriptors = [
        section._replace(sha256=hashlib.sha256(data).digest(), key_commitment=commitment)
        for section, (data, commitment) in described
    ]
    sections = [Section(section.name, data) for section, (data, _) in zip(descriptors, protected, strict=True)]
    return Protected(replace(body, sections=tuple(descriptors)), tuple(sections))


def _due(directory: Directory, body: Body) -> list[tuple[EncryptionKey, tuple[int, ...]]]:
    """To which keys the content keys of which sections are wrapped."""
    everything = sealed_places(body)
    if not everything:
        return []
    due = []
    for recipient in body.recipients:
        places = sealed_for(directory, recipient.agency, body)
        if places:
            keys = keys_in_force(directory.agency(recipient.agency), body.issued_at_ms)
            if not keys:
                message = f"{recipient.agency} has no encryption key in force"
                raise EncryptionKeyMissing(message, agency=recipient.agency)
            due.append((keys[0], places))
    archives = keys_in_force(directory.agency(body.publisher), body.issued_at_ms, ARCHIVE)
    return due + [(key, everything) for key in archives]
