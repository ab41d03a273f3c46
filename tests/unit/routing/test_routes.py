"""Pools, registry and timeouts put together."""

from typing import Any

import pytest

from cordum.core.ids import PoolName, TenantId, Topic
from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.pools import parse_pools
from cordum.core.routing.routes import Routes, compile_routes
from cordum.core.routing.timeouts import TimeoutsConfig
from cordum.core.routing.topics import TopicRegistry, parse_topics, registrations_from_pools

ACME = TenantId("acme")
OTHERS = TenantId("others")


def routes(pools: Any, topics: Any = None) -> Routes:
    return compile_routes(parse_pools(pools, "f"), parse_topics(topics or {}, "t"), TimeoutsConfig())


def test_draining_and_inactive_pools_get_no_new_jobs() -> None:
    made = routes(
        {
            "topics": {"a": ["one", "two"], "b": "two"},
            "pools": {"one": {}, "two": {"status": "draining"}},
        }
    )

    assert made.pools_for(ACME, Topic("a")) == ("one",)
    assert made.pools_for(ACME, Topic("b")) == ()


def test_a_registered_topic_without_a_mapping_goes_to_its_own_pool() -> None:
    made = routes(
        {"topics": {"a": "one"}, "pools": {"two": {}}},
        {"b": {"name": "b", "pool": "two"}, "c": {"name": "c", "pool": "gone"}},
    )

    assert made.pools_for(ACME, Topic("b")) == ("two",)
    assert made.pools_for(ACME, Topic("c")) == ()


def test_what_a_job_requires_must_all_be_offered() -> None:
    made = routes({"topics": {"a": ["plain", "rich"]}, "pools": {"plain": {}, "rich": {"requires": ["GPU ", "eu"]}}})
    both = (PoolName("plain"), PoolName("rich"))

    assert made.offering(both, ()) == both
    assert made.offering(both, (" ",)) == both
    assert made.offering(both, ("gpu",)) == ("rich",)
    assert made.offering(both, ("gpu", "us")) == ()


def test_a_topics_registration_adds_to_what_its_jobs_require() -> None:
    made = routes(
        {"topics": {"a": "one"}},
        {"a": {"name": "a", "requires": ["gpu"]}, "tenant:acme:a": {"name": "a", "tenant_id": "acme"}},
    )

    assert made.requires_of(OTHERS, Topic("a")) == ("gpu",)
    assert made.requires_of(ACME, Topic("a")) == ()
    assert made.requires_of(OTHERS, Topic("b")) == ()


def test_a_free_slot_answers_whoever_waits_under_a_pool_it_can_stand_in_for() -> None:
    made = routes({"topics": {"a": ["first", "second"], "b": "second", "c": "third"}})

    assert made.lanes[PoolName("second")] == {"first", "second"}
    assert made.serving[PoolName("first")] == {"first", "second"}
    assert made.lanes[PoolName("third")] == {"third"}


def test_an_empty_registry_admits_every_topic() -> None:
    assert TopicRegistry({}).admits(ACME, Topic("anything"))


def test_a_tenants_own_topic_beats_the_one_for_everybody() -> None:
    registry = parse_topics(
        {
            "a": {"name": "a", "status": "disabled"},
            "tenant:acme:a": {"name": "a", "tenant_id": "acme", "status": "deprecated", "unknown": 1},
        },
        "t",
    )

    assert registry.admits(ACME, Topic("a"))
    assert not registry.admits(OTHERS, Topic("a"))
    assert not registry.admits(ACME, Topic("b"))


def test_a_registration_that_makes_no_sense_is_refused_with_its_key() -> None:
    with pytest.raises(RoutingConfigError, match="t: a: status: Invalid enum value"):
        parse_topics({"a": {"name": "a", "status": "odd"}}, "t")


def test_the_registry_is_filled_from_the_pools_once() -> None:
    topics = parse_pools({"topics": {"a": ["one", "two"]}}, "f").topics

    assert registrations_from_pools(topics) == {"a": {"name": "a", "pool": "one"}}
