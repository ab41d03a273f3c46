"""config/pools.yaml: what is understood, and what is refused with which words."""

from datetime import UTC, datetime

import pytest

from cordum.core.ids import PoolName, Topic
from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.pools import Pool, PoolStatus, parse_pools, pools_data, status_at, with_missing


def test_a_topic_maps_to_one_pool_or_to_several_in_order() -> None:
    config = parse_pools({"topics": {"a": "one", "b": ["two", "one", "two"]}, "pools": {"one": {}}}, "f")

    assert config.topics == {"a": ("one",), "b": ("two", "one")}
    assert set(config.pools) == {"one", "two"}


def test_a_pool_may_say_what_it_offers_and_that_it_drains() -> None:
    config = parse_pools(
        {"topics": {"a": "p"}, "pools": {"p": {"requires": ["gpu"], "status": "draining", "description": "d"}}}, "f"
    )

    assert config.pools[PoolName("p")] == Pool(requires=("gpu",), status=PoolStatus.DRAINING, description="d")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "f: the file is empty"),
        ([], "f: top level: Expected `object`, got `array`"),
        ({"pools": {}}, "missing required field `topics`"),
        ({"topics": {}}, "f: topics: must map at least one topic"),
        ({"topics": {"a": []}}, "f: topics.a: needs a pool name"),
        ({"topics": {"a": ""}}, "f: topics.a: '' is not a name"),
        ({"topics": {" a": "p"}}, "f: topics: ' a' is not a name"),
        ({"topics": {"a": 1}}, "Expected `str | array`, got `int`"),
        ({"topics": {"a": "p"}, "pool": {}}, "unknown field `pool`"),
        ({"topics": {"a": "p"}, "pools": {"p": {"status": "asleep"}}}, "Invalid enum value 'asleep'"),
        ({"topics": {"a": "p"}, "pools": {"p": {"require": []}}}, "unknown field `require`"),
        ({"topics": {"a": "p"}, "pools": {"p": {"drain_timeout_seconds": -1}}}, "must not be negative"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(data: object, told: str) -> None:
    with pytest.raises(RoutingConfigError) as refused:
        parse_pools(data, "f")

    assert told in refused.value.message


def test_data_written_back_reads_the_same() -> None:
    config = parse_pools({"topics": {"a": "p", "b": ["p", "q"]}, "pools": {"p": {"requires": ["x"]}}}, "f")

    assert parse_pools(pools_data(config), "f") == config


def test_a_changed_file_adds_what_is_missing_and_changes_nothing() -> None:
    stored = parse_pools({"topics": {"a": "old"}, "pools": {"old": {"status": "inactive"}}}, "f")
    file = parse_pools({"topics": {"a": "new", "b": "old"}, "pools": {"old": {}, "new": {}}}, "f")

    merged = with_missing(stored, file)

    assert merged.topics == {Topic("a"): ("old",), Topic("b"): ("old",)}
    assert merged.pools[PoolName("old")].status is PoolStatus.INACTIVE
    assert PoolName("new") in merged.pools


STARTED = "2026-01-01T00:00:00Z"
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("timeout", "seconds", "status"),
    [
        (0, 299, PoolStatus.DRAINING),
        (0, 300, PoolStatus.INACTIVE),
        (60, 59, PoolStatus.DRAINING),
        (60, 60, PoolStatus.INACTIVE),
        (999_999, 3_599, PoolStatus.DRAINING),
        (999_999, 3_600, PoolStatus.INACTIVE),
    ],
)
def test_a_pool_that_has_drained_for_long_is_inactive(timeout: int, seconds: int, status: PoolStatus) -> None:
    pool = Pool(status=PoolStatus.DRAINING, drain_started_at=STARTED, drain_timeout_seconds=timeout)

    assert status_at(pool, STARTED_AT + seconds) is status


@pytest.mark.parametrize("started", ["", "yesterday", "2026-01-01T00:00:00"])
def test_other_pools_are_what_they_say(started: str) -> None:
    assert status_at(Pool(drain_started_at=started), STARTED_AT + 9_999) is PoolStatus.ACTIVE
    inactive = Pool(status=PoolStatus.INACTIVE, drain_started_at=started)
    assert status_at(inactive, STARTED_AT) is PoolStatus.INACTIVE
    draining = Pool(status=PoolStatus.DRAINING, drain_started_at=started)
    assert status_at(draining, STARTED_AT) is PoolStatus.DRAINING
