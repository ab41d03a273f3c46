"""What a request shows to prove who sends it, before anything is looked up (spec-auth section 0 C1 and 3.1)."""

import re
from enum import Enum
from typing import Final

import msgspec

from cordum.core.access.keys import stripped

_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class CredentialKind(Enum):
    """A token is routed by its shape; one that is refused is never tried as another kind."""

    NONE = "none"
    API_KEY = "api_key"
    SESSION = "session"
    JWT = "jwt"


class Credential(msgspec.Struct, frozen=True):
    kind: CredentialKind
    secret: str = ""


NO_CREDENTIAL: Final = Credential(CredentialKind.NONE)


def credential_of(authorization: str | None, api_key: str | None) -> Credential:
    """The credential of a request.

    Args:
        authorization: the `Authorization` header. `Bearer` comes first, other schemes are not ours.
        api_key: the `X-API-Key` header.
    """
    if authorization:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and (token := stripped(token)):
            return _by_shape(token)
    if api_key and (key := stripped(api_key)):
        return _by_shape(key) if key.startswith("session-") else Credential(CredentialKind.API_KEY, key)
    return NO_CREDENTIAL


def _by_shape(token: str) -> Credential:
    if token.startswith("session-"):
        return Credential(CredentialKind.SESSION, token)
    if token.count(".") == 2 and _JWT.fullmatch(token):
        return Credential(CredentialKind.JWT, token)
    return Credential(CredentialKind.API_KEY, token)
