"""The outermost layer of every request: id, origin, log line, metrics (spec-gateway sections 1.1, 2.1 to 2.3, 12c)."""

import re
import time
from typing import Final

import falcon.asgi

from cordum.core.access.caller import Caller
from cordum.runtime import metrics
from cordum.runtime.ids import Ids
from cordum.runtime.logging import get_logger
from cordum.services.gateway.errors import ApiError, from_exception
from cordum.services.gateway.origins import Origins, preflight_headers
from cordum.services.gateway.ratelimit import Network, client_address

log = get_logger(__name__)

MAX_AT_WORK: Final = 8_192
"""Requests at work at one time; more are sent away at once."""
UNROUTED: Final = "unrouted"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LOGGED: Final = ("/api/", "/mcp/")
_STATUS_TEXT: Final = {status: str(status) for status in range(100, 600)}


class RequestState:
    """What belongs to a request and is no part of it."""

    __slots__ = ("address", "caller", "origin", "request_id", "started")

    address: str
    caller: Caller | None
    origin: str | None
    request_id: str
    started: float

    def __init__(self) -> None:
        self.address = ""
        self.caller = None
        self.origin = None
        self.request_id = ""
        self.started = time.perf_counter()


class Request(falcon.asgi.Request):
    """Falcon's request, with our state as its context."""

    context_type = RequestState


class Edge:
    """Falcon middleware; it is the only one."""

    def __init__(self, origins: Origins, ids: Ids, trusted_proxies: tuple[Network, ...]) -> None:
        self._origins = origins
        self._ids = ids
        self._trusted = trusted_proxies
        self._preflight = preflight_headers()
        self.at_work = 0

    async def process_request(self, req: Request, resp: falcon.asgi.Response) -> None:
        state = req.context
        self.at_work += 1
        sent_id = req.get_header("X-REQUEST-ID")
        state.request_id = sent_id if sent_id and _REQUEST_ID.fullmatch(sent_id) else self._ids.token(8)
        client = req.scope.get("client")
        peer = client[0] if client else ""
        forwarded = req.get_header("X-FORWARDED-FOR") if self._trusted else None
        state.address = client_address(peer, forwarded, self._trusted) if forwarded else peer
        origin = req.get_header("ORIGIN")
        if origin is not None:
            if not self._origins.allows(origin, req.get_header("HOST")):
                raise ApiError("origin_not_allowed")
            state.origin = origin
        if req.method == "OPTIONS":
            resp.status = 204
            if origin is not None:
                resp.set_headers(self._preflight)
            resp.complete = True
        elif self.at_work > MAX_AT_WORK:
            raise ApiError("overloaded")

    async def process_response(
        self, req: Request, resp: falcon.asgi.Response, resource: object, req_succeeded: bool
    ) -> None:
        state = req.context
        self.at_work -= 1
        resp.set_header("X-Request-Id", state.request_id)
        if state.origin is not None:
            resp.set_headers(self._origins.headers(state.origin))
        elapsed = time.perf_counter() - state.started
        method = req.method
        route = req.uri_template or UNROUTED
        status = resp.status_code
        metrics.HTTP_REQUESTS.labels(method, route, _STATUS_TEXT[status]).inc()
        metrics.HTTP_REQUEST_DURATION.labels(method, route).observe(elapsed)
        if req.path.startswith(_LOGGED):
            caller = state.caller
            log.info(
                "request",
                event="http_request",
                method=method,
                path=req.path,
                status=status,
                duration_ms=round(elapsed * 1000, 2),
                request_id=state.request_id,
                tenant=caller.tenant if caller else "",
                caller=caller.name if caller else "",
                remote=state.address,
            )


async def answer_failure(req: Request, resp: falcon.asgi.Response, error: BaseException, params: object) -> None:
    """Turns whatever was raised into the JSON envelope; Falcon calls it for every exception."""
    failure = _known(error)
    if failure.status >= 500:
        log.error(
            "request failed",
            event="http_request_failed",
            request_id=req.context.request_id,
            method=req.method,
            path=req.path,
            code=failure.slug,
            exc_info=error,
        )
    resp.status = failure.status
    resp.content_type = "application/json"
    resp.data = failure.body()
    if failure.retry_after is not None:
        resp.set_header("Retry-After", str(failure.retry_after))
    for name, value in failure.headers.items():
        resp.set_header(name, value)


def _known(error: BaseException) -> ApiError:
    if isinstance(error, falcon.HTTPMethodNotAllowed):
        return ApiError("method_not_allowed", headers={"Allow": str(dict(error.headers or {}).get("Allow", ""))})
    if isinstance(error, falcon.HTTPNotFound):
        return ApiError("not_found")
    if isinstance(error, falcon.HTTPError) and error.status_code < 500:
        return ApiError("invalid_request", error.description or error.title)
    return from_exception(error)
