"""Asks a witness over HTTP (the port WitnessCaller): C2SP tlog-witness, "add-checkpoint"."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from broker.core.errors import CheckpointInvalid, CosignedSizeDiffers, WitnessRefused, WitnessUnavailable
from broker.core.tree.checkpoint import parse_note
from broker.web.client import HttpClient, HttpFailed
from broker.web.tls import ClientContext

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.tree.addcheckpoint import AddCheckpoint
    from broker.core.tree.checkpoint import NoteSignature
    from broker.core.webaddress import WebAddress

_ANSWER_BYTES: Final = 64 << 10
_OK: Final = 200
_CONFLICT: Final = 409
_REFUSALS: Final = {
    400: "it cannot read the request",
    403: "it does not know the key that signed the checkpoint",
    404: "it does not know the log",
    422: "it has seen another history of the log",
}
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


class HttpWitness:
    """One witness, at its address. Its methods raise CertificateInvalid if the file of authorities cannot be used."""

    def __init__(self, address: WebAddress, authorities: Path) -> None:
        self._context = ClientContext(authorities)
        self._client = HttpClient(address, self._context.newest())

    async def add_checkpoint(self, request: AddCheckpoint) -> Sequence[NoteSignature]:
        """See ``WitnessCaller``."""
        self._client.use(self._context.newest())
        try:
            answer = await self._client.post("/add-checkpoint", request.marshal(), _ANSWER_BYTES)
        except HttpFailed as error:
            message = f"the witness did not answer: {error}"
            raise WitnessUnavailable(message) from error
        if answer.status == _OK:
            return _lines(request, answer.body)
        size = _SIZE.fullmatch(answer.body)
        if answer.status == _CONFLICT and size is not None:
            message = "the witness has cosigned another size last"
            raise CosignedSizeDiffers(message, size=size[1].decode())
        if answer.status in _REFUSALS:
            message = f"the witness does not cosign: {_REFUSALS[answer.status]} (HTTP {answer.status})"
            raise WitnessRefused(message)
        message = f"the witness answered with HTTP {answer.status}"
        raise WitnessUnavailable(message)

    async def latest(self, origin: str) -> bytes:
        """See ``WitnessCaller``: tlog-witness, "Monitor Retrieval Mechanism"."""
        self._client.use(self._context.newest())
        try:
            answer = await self._client.get(f"/{sha256(origin.encode()).hexdigest()}/checkpoint", _ANSWER_BYTES)
        except HttpFailed as error:
            message = f"the witness did not answer: {error}"
            raise WitnessUnavailable(message) from error
        if answer.status != _OK:
            message = f"the witness does not show what it has cosigned (HTTP {answer.status})"
            raise WitnessUnavailable(message)
        return answer.body

    async def close(self) -> None:
        """See ``WitnessCaller``."""
        await self._client.close()


def _lines(request: AddCheckpoint, body: bytes) -> Sequence[NoteSignature]:
    # tlog-witness: "the client MAY concatenate it to the checkpoint".
    try:
        return parse_note(parse_note(request.note).text + b"\n" + body).signatures
    except CheckpointInvalid as error:
        message = "the witness's answer is not signature lines"
        raise WitnessUnavailable(message) from error
