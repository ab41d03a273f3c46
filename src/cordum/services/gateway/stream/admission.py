"""Who may watch, and what (spec-gateway section 12): origin, credential, tenant, permission, as for every request.

A browser cannot set headers on a WebSocket, so the key may also come as a subprotocol: `cordum-api-key` and the key in
base64url, as two entries or with a dot between them.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

import msgspec

from cordum.core.access.caller import Caller
from cordum.core.access.credentials import Credential, CredentialKind, credential_of
from cordum.core.access.permissions import Permission
from cordum.core.ids import JobId
from cordum.services.gateway.authentication import tenant_of
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.origins import Origins
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.ratelimit import client_address
from cordum.services.gateway.stream.clients import Client

SUBPROTOCOL: Final = "cordum-api-key"
"""The one subprotocol we speak; never the entry with the key, which is not to be sent back."""

ALL_PATH: Final = "/api/v1/stream"
_JOB_PATH: Final = re.compile(r"/api/v1/jobs/([^/]{1,512})/stream")
_LONGEST_QUERY: Final = 4096  # bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request to watch. Names of headers are lower case."""

    path: str
    query: str
    headers: Mapping[str, str]
    peer: str
    subprotocols: Sequence[str] = ()


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may watch.

    Attributes:
        credential: what it showed, to be looked at again while it watches.
        subprotocol: what is to be echoed; "" = nothing.
    """

    client: Client
    caller: Caller
    credential: Credential
    address: str
    subprotocol: str


def is_stream(path: str) -> bool:
    """Whether there is a stream at a path."""
    return path.rstrip("/") == ALL_PATH or _JOB_PATH.fullmatch(path.rstrip("/")) is not None


class Admission:
    """Lets clients in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._origins = Origins(parts.settings.allowed_origins)

    def headers_for(self, origin: str) -> dict[str, str]:
        """What an answer to a page of an allowed origin carries."""
        return self._origins.headers(origin)

    async def admit(self, asked: Asked) -> Visit:
        """Decides about one request.

        Raises:
            ApiError: it may not watch, or there is nothing to watch.
            StoreError: it is not known.
        """
        headers, parts = asked.headers, self._parts
        origin = headers.get("origin")
        if origin is not None and not self._origins.allows(origin, headers.get("host")):
            raise ApiError("origin_not_allowed")
        path = asked.path.rstrip("/")
        job = _JOB_PATH.fullmatch(path)
        if job is None and path != ALL_PATH:
            raise ApiError("not_found")
        address = client_address(asked.peer, headers.get("x-forwarded-for"), parts.settings.trusted_proxies)
        credential = credential_of(headers.get("authorization"), headers.get("x-api-key"))
        if credential.kind is CredentialKind.NONE:
            credential = _credential_in(asked.subprotocols)
        caller = parts.authenticator.authenticate(credential, headers.get("x-principal-id"), address)
        parts.tenant_limiter.demand(f"tenant:{caller.tenant}")
        tenant = tenant_of(caller, headers.get("x-tenant-id") or _tenant_in(asked.query))
        needed = Permission.STREAM_READ if job is None else Permission.JOBS_READ
        if not caller.may(needed):
            raise ApiError("access_denied", extra={"required": needed.value})
        job_id = JobId(job.group(1)) if job is not None else JobId("")
        if job_id:
            record = await parts.store.jobs.get(job_id)
            if record is None or record.tenant != tenant:
                raise ApiError("job_not_found")
        buffer = parts.settings.ws_client_buffer_size
        client = Client(tenant, buffer=buffer, job_id=job_id, crosses=caller.cross_tenant)
        return Visit(
            client=client,
            caller=caller,
            credential=credential,
            address=address,
            # Only what was offered may be echoed, and an entry with the key in it must not be.
            subprotocol=SUBPROTOCOL if SUBPROTOCOL in asked.subprotocols else "",
        )

    def still_valid(self, visit: Visit) -> bool:
        """Whether the credential still stands for the same caller with the same rights."""
        try:
            caller = self._parts.authenticator.authenticate(visit.credential, None, visit.address)
        except ApiError:
            return False
        before = visit.caller
        return (caller.tenant, caller.role, caller.cross_tenant) == (before.tenant, before.role, before.cross_tenant)


def _tenant_in(query: str) -> str | None:
    if len(query) > _LONGEST_QUERY:
        raise ApiError("invalid_request", "the query is too long")
    named = parse_qs(query, max_num_fields=20).get("tenant_id")
    return named[0] if named else None


def _credential_in(subprotocols: Sequence[str]) -> Credential:
    """The key among the offered subprotocols."""
    for at, name in enumerate(subprotocols):
        kind, dot, key = name.partition(".")
        if kind != SUBPROTOCOL:
            continue
        if not dot:
            key = next((other for other in subprotocols[at + 1 :] if other != SUBPROTOCOL), "")
        if key:
            return credential_of(None, _decoded(key))
    return Credential(CredentialKind.NONE)


def _decoded(key: str) -> str:
    """The key as text: base64 of either alphabet, padded or not; what is no base64 of a text is the key itself."""
    padded = key.rstrip("=") + "=" * (-len(key.rstrip("=")) % 4)
    try:
        text = base64.b64decode(padded.translate(_STANDARD), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return key
    return text if text and text.isprintable() else key


_STANDARD: Final = str.maketrans("-_", "+/")
