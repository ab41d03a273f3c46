"""Leases: who does a thing for now (spec-scheduler section 6).

Never what keeps it from being done twice: that is a fence on the record.
"""

import msgspec

from cordum.runtime.ids import Ids
from cordum.store import scripts
from cordum.store.batch import Batcher
from cordum.store.errors import LeaseLostError
from cordum.store.link import Command


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Proof that we hold a key.

    Attributes:
        ttl: seconds it lasts, from taking or from the last renewal.
    """

    key: str
    token: str
    ttl: float


class Leases:
    """Takes, renews and releases. Every method raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, ids: Ids) -> None:
        self._batcher = batcher
        self._ids = ids

    async def acquire(self, key: str, ttl_s: float) -> Lease | None:
        """The lease, or None when somebody else holds it."""
        lease = Lease(key=key, token=self._ids.new(), ttl=ttl_s)
        command: Command = ("SET", key, lease.token, "NX", "PX", _millis(ttl_s))
        return lease if (await self._batcher.submit([command]))[0] == "OK" else None

    async def renew(self, lease: Lease) -> None:
        """Starts the lease's time anew.

        Raises:
            LeaseLostError: it ran out; somebody else may hold it now.
        """
        call: Command = ("EVALSHA", scripts.RENEW.sha, 1, lease.key, lease.token, _millis(lease.ttl))
        if (await self._batcher.submit([call]))[0] != 1:
            raise LeaseLostError(f"the lease on {lease.key} has run out")

    async def release(self, lease: Lease) -> bool:
        """Lets go. False: it had run out already; what somebody else holds now is not touched."""
        call: Command = ("EVALSHA", scripts.RELEASE.sha, 1, lease.key, lease.token)
        return (await self._batcher.submit([call]))[0] == 1


def _millis(seconds: float) -> int:
    return max(1, round(seconds * 1000))
