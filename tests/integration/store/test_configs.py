"""Configuration documents: nobody overwrites what he has not read."""

import asyncio
from typing import Any

import pytest
import redis.asyncio as redis

from cordum.store import BadDocumentError, Store, StoreConflictError


async def test_a_document_counts_its_revisions(store: Store, peer: Store) -> None:
    assert await store.configs.get("system", "default") is None
    first = await store.configs.put("system", "default", {"a": 1, "empty": [], "none": None}, 0)
    assert first.revision == 1
    second = await store.configs.put("system", "default", first.data | {"b": {"c": [1.5]}}, 1)
    read = await peer.configs.get("system", "default")
    assert read == second
    assert read is not None
    assert read.data == {"a": 1, "empty": [], "none": None, "b": {"c": [1.5]}}


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_write_on_another_revision_is_refused(store: Store, expected: int) -> None:
    await store.configs.put("org", "t", {"a": 1}, 0)
    with pytest.raises(StoreConflictError):
        await store.configs.put("org", "t", {"a": 2}, expected)
    document = await store.configs.get("org", "t")
    assert document is not None
    assert (document.data, document.revision) == ({"a": 1}, 1)


async def test_concurrent_updates_all_take_effect(store: Store, peer: Store) -> None:
    def increase(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "count": data.get("count", 0) + 1}

    await asyncio.gather(
        *((store, peer)[number % 2].configs.update("system", "n", increase, tries=40) for number in range(20))
    )
    document = await store.configs.get("system", "n")
    assert document is not None
    assert (document.data, document.revision) == ({"count": 20}, 20)


async def test_what_cannot_be_read_is_said_and_not_overwritten(store: Store, raw: "redis.Redis") -> None:
    await raw.set("cfg:system:default", "not json")
    with pytest.raises(BadDocumentError):
        await store.configs.get("system", "default")
    with pytest.raises(BadDocumentError):
        await store.configs.put("system", "default", {}, 0)
