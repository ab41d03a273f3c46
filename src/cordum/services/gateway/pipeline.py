"""What every request passes between the router and its handler (spec-gateway section 1.1, spec-auth section 2.5).

Outermost is `edge.Edge`: request id, log, origin, headers. Then, here: address limiter, authentication, tenant limiter,
tenant, permission, body, handler.
"""

from collections.abc import Mapping
from typing import Any, Final

import falcon.asgi
import msgspec

from cordum.core.access.credentials import credential_of
from cordum.core.access.permissions import Permission
from cordum.core.ids import TenantId
from cordum.services.gateway.answer import Answer
from cordum.services.gateway.auditing import RECORDED
from cordum.services.gateway.authentication import tenant_of
from cordum.services.gateway.call import NOBODY, Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.profiles import Profile, adapter_of, profile_of
from cordum.services.gateway.ratelimit import bucket_of
from cordum.services.gateway.route import Body, Open, Route

MAX_PARAM: Final = 512  # characters of one variable part of a path


class Pipeline:
    """Serves one route."""

    def __init__(self, route: Route, parts: Parts) -> None:
        self._route = route
        self._parts = parts
        self._handler = route.handler
        self._access = route.permission
        self._recorded = route.method != "GET" and route.permission in RECORDED
        self._adapter = adapter_of(route.method, route.path)
        self._query = route.query
        self._body = BodyReader(route.body, parts) if route.body is not None else None

    async def respond(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: str) -> None:
        """The responder Falcon's router calls."""
        state = req.context
        access = self._access
        if isinstance(access, Permission) or access is Open.ANY_CALLER:
            caller = self._parts.authenticator.authenticate(
                credential_of(req.get_header("AUTHORIZATION"), req.get_header("X-API-KEY")),
                req.get_header("X-PRINCIPAL-ID"),
                state.address,
            )
            state.caller = caller
            self._parts.tenant_limiter.demand(f"tenant:{caller.tenant}")
            tenant = tenant_of(caller, req.get_header("X-TENANT-ID"))
            if isinstance(access, Permission) and not caller.may(access):
                raise ApiError("access_denied", extra={"required": access.value})
            if self._recorded:
                await self._parts.auditor.demand()
        else:
            if access is Open.PUBLIC:
                self._parts.public_limiter.demand(bucket_of(state.address))
            caller, tenant = NOBODY, TenantId("")
        call = Call(
            caller=caller,
            tenant=tenant,
            path=req.path,
            header=req.get_header,
            request_id=state.request_id,
            params=_checked(params) if params else params,
            query=None if self._query is None else _query(self._query, req.params),
            raw_query=req.params if self._query is not None else {},
            body=None if self._body is None else await self._body.read(req),
        )
        made = await self._handler(self._parts, call)
        if self._adapter is not None and made.body and self._profile(req) is Profile.SDK:
            made = msgspec.structs.replace(
                made, body=msgspec.json.encode(self._adapter(msgspec.json.decode(made.body)))
            )
        _write(made, resp)

    @staticmethod
    def _profile(req: falcon.asgi.Request) -> Profile:
        return profile_of(req.get_header("USER-AGENT"), req.get_header("ACCEPT"))


class BodyReader:
    """Reads, bounds and decodes the body of one route."""

    def __init__(self, body: Body, parts: Parts) -> None:
        self._required = body.required
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body.type)
        self._limit: int = getattr(parts.settings, body.limit)

    async def read(self, req: falcon.asgi.Request) -> object:
        """The decoded body, None for an empty one that may be empty; raises ApiError 400 or 413."""
        limit = self._limit
        if (req.content_length or 0) > limit:
            raise self._too_large()
        # Cut off one byte past the limit: whoever sends no length is measured as it comes.
        data = await req.stream.read(limit + 1)
        if len(data) > limit:
            raise self._too_large()
        if not data.strip():
            if self._required:
                raise invalid("a JSON body is required", "invalid_json")
            return None
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise _violation(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ApiError("invalid_json") from None
        except RecursionError:
            raise invalid("the JSON is nested too deeply", "invalid_json") from None

    def _too_large(self) -> ApiError:
        # The rest of the body is not worth waiting for.
        return ApiError(
            "body_too_large",
            f"the body is larger than {self._limit} bytes",
            extra={"limit": self._limit},
            headers={"Connection": "close"},
        )


def _violation(error: msgspec.ValidationError) -> ApiError:
    message, _, path = str(error).partition(" - at `")
    return ApiError(
        "invalid_request",
        f"invalid request: {error}",
        extra={"violations": [{"path": path.rstrip("`") or "$", "message": message}]},
    )


def _query(wanted: type[msgspec.Struct], sent: Mapping[str, Any]) -> object:
    try:
        return msgspec.convert(sent, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise _violation(error) from None


def _checked(params: dict[str, str]) -> dict[str, str]:
    for name, value in params.items():
        if len(value) > MAX_PARAM:
            raise invalid(f"{name} is longer than {MAX_PARAM} characters", "invalid_path")
    return params


def _write(answer: Answer, resp: falcon.asgi.Response) -> None:
    resp.status = answer.status
    if answer.status != 204:
        resp.data = answer.body
    for name, value in answer.headers:
        resp.set_header(name, value)
