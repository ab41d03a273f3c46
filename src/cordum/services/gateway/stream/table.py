"""The streams' lines of the route table. `endpoint` serves them; who comes here asked for no stream."""

from typing import Final

from cordum.core.access.permissions import Permission
from cordum.services.gateway.answer import Answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.route import Route
from cordum.services.gateway.stream.admission import ALL_PATH

_HOW: Final = (
    "A WebSocket, or, with `Accept: text/event-stream`, server-sent events (`event: <kind>`, `data: <the same JSON>`). "
    "Each event is a CAP packet as protobuf's JSON: `traceId`, `senderId`, `createdAt` and one of `jobRequest`, "
    "`jobResult`, `jobProgress`, `jobCancel`, `heartbeat`, `alert`. Nothing is repeated: what happens while nobody "
    "listens is not kept. A browser sends its key as WebSocket subprotocols: `cordum-api-key` and the key in base64url."
)


async def upgrade_required(parts: Parts, call: Call) -> Answer:
    """Says how to ask."""
    raise ApiError("upgrade_required", headers={"Upgrade": "websocket"})


STREAM_ROUTES: Final = (
    Route(
        method="GET",
        path=ALL_PATH,
        permission=Permission.STREAM_READ,
        handler=upgrade_required,
        summary="Watch what happens to the tenant's jobs",
        answers={200: str},
        failures=("upgrade_required", "overloaded"),
        tag="stream",
        notes=_HOW,
    ),
    Route(
        method="GET",
        path="/api/v1/jobs/{job_id}/stream",
        permission=Permission.JOBS_READ,
        handler=upgrade_required,
        summary="Watch one job",
        answers={200: str},
        failures=("job_not_found", "upgrade_required", "overloaded"),
        tag="stream",
        notes=_HOW,
    ),
)
