"""Tokens by which the control plane's own processes are known (spec-scheduler 11.4): they make them for themselves."""

from typing import Final

from cordum.core.ids import TenantId
from cordum.core.sessions import Claims, Signer, TokenType, mint
from cordum.runtime.clock import Clock
from cordum.runtime.ids import Ids

SYSTEM_TENANT: Final = TenantId("_system")
LIFE: Final = 300
"""Seconds a service token holds."""

USED_FOR: Final = 120
"""Seconds a token is used before another one is made; what it is sent with must still be read in time."""


class ServiceTokens:
    """The token of one process under each name it speaks by; "" where it has no key to sign one with."""

    def __init__(self, signer: Signer | None, clock: Clock, ids: Ids) -> None:
        self._signer = signer
        self._clock = clock
        self._ids = ids
        self._made: dict[str, tuple[float, str]] = {}

    def token(self, subject: str) -> str:
        """A token for what is sent now.

        Args:
            subject: the reserved name it is sent under.
        """
        if self._signer is None:
            return ""
        now = self._clock.now()
        made = self._made.get(subject)
        # Also when the clock was set back: a token from the future would be refused.
        if made is not None and 0 <= now - made[0] < USED_FOR:
            return made[1]
        iat = int(now)
        claims = Claims(sub=subject, tenant=SYSTEM_TENANT, jti=self._ids.token(16), iat=iat, exp=iat + LIFE)
        token = mint(self._signer, TokenType.SERVICE, claims)
        self._made[subject] = now, token
        return token
