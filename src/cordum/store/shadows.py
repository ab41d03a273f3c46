"""Shadow policies: candidates that are evaluated beside the policy in force and decide nothing (spec-safety section 9).

`cfg:policy_shadow:<tenant>` has a tenant's candidates, one per bundle. What became of them is written by whoever
evaluates, to `policy:shadow:results:<tenant>:<bundle>`: a list of comparisons, newest first.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cordum.core.ids import TenantId
from cordum.store import keys
from cordum.store.batch import Batcher
from cordum.store.configs import Configs
from cordum.store.errors import BadDocumentError
from cordum.store.link import Payload
from cordum.store.policies import TRIES

SCOPE: Final = "policy_shadow"
RESULTS_KEPT: Final = 1_000
RESULTS_TTL: Final = 7 * 24 * 3600
MAX_SHADOWS: Final = 20
"""Of one tenant: each is evaluated for every one of its jobs."""


class TooManyShadowsError(BadDocumentError):
    """The tenant has as many shadow policies as it may have."""

    code = "too_many_shadows"


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate.

    Attributes:
        id: `shadow-<12 hex>`, new with every new content: results of an older one are not its own.
        bundle_id: in whose place it is evaluated.
        created_at: RFC 3339.
    """

    id: str
    bundle_id: str
    content: str
    author: str = ""
    note: str = ""
    created_at: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One job, decided by both. `diff` is escalated, relaxed, approval_differ or unchanged; `at` Unix milliseconds."""

    shadow_id: str
    at: int
    diff: str
    topic: str = ""
    job_id: str = ""
    active_decision: str = ""
    active_rule_id: str = ""
    shadow_decision: str = ""
    shadow_rule_id: str = ""


class Shadows:
    """Raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher, configs: Configs) -> None:
        self._batcher = batcher
        self._configs = configs

    async def tenants(self) -> list[TenantId]:
        """Whoever has shadows, or had some."""
        members = (await self._batcher.submit([("SMEMBERS", keys.SHADOW_TENANTS)]))[0]
        return sorted(TenantId(str(member)) for member in members) if isinstance(members, list) else []

    async def of(self, tenant: TenantId) -> dict[str, Shadow]:
        """A tenant's shadows by bundle id."""
        document = await self._configs.get(SCOPE, tenant)
        return _read(document.data) if document else {}

    async def put(self, tenant: TenantId, shadow: Shadow) -> None:
        """Keeps a shadow in the place of the bundle's former one. Raises TooManyShadowsError."""

        def change(data: dict[str, Any]) -> Mapping[str, Any]:
            shadows = {**_read(data), shadow.bundle_id: shadow}
            if len(shadows) > MAX_SHADOWS:
                raise TooManyShadowsError(f"{MAX_SHADOWS} shadow policies are the most a tenant may have")
            return _written(shadows)

        # First, so that nobody misses a shadow that is there.
        await self._batcher.submit([("SADD", keys.SHADOW_TENANTS, tenant)])
        await self._configs.update(SCOPE, tenant, change, tries=TRIES)

    async def remove(self, tenant: TenantId, bundle_id: str) -> bool:
        """Takes a shadow away with its results. False: there was none."""
        found = bundle_id in await self.of(tenant)

        def change(data: dict[str, Any]) -> Mapping[str, Any]:
            return _written({name: shadow for name, shadow in _read(data).items() if name != bundle_id})

        if found:
            await self._configs.update(SCOPE, tenant, change, tries=TRIES)
        await self._batcher.submit([("DEL", keys.shadow_results(tenant, bundle_id))])
        return found

    async def record(self, tenant: TenantId, bundle_id: str, comparison: Comparison) -> None:
        """Writes down one comparison, for whoever evaluates."""
        key = keys.shadow_results(tenant, bundle_id)
        await self._batcher.submit(
            [
                ("LPUSH", key, msgspec.json.encode(comparison)),
                ("LTRIM", key, 0, RESULTS_KEPT - 1),
                ("EXPIRE", key, RESULTS_TTL),
            ]
        )

    async def results(self, tenant: TenantId, shadow: Shadow) -> list[Comparison]:
        """What this very candidate was compared on, newest first."""
        command = Payload(("LRANGE", keys.shadow_results(tenant, shadow.bundle_id), 0, RESULTS_KEPT - 1))
        reply = (await self._batcher.submit([command]))[0]
        found = []
        for raw in reply if isinstance(reply, list) else ():
            try:
                comparison = msgspec.json.decode(raw if isinstance(raw, bytes) else b"", type=Comparison)
            except msgspec.MsgspecError:
                continue
            if comparison.shadow_id == shadow.id:
                found.append(comparison)
        return found


def _read(data: Mapping[str, Any]) -> dict[str, Shadow]:
    try:
        return msgspec.convert(data.get("shadows") or {}, dict[str, Shadow])
    except msgspec.ValidationError as error:
        raise BadDocumentError(f"the stored shadow policies cannot be read: {error}") from error


def _written(shadows: Mapping[str, Shadow]) -> dict[str, Any]:
    return {"shadows": {name: msgspec.structs.asdict(shadow) for name, shadow in shadows.items()}}
