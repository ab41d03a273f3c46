"""What a session token says."""

from enum import StrEnum

import msgspec

from cordum.core.ids import TenantId


class TokenType(StrEnum):
    """The header's `typ`: a token of one kind never passes for the other."""

    SESSION = "cordum-session"
    """A worker's, out of its handshake."""
    SERVICE = "cordum-service"
    """A process of the control plane's, made by itself."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Whose token it is, and for how long.

    Attributes:
        sub: the worker's id, or the name of a part of the control plane.
        jti: names this one token, 32 hex digits.
        iat, exp: Unix seconds, whole ones; written as RFC 3339.
        sdk_ver: the version the worker's SDK has told.
    """

    sub: str
    tenant: TenantId
    jti: str
    iat: int
    exp: int
    sdk_ver: str = ""
