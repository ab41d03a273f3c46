"""config/timeouts.yaml."""

import pytest

from cordum.core.ids import Topic
from cordum.core.routing.errors import RoutingConfigError
from cordum.core.routing.timeouts import DEFAULT_TRIES, TimeoutsConfig, parse_timeouts

WORK = Topic("job.work")


def test_without_a_file_the_built_in_limits_hold() -> None:
    assert parse_timeouts(None, "f") == TimeoutsConfig()
    assert TimeoutsConfig().reconciler.dispatch_timeout_seconds == 300
    assert TimeoutsConfig().running_timeout(WORK) == 9000


def test_a_zero_means_the_short_default() -> None:
    limits = parse_timeouts(
        {"reconciler": {"running_timeout_seconds": 0, "dispatch_timeout_seconds": 0}}, "f"
    ).reconciler

    assert (limits.running_timeout_seconds, limits.dispatch_timeout_seconds) == (300, 120)


@pytest.mark.seed("S86")
def test_a_topic_sets_its_own_timeout_and_tries() -> None:
    config = parse_timeouts(
        {
            "topics": {"job.work": {"timeout_seconds": 7, "max_retries": 0}},
            "reconciler": {"running_timeout_seconds": 50},
        },
        "f",
    )

    assert (config.running_timeout(WORK), config.tries(WORK)) == (7, 1)
    assert (config.running_timeout(Topic("job.x")), config.tries(Topic("job.x"))) == (50, DEFAULT_TRIES)
    assert config.shortest_running_timeout == 7


@pytest.mark.seed("S86")
def test_a_workflow_sets_limits_for_its_own_jobs() -> None:
    config = parse_timeouts(
        {
            "topics": {"job.work": {"timeout_seconds": 7, "max_retries": 0}},
            "workflows": {
                "wf": {"child_timeout_seconds": 3, "total_timeout_seconds": 60, "max_retries": 4},
                "plain": {},
            },
            "reconciler": {"running_timeout_seconds": 50},
        },
        "f",
    )

    assert (config.running_timeout(WORK, "wf"), config.tries(WORK, "wf"), config.total_timeout("wf")) == (3, 5, 60)
    for other in ("plain", "unheard of", ""):
        assert (config.running_timeout(WORK, other), config.tries(WORK, other)) == (7, 1)
        assert config.total_timeout(other) == 0
    assert config.running_timeout(Topic("job.x"), "plain") == 50
    assert config.shortest_running_timeout == 3


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"topics": {"a": {"timeout_seconds": -1}}}, "f: topics.a.timeout_seconds: must not be negative, is -1"),
        ({"topics": {"a": {"max_retries": -2}}}, "topics.a.max_retries: must not be negative"),
        ({"workflows": {"w": {"total_timeout_seconds": -1}}}, "workflows.w.total_timeout_seconds"),
        ({"reconciler": {"scan_interval_seconds": -1}}, "reconciler.scan_interval_seconds"),
        ({"reconciler": {"scan": 1}}, "unknown field `scan`"),
        ({"workflows": {"w": {"timeout_seconds": 1}}}, "unknown field `timeout_seconds`"),
        ({"workflows": {"w": {"child_timeout_seconds": float("inf")}}}, "must be a finite number"),
        ({"topics": {"a": {"timeout_seconds": float("nan")}}}, "must be a finite number"),
        ({"topics": {"a": {"timeout_seconds": "soon"}}}, "Expected `float`, got `str`"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(data: object, told: str) -> None:
    with pytest.raises(RoutingConfigError) as refused:
        parse_timeouts(data, "f")

    assert told in refused.value.message
