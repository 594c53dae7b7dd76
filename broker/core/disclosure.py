"""A disclosure: one section of one record in the clear, with what proves that it belongs to what its publisher signed.

docs/disclosure.md has the form of the file, and broker/client/disclosing.py makes and checks it.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from broker.core.errors import DisclosureInvalid
from broker.core.strict import NotStrict, decode_base64, encode_base64, parse_json

FORMAT: Final = "case-exchange disclosure v1"
MAX_DISCLOSURE_BYTES: Final = 32 << 20
"""A record is 4 MiB at most. Its section stands twice in the file, in base64."""
_TEXTS: Final = ("record_id", "section")
_BYTES: Final = ("content_key", "content", "envelope")


class Disclosure(NamedTuple):
    """What its file says. Nothing of it is checked yet.

    Attributes:
        record_id: the record's UUID.
        section: the section's name.
        content_key: the key of a sealed section. Empty for a plain one.
        content: what the section holds.
        envelope: the record as its publisher signed it, serialised, with this section alone.
    """

    record_id: str
    section: str
    content_key: bytes
    content: bytes
    envelope: bytes

    def __repr__(self) -> str:
        # What is in a record, and its key, stay out of tracebacks and logs.
        return f"Disclosure({self.record_id!r}, {self.section!r}, {len(self.content)} bytes)"

    def marshal(self) -> bytes:
        """The file: JSON, with its bytes in base64."""
        members = {
            name: encode_base64(value) if isinstance(value, bytes) else value for name, value in self._asdict().items()
        }
        return json.dumps({"format": FORMAT, **members}, indent=2).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Disclosure:
        """Read a file.

        Raises:
            DisclosureInvalid: it has another form or version.
        """
        try:
            members = parse_json(data)
            names = {"format", *_TEXTS, *_BYTES}
            texts = isinstance(members, dict) and all(isinstance(value, str) for value in members.values())
            if not texts or members.keys() != names or members["format"] != FORMAT:
                message = f"the file has not exactly the members of the form {FORMAT}"
                raise DisclosureInvalid(message)
            key, content, envelope = (decode_base64(members[name]) for name in _BYTES)
        except NotStrict as error:
            message = f"the disclosure holds something that is {error}"
            raise DisclosureInvalid(message) from error
        return cls(members["record_id"], members["section"], key, content, envelope)
