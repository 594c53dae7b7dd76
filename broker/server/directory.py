"""DirectoryService: the signed document, as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caseexchange.broker.v1 import directory_pb2, directory_pb2_grpc

if TYPE_CHECKING:
    import grpc

    from broker.ports import DirectoryInForce


class DirectoryServicer(directory_pb2_grpc.DirectoryServiceServicer):
    """See directory.proto."""

    def __init__(self, directory: DirectoryInForce) -> None:
        self._directory = directory

    async def GetDirectory(  # noqa: N802 - the generated stub's name
        self,
        request: directory_pb2.GetDirectoryRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[  # noqa: ARG002
            directory_pb2.GetDirectoryRequest, directory_pb2.GetDirectoryResponse
        ],
    ) -> directory_pb2.GetDirectoryResponse:
        """Hand out the version in force."""
        return directory_pb2.GetDirectoryResponse(document=self._directory.current().document)
