"""Reads `config/pools.yaml` and `config/timeouts.yaml` (spec-scheduler 7.1 and 7.2), and again when they change (7.3).

A file that cannot be used changes nothing: what was read last stays, and the fault is logged once.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.pools import PoolsConfig, parse_pools
from cordum.core.routing.timeouts import TimeoutsConfig, parse_timeouts
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger

log = get_logger(__name__)

MAX_BYTES: Final = 4 * 1024 * 1024
"""A larger configuration file is a mistake."""


class ConfigFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a deployment say; `digest` is of their content."""

    pools: PoolsConfig
    timeouts: TimeoutsConfig
    digest: str = ""


def read_config_files(pools_path: str, timeouts_path: str) -> ConfigFiles:
    """Reads both files. Blocks; for the start and for a thread.

    Without a timeouts file the built-in values hold; without a pools file there is nothing to schedule to.

    Raises:
        RoutingConfigError: a file cannot be read, is no YAML, or says something that makes no sense.
    """
    # Before they are parsed: a change in between is noticed by the next look.
    digest = content_digest(pools_path, timeouts_path)
    pools = parse_pools(_read_yaml(pools_path), pools_path)
    timeouts = TimeoutsConfig()
    if os.path.exists(timeouts_path):
        timeouts = parse_timeouts(_read_yaml(timeouts_path), timeouts_path)
    return ConfigFiles(pools=pools, timeouts=timeouts, digest=digest)


def content_digest(*paths: str) -> str:
    """One digest of the content of some files; one that cannot be read counts as its fault. Blocks."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            content = str(error.errno).encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


class ConfigFileWatch:
    """Notices new content of the two files. By content, not by date: mounted files change in odd ways."""

    def __init__(
        self, pools_path: str, timeouts_path: str, seen: str, use: Callable[[ConfigFiles], None], clock: Clock
    ) -> None:
        """`seen` is the digest of what was read at the start; `use` is given what changed files say."""
        self._paths = (pools_path, timeouts_path)
        self._seen = seen
        self._use = use
        self._clock = clock

    async def run(self, interval: float) -> None:
        """Looks every `interval` seconds, for as long as the process runs."""
        while True:
            await self._clock.sleep(interval)
            await self.look()

    async def look(self) -> None:
        """Looks once, and hands on what has changed since the last look, if it can be used."""
        found = await asyncio.to_thread(content_digest, *self._paths)
        if found == self._seen:
            return
        # Whatever becomes of it: a fault is told once, not with every look.
        self._seen = found
        await self.read()

    async def read(self) -> None:
        """Reads both files, changed or not, and hands on what they say, if it can be used."""
        try:
            files = await asyncio.to_thread(read_config_files, *self._paths)
        except RoutingConfigError as error:
            log.error(
                "a configuration file cannot be used, the configuration in force stays",
                event="config_file_rejected",
                error=error.message,
            )
            return
        log.info("configuration files read again", event="config_files_read", paths=self._paths)
        self._use(files)


def _read_yaml(path: str) -> object:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RoutingConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise RoutingConfigError(f"{path}: is larger than {MAX_BYTES} bytes")
    try:
        for event in yaml.parse(data, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise RoutingConfigError(f"{path}: refers to itself (line {_line(event.start_mark)}); write it out")
        parsed: object = yaml.load(data, Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise RoutingConfigError(f"{path}: is no valid YAML: {problem}") from error
    return parsed


class _UniqueKeys(yaml.CSafeLoader):
    """Safe YAML in which a key may stand only once: of two, one would silently not count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"key {key.value!r} stands twice (line {_line(key.start_mark)})")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _line(mark: Any) -> int:
    """The line a YAML mark stands for, as people count."""
    return mark.line + 1 if mark is not None else 0
