"""Who calls: from the credential a request shows to a `Caller`, the same for HTTP and gRPC (spec-auth section 3)."""

from collections.abc import Callable
from typing import Final

import msgspec

from cordum.core.access.caller import Caller
from cordum.core.access.credentials import Credential, CredentialKind
from cordum.core.access.keys import Keyring, is_tenant_id
from cordum.core.ids import PrincipalId, TenantId
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.ratelimit import RateLimiter, bucket_of

log = get_logger(__name__)

MAX_PRINCIPAL: Final = 256  # characters
_REALM: Final = {"WWW-Authenticate": 'Bearer realm="cordum"'}
_REFUSALS: Final = {
    CredentialKind.NONE: None,
    CredentialKind.API_KEY: None,
    CredentialKind.SESSION: "unauthorized: session tokens are not accepted here, send an API key",
    CredentialKind.JWT: "unauthorized: JSON web tokens are not accepted here, send an API key",
}


class Authenticator:
    """Turns credentials into callers; slows down who keeps showing wrong ones."""

    def __init__(
        self, keyring: Callable[[], Keyring], failures: RateLimiter, clock: Clock, *, trusts_header_principal: bool
    ) -> None:
        """`keyring` is asked each time, so that a reload counts at once."""
        self._keyring = keyring
        self._failures = failures
        self._clock = clock
        self.trusts_header_principal = trusts_header_principal

    def authenticate(self, credential: Credential, principal: str | None, address: str) -> Caller:
        """The caller behind a credential.

        Args:
            principal: the `X-Principal-Id` header; counts only where trusted and the credential names nobody.
            address: the client's address, whose failures are counted.

        Raises:
            ApiError: 401, or 429 when too many came from this address.
        """
        caller = None
        if credential.kind is CredentialKind.API_KEY:
            caller = self._keyring().find(credential.secret, self._clock.now())
        if caller is None:
            self._failures.demand(f"auth:{bucket_of(address)}")
            log.warning("authentication failed", event="auth_failure", kind=credential.kind.value, remote=address)
            raise ApiError("unauthorized", _REFUSALS[credential.kind], headers=_REALM)
        if principal and not caller.principal and self.trusts_header_principal:
            return _named(caller, principal)
        return caller


def _named(caller: Caller, principal: str) -> Caller:
    principal = principal.strip()
    if len(principal) > MAX_PRINCIPAL or not principal.isprintable():
        raise invalid("X-Principal-Id is too long or not printable", "invalid_principal")
    return msgspec.structs.replace(caller, principal=PrincipalId(principal), claimed=True)


def tenant_of(caller: Caller, named: str | None) -> TenantId:
    """The tenant a request acts for: the named one, which must be the credential's own unless it may cross.

    Raises:
        ApiError: 403 for another tenant, 400 for a name no tenant can have.
    """
    named = (named or "").strip()
    if not named or named == caller.tenant:
        return caller.tenant
    if not caller.cross_tenant:
        raise ApiError("tenant_access_denied")
    if not is_tenant_id(named):
        raise invalid("invalid tenant id")
    return TenantId(named)
