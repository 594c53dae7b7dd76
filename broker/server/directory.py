"""DirectoryService: the signed documents, unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.wire.times import to_ms
from caseexchange.broker.v1 import directory_pb2, directory_pb2_grpc

if TYPE_CHECKING:
    from broker.ports import DirectoryInForce
    from broker.server.calls import Context
    from broker.services.versions import DirectoryVersions


class DirectoryServicer(directory_pb2_grpc.DirectoryServiceServicer):
    """See directory.proto."""

    def __init__(self, directory: DirectoryInForce, versions: DirectoryVersions) -> None:
        self._directory = directory
        self._versions = versions

    async def GetDirectory(  # noqa: N802 - the generated stub's name
        self,
        request: directory_pb2.GetDirectoryRequest,
        context: Context,  # noqa: ARG002
    ) -> directory_pb2.GetDirectoryResponse:
        """Send the version in force, now or at an earlier time."""
        if not request.HasField("in_force_at"):
            return directory_pb2.GetDirectoryResponse(documents=[self._directory.current().document])
        versions = await self._versions.in_force_at(to_ms(request.in_force_at))
        return directory_pb2.GetDirectoryResponse(documents=[version.document for version in versions])
