"""Reads `config/pools.yaml` and `config/timeouts.yaml` (spec-scheduler 7.1 and 7.2)."""

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.pools import PoolsConfig, parse_pools
from cordum.core.routing.timeouts import TimeoutsConfig, parse_timeouts

MAX_BYTES: Final = 4 * 1024 * 1024
"""A larger configuration file is a mistake."""


class ConfigFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a deployment say."""

    pools: PoolsConfig
    timeouts: TimeoutsConfig


def read_config_files(pools_path: str, timeouts_path: str) -> ConfigFiles:
    """Reads both files. Blocks; for the start and for a thread.

    Without a timeouts file the built-in values hold; without a pools file there is nothing to schedule to.

    Raises:
        RoutingConfigError: a file cannot be read, is no YAML, or says something that makes no sense.
    """
    pools = parse_pools(_read_yaml(pools_path), pools_path)
    timeouts = TimeoutsConfig()
    if os.path.exists(timeouts_path):
        timeouts = parse_timeouts(_read_yaml(timeouts_path), timeouts_path)
    return ConfigFiles(pools=pools, timeouts=timeouts)


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
