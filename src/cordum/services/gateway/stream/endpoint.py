"""Keeping clients company: a WebSocket each, or a response of server-sent events (spec-gateway section 12)."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from enum import StrEnum
from typing import Any, Final

from cordum.runtime import metrics
from cordum.runtime.logging import get_logger
from cordum.services.gateway.errors import ApiError, from_exception
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.stream.admission import Admission, Asked, Visit, is_stream
from cordum.services.gateway.stream.clients import SLOW, Client, Event
from cordum.services.gateway.stream.relay import Relay

log = get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WRITE_SECONDS: Final = 5.0
"""How long one event may take to be written."""
RECHECK_SECONDS: Final = 120.0
RECHECK_TRIES: Final = 3
RECHECK_PAUSE: Final = 0.5
KEEPALIVE_SECONDS: Final = 15.0
"""How often a silent response of server-sent events shows that it is alive."""
_EVENT_STREAM: Final = "text/event-stream"


class Parting(StrEnum):
    """Why a stream ended, for the log."""

    LEFT = "client left"
    SLOW = "client too slow"
    REVOKED = "credential revoked"
    STOPPING = "gateway stops"


_CODES: Final = {Parting.SLOW: SLOW, Parting.REVOKED: 1008, Parting.STOPPING: 1001}


class StreamEndpoint:
    """The ASGI application in front of the others: takes the streams out, hands on everything else."""

    def __init__(
        self,
        application: Callable[[Any, Any, Any], Awaitable[None]],
        parts: Parts,
        relay: Relay,
    ) -> None:
        self._application = application
        self._parts = parts
        self._relay = relay
        self._admission = Admission(parts)

    def __call__(self, scope: Any, receive: Receive, send: Send) -> Awaitable[None]:
        """Serves one connection or request."""
        if scope["type"] == "websocket":
            return self._websocket(scope, receive, send)
        if scope["method"] == "GET" and is_stream(scope["path"]) and _wants_events(scope):
            return self._sse(scope, receive, send)
        return self._application(scope, receive, send)

    async def _websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        await receive()  # that it wants to connect
        try:
            visit = await self._enter(scope, scope["subprotocols"])
        except Exception as error:
            await _refuse(send, error, "websocket.http.response")
            return
        client = visit.client

        async def tell(event: Event) -> None:
            await send({"type": "websocket.send", "text": event.body})

        async def until_gone() -> None:
            while (await receive())["type"] != "websocket.disconnect":
                pass

        try:
            await send({"type": "websocket.accept", "subprotocol": visit.subprotocol or None})
            parting = await self._accompany(visit, tell, until_gone)
        finally:
            await self._relay.leave(client)
        if code := _CODES.get(parting):
            try:
                async with asyncio.timeout(WRITE_SECONDS if parting is not Parting.SLOW else 0.1):
                    await send({"type": "websocket.close", "code": code, "reason": parting.value})
            except (TimeoutError, OSError):
                pass

    async def _sse(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            visit = await self._enter(scope, ())
        except Exception as error:
            await _refuse(send, error, "http.response")
            return
        headers = [
            (b"content-type", _EVENT_STREAM.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        if origin := _headers(scope).get("origin"):
            headers += [(name.lower().encode(), text.encode()) for name, text in self._cors(origin).items()]

        async def write(text: str) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        async def tell(event: Event) -> None:
            await write(f"event: {event.kind}\nid: {event.number}\ndata: {event.body}\n\n")

        async def until_gone() -> None:
            waiting = asyncio.ensure_future(_gone(receive))
            try:
                while not (await asyncio.wait({waiting}, timeout=KEEPALIVE_SECONDS))[0]:
                    await write(": still here\n\n")
            finally:
                waiting.cancel()

        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await write(": you are connected\n\n")
            await self._accompany(visit, tell, until_gone)
        finally:
            await self._relay.leave(visit.client)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _cors(self, origin: str) -> dict[str, str]:
        return self._admission.headers_for(origin)

    async def _enter(self, scope: Any, subprotocols: Any) -> Visit:
        peer = scope.get("client")
        asked = Asked(
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=_headers(scope),
            peer=peer[0] if peer else "",
            subprotocols=list(subprotocols),
        )
        visit = await self._admission.admit(asked)
        await self._relay.join(visit.client)
        return visit

    async def _accompany(
        self, visit: Visit, tell: Callable[[Event], Awaitable[None]], until_gone: Callable[[], Awaitable[None]]
    ) -> Parting:
        """Tells a client of its events until it leaves, or has to."""
        clock, conn_id = self._parts.clock, self._parts.ids.token(8)
        began, tenant = clock.monotonic(), visit.client.tenant
        log.info("a stream begins", event="stream_opened", conn_id=conn_id, tenant=tenant, caller=visit.caller.name)
        works: dict[asyncio.Future[Parting], str] = {
            asyncio.ensure_future(_write_events(visit.client, tell)): "write",
            asyncio.ensure_future(_read_on(until_gone)): "read",
            asyncio.ensure_future(self._until_revoked(visit)): "recheck",
        }
        parting = Parting.LEFT
        try:
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            parting = next(iter(done)).result()
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            lasted = clock.monotonic() - began
            metrics.WS_DURATION.observe(lasted)
            log.info(
                "a stream ends",
                event="stream_closed",
                conn_id=conn_id,
                tenant=tenant,
                caller=visit.caller.name,
                reason=parting.value,
                seconds=round(lasted, 1),
            )
        return parting

    async def _until_revoked(self, visit: Visit) -> Parting:
        clock = self._parts.clock
        while True:
            await clock.sleep(RECHECK_SECONDS)
            for attempt in range(RECHECK_TRIES):
                if attempt:
                    await clock.sleep(RECHECK_PAUSE)
                if self._admission.still_valid(visit):
                    metrics.WS_REVALIDATIONS.labels("valid").inc()
                    break
            else:
                metrics.WS_REVALIDATIONS.labels("revoked").inc()
                return Parting.REVOKED


async def _write_events(client: Client, tell: Callable[[Event], Awaitable[None]]) -> Parting:
    while (event := await client.next()) is not None:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await tell(event)
        except TimeoutError:
            metrics.WS_EVICTIONS.inc()
            return Parting.SLOW
        except OSError:
            return Parting.LEFT
    return Parting.SLOW if client.evicted else Parting.STOPPING


async def _read_on(until_gone: Callable[[], Awaitable[None]]) -> Parting:
    await until_gone()
    return Parting.LEFT


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(scope: Any) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _wants_events(scope: Any) -> bool:
    accepted = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return _EVENT_STREAM.encode() in accepted


async def _refuse(send: Send, error: Exception, kind: str) -> None:
    """Answers as every route does, in place of a stream."""
    failure = error if isinstance(error, ApiError) else from_exception(error)
    if failure.status >= 500:
        log.error("a stream is refused", event="stream_refused", code=failure.slug, exc_info=error)
    body = failure.body()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in failure.headers.items()),
    ]
    if failure.retry_after is not None:
        headers.append((b"retry-after", str(failure.retry_after).encode()))
    await send({"type": f"{kind}.start", "status": failure.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})
