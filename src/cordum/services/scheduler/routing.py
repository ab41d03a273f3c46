"""The routing in force: files copied into the store once, the store read again whenever it may have changed.

What operators change in `cfg:system:default` and `cfg:system:topics` wins over the files; a changed file adds what is
missing (spec-scheduler 7.3). A configuration that cannot be used changes nothing: the old one stays in force.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from cordum.core.errors import CordumError
from cordum.core.routing.pools import parse_stored_pools, pools_data, with_missing
from cordum.core.routing.routes import Routes, compile_routes
from cordum.core.routing.timeouts import TimeoutsConfig, parse_timeouts
from cordum.core.routing.topics import TopicRegistry, parse_topics, registrations_from_pools
from cordum.runtime import metrics
from cordum.runtime.logging import get_logger
from cordum.services.scheduler.config_files import ConfigFiles
from cordum.services.scheduler.ticket import SELF_COMPLETING
from cordum.store import Store

log = get_logger(__name__)

SYSTEM: Final = "system"
DEFAULT: Final = "default"
TOPICS: Final = "topics"
POOLS_HASH: Final = "_poolsFileHash"
TIMEOUTS_HASH: Final = "_timeoutsFileHash"
WRITE_TRIES: Final = 5

Document = dict[str, Any]


class LiveRoutes:
    """Holds the routes in force and keeps them up to date.

    Attributes:
        now: the view in force; take it once per decision.
    """

    def __init__(self, store: Store, files: ConfigFiles) -> None:
        self._store = store
        self._files = files
        self._files_are_new = True
        self._topics_are_new = False
        self._on_change: list[Callable[[], None]] = []
        self._asked = asyncio.Event()
        self.now: Routes = compile_routes(files.pools, TopicRegistry({}), files.timeouts)

    def on_change(self, call: Callable[[], None]) -> None:
        """Calls back after the routes have changed."""
        self._on_change.append(call)

    def refresh_soon(self) -> None:
        """Something says the stored configuration changed; many such words make one reading."""
        self._asked.set()

    def use_files(self, files: ConfigFiles) -> None:
        """Takes newly read files; they are merged into the store with the next refresh."""
        self._files = files
        self._files_are_new = True
        self._asked.set()

    async def start(self) -> None:
        """Writes what is missing in the store and loads it.

        Raises:
            StoreError: the store does not answer.
            RoutingConfigError: what is stored cannot be used, and there is no older configuration to fall back on.
        """
        await self._load()

    async def run(self, interval: float) -> None:
        """Reads the stored configuration again every `interval` seconds, and when asked."""
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), interval)
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self._load()
            except CordumError as error:
                log.error("configuration not reloaded, the old one stays", event="config_rejected", error=error.message)

    async def _load(self) -> None:
        merging, from_files = self._files, self._files_are_new
        default = await self._merged(DEFAULT, self._with_files if from_files else self._with_what_lacks)
        topics = await self._merged(TOPICS, self._with_topics)
        if self._files is merging:
            self._files_are_new = self._topics_are_new = False
        source = f"cfg:{SYSTEM}:{DEFAULT}"
        pools = parse_stored_pools(default.get("pools"), f"{source}: pools")
        timeouts = parse_timeouts(_timeouts_part(default), f"{source}: timeouts")
        registry = parse_topics(topics, f"cfg:{SYSTEM}:{TOPICS}")
        revision = _digest([default.get("pools"), default.get("timeouts"), topics])
        if revision == self.now.revision:
            return
        before = self.now
        self.now = compile_routes(pools, registry, timeouts, revision)
        for pool in before.offers.keys() - self.now.offers.keys():
            metrics.LAST_HEARTBEAT.remove(pool)
        log.info(
            "routing loaded",
            event="routing_loaded",
            pools=len(self.now.offers),
            topics=len(self.now.by_topic),
            registered=len(registry),
            revision=revision[:12],
        )
        for call in self._on_change:
            call()

    async def _merged(self, scope_id: str, merge: Callable[[Document], Document]) -> Document:
        """A stored document with what it lacks; written back only when something was missing."""
        stored = await self._store.configs.get(SYSTEM, scope_id)
        if stored is not None and merge(stored.data) == stored.data:
            return stored.data
        return (await self._store.configs.update(SYSTEM, scope_id, merge, tries=WRITE_TRIES)).data

    def _with_what_lacks(self, data: Document) -> Document:
        """Fills in only what is not there at all: deleting `pools` or `timeouts` has them taken from the files again.

        A replica whose files are older than a peer's (an update rolls on) must not put its own back in between, so the
        files are compared only when they have just been read.
        """
        from_pools, from_timeouts = pools_data(self._files.pools), msgspec.to_builtins(self._files.timeouts)
        merged = {"safety": {"enabled": True, "mode": "enforce"}, "rate_limits": {"enabled": True}, **data}
        if merged.get("pools") is None:
            merged |= {"pools": from_pools, POOLS_HASH: _digest(from_pools)}
            self._topics_are_new = True
        if merged.get("timeouts") is None:
            merged |= {"timeouts": from_timeouts, TIMEOUTS_HASH: _digest(from_timeouts)}
        return merged

    def _with_files(self, data: Document) -> Document:
        """Merges files that have changed: of pools what is missing, of timeouts all (spec-scheduler 7.3)."""
        merged = self._with_what_lacks(data)
        from_pools, from_timeouts = pools_data(self._files.pools), msgspec.to_builtins(self._files.timeouts)
        digest = _digest(from_pools)
        if merged.get(POOLS_HASH) != digest:
            stored = parse_stored_pools(merged["pools"], f"cfg:{SYSTEM}:{DEFAULT}: pools")
            merged |= {"pools": pools_data(with_missing(stored, self._files.pools)), POOLS_HASH: digest}
            self._topics_are_new = True
        digest = _digest(from_timeouts)
        if merged.get(TIMEOUTS_HASH) != digest:
            merged |= {"timeouts": from_timeouts, TIMEOUTS_HASH: digest}
        return merged

    def _with_topics(self, data: Document) -> Document:
        """Topics of a file that is new are registered, so that gateways know them; one that was taken out of the
        registry since does not come back by itself."""
        own = {topic: {"name": topic} for topic in SELF_COMPLETING}
        if self._topics_are_new or not data.keys() - own.keys():
            return {**own, **registrations_from_pools(self._files.pools.topics), **data}
        return {**own, **data}


def _timeouts_part(default: Document) -> object:
    return default.get("timeouts") or msgspec.to_builtins(TimeoutsConfig())


def _digest(data: object) -> str:
    """SHA-256 of canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(data, order="sorted")).hexdigest()
