"""The text of a session token: `b64url(header).b64url(claims).b64url(signature)` (spec-scheduler 11.4).

Strict in both directions: one claim set has one text, and a text that is not exactly how it would be written is none.
"""

import base64
import binascii
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar, Final

import msgspec
from cryptography.exceptions import InvalidSignature

from cordum.core.errors import CordumError
from cordum.core.ids import TenantId
from cordum.core.sessions.claims import Claims, TokenType
from cordum.core.sessions.keys import SessionKeys, Signer

ALGORITHM: Final = "ed25519"
SKEW: Final = 60
"""Seconds by which two clocks may differ."""

MAX_LIFE: Final = 24 * 3600
"""Seconds; nobody is given a longer session, so a longer one is not ours."""

MAX_TOKEN_LENGTH: Final = 4_096
MAX_TEXT: Final = 256
"""Characters of one claim."""

_JTI: Final = re.compile(r"[0-9a-f]{32}")
_PRINTABLE: Final = re.compile(r"[!-~]{1,256}")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class TokenFault(StrEnum):
    """Why a token does not hold."""

    MALFORMED = "token_malformed"
    WRONG_TYPE = "token_wrong_type"
    UNKNOWN_KEY = "token_unknown_key"
    BAD_SIGNATURE = "token_bad_signature"
    NOT_YET_VALID = "token_not_yet_valid"
    EXPIRED = "token_expired"


class SessionError(CordumError):
    """These claims cannot be put into a token."""

    code: ClassVar[str] = "bad_session_claims"


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    sub: str
    tenant: str
    sdk_ver: str
    jti: str
    iat: str
    exp: str


_ENCODER: Final = msgspec.json.Encoder()
_HEADER: Final = msgspec.json.Decoder(_Header)
_BODY: Final = msgspec.json.Decoder(_Body)


def is_session_shaped(text: str) -> bool:
    """Whether a text has a session token's three parts: other credentials have not."""
    return len(text) <= MAX_TOKEN_LENGTH and _SHAPE.fullmatch(text) is not None


def mint(signer: Signer, kind: TokenType, claims: Claims) -> str:
    """The token of these claims.

    Raises:
        SessionError: they are such that `verify` would refuse them.
    """
    if not (
        _PRINTABLE.fullmatch(claims.sub) and _PRINTABLE.fullmatch(claims.tenant) and len(claims.sdk_ver) <= MAX_TEXT
    ):
        raise SessionError("a subject or tenant that is empty, too long or not printable ASCII")
    if not _JTI.fullmatch(claims.jti) or not 0 < claims.exp - claims.iat <= MAX_LIFE:
        raise SessionError("a token id that is not 32 hex digits, or a life that is not up to a day")
    body = _Body(claims.sub, claims.tenant, claims.sdk_ver, claims.jti, _written(claims.iat), _written(claims.exp))
    signed = f"{_b64(_ENCODER.encode(_Header(ALGORITHM, signer.kid, kind.value)))}.{_b64(_ENCODER.encode(body))}"
    token = f"{signed}.{_b64(signer.sign(signed.encode()))}"
    if len(token) > MAX_TOKEN_LENGTH:
        raise SessionError("claims too long for a token")
    return token


def verify(token: str, kind: TokenType, keys: SessionKeys, now: float) -> Claims | TokenFault:
    """What a token says, if a trusted key signed it for this purpose and its time is now.

    Args:
        now: Unix seconds; the token's own times may be SKEW seconds off.
    """
    parts = _parts(token)
    if parts is None:
        return TokenFault.MALFORMED
    header_bytes, body_bytes, signature = parts
    try:
        header = _HEADER.decode(header_bytes)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return TokenFault.MALFORMED
    if header.alg != ALGORITHM:
        return TokenFault.MALFORMED
    if header.typ != kind.value:
        return TokenFault.WRONG_TYPE
    key = keys.find(header.kid)
    if key is None:
        return TokenFault.UNKNOWN_KEY
    try:
        key.verify(signature, token.rpartition(".")[0].encode())
    except InvalidSignature:
        return TokenFault.BAD_SIGNATURE
    return _claims(body_bytes, now)


def _claims(data: bytes, now: float) -> Claims | TokenFault:
    try:
        body = _BODY.decode(data)
        iat, exp = _read(body.iat), _read(body.exp)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return TokenFault.MALFORMED
    if not (_PRINTABLE.fullmatch(body.sub) and _PRINTABLE.fullmatch(body.tenant) and len(body.sdk_ver) <= MAX_TEXT):
        return TokenFault.MALFORMED
    if not _JTI.fullmatch(body.jti) or not 0 < exp - iat <= MAX_LIFE:
        return TokenFault.MALFORMED
    if iat > now + SKEW:
        return TokenFault.NOT_YET_VALID
    if exp <= now - SKEW:
        return TokenFault.EXPIRED
    return Claims(sub=body.sub, tenant=TenantId(body.tenant), jti=body.jti, iat=iat, exp=exp, sdk_ver=body.sdk_ver)


def _parts(token: str) -> tuple[bytes, bytes, bytes] | None:
    if not is_session_shaped(token):
        return None
    header, body, signature = token.split(".")
    try:
        return _unb64(header), _unb64(body), _unb64(signature)
    except (binascii.Error, ValueError):
        return None


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The last character has bits that mean nothing; a text in which they are set is another token with the same bytes.
    if _b64(data) != text:
        raise ValueError("not canonical")
    return data


def _written(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(text: str) -> int:
    if not _MOMENT.fullmatch(text):
        raise ValueError("not a moment")
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
