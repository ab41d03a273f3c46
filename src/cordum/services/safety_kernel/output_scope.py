"""Says which results the output rules in force could touch, so that schedulers need not ask about the others."""

import grpc

from cordum.core.policy.document import PolicyDocument
from cordum.core.policy.output_scope import scope_of
from cordum.rpc.gen.cordum.v1 import output_scope_pb2
from cordum.rpc.server import Service

NAME = "cordum.v1.OutputScope"

Context = grpc.aio.ServicerContext[bytes, bytes]


class OutputScopeCalls:
    """The call; it takes and gives bytes."""

    def __init__(self) -> None:
        self._answer = b""

    def adopt(self, document: PolicyDocument, snapshot: str) -> None:
        """From the next call on, describes this policy."""
        scope = scope_of(document)
        self._answer = output_scope_pb2.OutputScopeResponse(
            snapshot=snapshot, everything=scope.everything, topics=scope.topics
        ).SerializeToString()

    async def describe(self, request: bytes, context: Context) -> bytes:
        """Describe. Without a policy the answer is empty, which promises nothing."""
        return self._answer

    @property
    def service(self) -> Service:
        """As the kernel's server takes it."""
        handler = grpc.method_handlers_generic_handler(
            NAME, {"Describe": grpc.unary_unary_rpc_method_handler(self.describe)}
        )
        return Service(NAME, lambda server: server.add_generic_rpc_handlers((handler,)))
