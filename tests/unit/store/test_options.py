"""From the environment to the store."""

import pytest

from cordum.runtime.settings import load
from cordum.runtime.settings.redis import RedisSettings
from cordum.store.cluster import ClusterLink
from cordum.store.connection import ClientTLS, open_link
from cordum.store.errors import StoreSettingsError
from cordum.store.options import StoreOptions
from cordum.store.server import ServerLink


def options(**variables: str) -> StoreOptions:
    return StoreOptions.from_settings(load(RedisSettings, variables))


async def opened(chosen: StoreOptions) -> object:
    link = open_link(chosen, ClientTLS(chosen.tls))
    await link.aclose()
    return type(link).__name__


def test_the_defaults_are_those_of_the_specification() -> None:
    assert options() == StoreOptions()


def test_retention_comes_from_the_environment() -> None:
    chosen = options(
        JOB_META_TTL="24h", REDIS_DATA_TTL_SECONDS="600", CORDUM_DLQ_ENTRY_TTL_DAYS="2", SCHEDULER_DLQ_MAX_SIZE="7"
    )
    assert (chosen.meta_ttl, chosen.data_ttl) == (86_400, 600)
    assert (chosen.dead_letter_ttl, chosen.dead_letters_kept) == (2 * 86_400, 7)


async def test_each_topology_has_its_link() -> None:
    assert await opened(options()) == ServerLink.__name__
    assert await opened(options(REDIS_CLUSTER_ADDRESSES="a:1, b:2")) == ClusterLink.__name__
    assert await opened(options(REDIS_SENTINEL_ADDRESSES="a:26379")) == "SentinelLink"


async def test_a_cluster_has_one_database() -> None:
    with pytest.raises(StoreSettingsError, match="database 0"):
        await opened(options(REDIS_CLUSTER_ADDRESSES="a:1", REDIS_URL="redis://x:1/3"))


async def test_a_url_of_something_else_is_refused() -> None:
    with pytest.raises(StoreSettingsError, match="REDIS_URL"):
        await opened(StoreOptions(url="http://x"))
