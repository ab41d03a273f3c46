"""Policy bundles: what is in force, what is drafted, and the last snapshots (spec-safety section 5).

`cfg:system:policy` has the bundles in force, `cfg:system:policy_drafts` those written and not published yet,
`cfg:system:policy_snapshots` the last ten states to go back to. Each is changed by compare-and-set only. What is in
force is copied to the hash `cordum:policies`, which the guide's backup dumps; where only that copy came back, it is
what counts.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.store import keys, scripts
from cordum.store.batch import Batcher
from cordum.store.configs import ConfigDoc, Configs
from cordum.store.errors import BadDocumentError, StoreConflictError
from cordum.store.link import Payload
from cordum.store.snapshots import PolicySnapshot, packed, unpacked

SCOPE: Final = "system"
POLICY_ID: Final = "policy"
DRAFTS_ID: Final = "policy_drafts"
SNAPSHOTS_ID: Final = "policy_snapshots"

TRIES: Final = 25
"""How often a change is tried again while others are faster."""
_PAUSE_SECONDS: Final = 0.03

log = get_logger(__name__)

RawBundles = dict[str, Any]
"""Bundle id -> the bundle as stored: its text, or an object with `content`, `enabled`, `author`, …"""


class PolicyState(msgspec.Struct, frozen=True, kw_only=True):
    """The bundles as stored at one moment.

    Attributes:
        bundles: by id.
        manifest: what was signed about all of them together; None when nothing was.
        revision: counts the changes of what is in force; never goes back, also not by a rollback or a restore.
        published_at: RFC 3339 time of the last change, "" for never.
        config_revision: of the document, for the next compare-and-set.
        mirrored: revision of the copy in `cordum:policies`, 0 for none.
    """

    bundles: RawBundles = {}
    manifest: Any = None
    revision: int = 0
    published_at: str = ""
    config_revision: int = 0
    mirrored: int = 0


class Policies:
    """The bundles of the installation. Raises StoreUnavailableError when Redis does not answer in time, and
    BadDocumentError for a stored document that cannot be read: it is never overwritten."""

    def __init__(self, batcher: Batcher, configs: Configs, clock: Clock) -> None:
        self._batcher = batcher
        self._configs = configs
        self._clock = clock
        # Within one process changes wait for each other; between processes the revision decides.
        self._turn = asyncio.Lock()

    async def in_force(self) -> PolicyState:
        """What is stored now. A copy that lags is written again; a document that is gone is restored from it."""
        document = await self._configs.get(SCOPE, POLICY_ID)
        reply = (await self._batcher.submit([Payload(("HMGET", keys.POLICIES, "revision", "document"))]))[0]
        mirrored, copy = _read_copy(reply)
        if document is None and copy is not None:
            document = await self._restore(copy)
        if document is None:
            return PolicyState(mirrored=mirrored)
        state = _state(document, mirrored)
        if mirrored > state.revision:
            log.warning(
                "cordum:policies is newer than cfg:system:policy, which stays in force",
                event="policy_copy_is_newer",
                revision=state.revision,
                copy=mirrored,
            )
        elif mirrored < state.revision:
            await self._copy(state)
        return state

    async def replace(
        self, state: PolicyState, bundles: Mapping[str, Any], manifest: object, revision: int
    ) -> PolicyState:
        """Puts other bundles in force, in the place of exactly `state`.

        Args:
            revision: the new one, `next_revision(state)`, which the manifest was made for.

        Raises:
            StoreConflictError: something else is in force by now; read again.
        """
        data = {
            "bundles": dict(bundles),
            "manifest": manifest,
            "policy_revision": revision,
            "published_at": self.now(),
        }
        state = _state(await self._configs.put(SCOPE, POLICY_ID, data, state.config_revision), state.mirrored)
        await self._copy(state)
        return state

    async def drafts(self) -> RawBundles:
        """What is written and not published, by bundle id."""
        document = await self._configs.get(SCOPE, DRAFTS_ID)
        return _object(document.data.get("bundles")) if document else {}

    async def change_drafts(self, change: Callable[[RawBundles], RawBundles]) -> RawBundles:
        """Changes the drafts; nobody's concurrent change is lost.

        Args:
            change: from the drafts as stored to those wanted; may be called again.

        Raises:
            StoreConflictError: others were faster every time.
        """
        document = await self._update(DRAFTS_ID, lambda data: {"bundles": change(_object(data.get("bundles")))})
        return _object(document.data.get("bundles"))

    async def snapshots(self) -> tuple[PolicySnapshot, ...]:
        """The kept snapshots, newest first."""
        document = await self._configs.get(SCOPE, SNAPSHOTS_ID)
        return unpacked(document.data) if document else ()

    async def keep_snapshot(self, snapshot: PolicySnapshot) -> PolicySnapshot:
        """Keeps a snapshot as the newest, unless the newest holds the very same bundles: then that one is answered."""
        kept = snapshot

        def change(data: dict[str, Any]) -> Mapping[str, Any]:
            nonlocal kept
            before = unpacked(data)
            kept = snapshot
            if before and before[0].digest == snapshot.digest and not snapshot.note:
                kept = before[0]
                return data
            return packed((snapshot, *before))

        await self._update(SNAPSHOTS_ID, change)
        return kept

    def now(self) -> str:
        """RFC 3339, as stored documents spell times."""
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat().replace("+00:00", "Z")

    async def _update(self, scope_id: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> ConfigDoc:
        async with self._turn:
            for left in range(TRIES - 1, -1, -1):
                try:
                    return await self._configs.update(SCOPE, scope_id, change, tries=1)
                except StoreConflictError:
                    if not left:
                        raise
                    await self._clock.sleep(random.uniform(0, _PAUSE_SECONDS))
        raise StoreConflictError

    async def _restore(self, copy: dict[str, Any]) -> ConfigDoc | None:
        log.warning("the policy in force is restored from cordum:policies", event="policy_restored_from_copy")
        try:
            return await self._configs.put(SCOPE, POLICY_ID, copy, 0)
        except StoreConflictError:
            return await self._configs.get(SCOPE, POLICY_ID)

    async def _copy(self, state: PolicyState) -> None:
        document = {
            "bundles": state.bundles,
            "manifest": state.manifest,
            "policy_revision": state.revision,
            "published_at": state.published_at,
        }
        await self._batcher.submit(
            [
                (
                    "EVALSHA",
                    scripts.MIRROR_POLICY.sha,
                    1,
                    keys.POLICIES,
                    state.revision,
                    msgspec.json.encode(document),
                )
            ]
        )


def next_revision(state: PolicyState) -> int:
    """The revision of the next change: beyond the copy's too, which may come from before a restore."""
    return max(state.revision, state.mirrored) + 1


def _state(document: ConfigDoc, mirrored: int) -> PolicyState:
    data = document.data
    revision = data.get("policy_revision")
    return PolicyState(
        bundles=_object(data.get("bundles")),
        manifest=data.get("manifest"),
        # A document another tool has written has no count of its own; its revision serves.
        revision=revision if isinstance(revision, int) else document.revision,
        published_at=str(data.get("published_at") or document.updated_at),
        config_revision=document.revision,
        mirrored=mirrored,
    )


def _object(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadDocumentError("the stored bundles are not an object")
    return value


def _read_copy(reply: object) -> tuple[int, dict[str, Any] | None]:
    """The copy's revision and document; 0 and None for none, or for one that cannot be read."""
    if not isinstance(reply, list) or len(reply) != 2:
        return 0, None
    revision, document = reply
    if not isinstance(revision, bytes) or not isinstance(document, bytes):
        return 0, None
    try:
        return int(revision), msgspec.json.decode(document, type=dict[str, Any])
    except (ValueError, msgspec.MsgspecError):
        log.error("error: cordum:policies cannot be read", event="policy_copy_unreadable")
        return 0, None
