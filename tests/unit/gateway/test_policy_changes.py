"""The pure parts of changing the policy: what a change is, what is stored, how rules are spelled."""

import msgspec
import pytest

from cordum.core.policy.bundles import Bundle
from cordum.core.policy.merge import Fragment, merge
from cordum.core.policy.parse import parse_policy
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.policy_admin import velocity_rules
from cordum.services.gateway.policy_admin.changing import changes_between, demand_bounded, read_tolerantly
from cordum.services.gateway.policy_admin.naming import bundle_id_of
from cordum.services.gateway.policy_admin.velocity_rules import VelocityBody


def bundle(name: str, content: str = "rules: []", *, enabled: bool = True) -> Bundle:
    return Bundle(id=name, content=content, enabled=enabled)


def test_switching_off_and_deleting_are_the_same_change() -> None:
    before = {"a": bundle("a"), "b": bundle("b"), "c": bundle("c", enabled=False)}
    after = {"a": bundle("a", enabled=False), "c": bundle("c", "rules: [{}]", enabled=False), "d": bundle("d", "x")}
    assert changes_between(before, after, ("a", "b", "c", "d")) == {"a": "", "b": "", "d": "x"}


def test_what_cannot_be_read_is_told_apart_and_never_left_out() -> None:
    good, bad = read_tolerantly({"a": "rules: []", "b": 3, "c": {"content": 4}})
    assert sorted(good) == ["a"]
    assert sorted(bad) == ["b", "c"]
    assert all(not found.enabled for found in bad.values())


def test_more_than_kernels_should_carry_is_refused() -> None:
    with pytest.raises(ApiError, match="bundles"):
        demand_bounded({f"b{number}": bundle(f"b{number}") for number in range(1001)})
    with pytest.raises(ApiError, match="characters"):
        demand_bounded({"a": bundle("a", "x" * (4 * 1024 * 1024 + 1))})


@pytest.mark.parametrize("text", ["", " ", "/", "~", "a~", "~a", "a//b", "a b", "a/../b", "ä", "a" * 300])
def test_what_no_bundle_can_be_called_is_refused(text: str) -> None:
    with pytest.raises(ApiError):
        bundle_id_of(text)


@pytest.mark.parametrize(("window", "seconds"), [("1s", 1), ("10m", 600), ("1h30m", 5400), ("24h", 86400), ("90S", 90)])
def test_windows_are_read(window: str, seconds: int) -> None:
    body = VelocityBody(window=window, key="tenant", threshold=3)
    document = parse_policy(velocity_rules._document("r", body).encode())
    velocity = document.rules[0].velocity
    assert velocity is not None
    assert (velocity.window_seconds, velocity.max_requests) == (seconds, 3)


@pytest.mark.parametrize("window", ["", "0s", "25h", "86401s", "10", "m", "-1s", "1d", "1m1h", "٣m"])
def test_windows_out_of_bounds_are_refused(window: str) -> None:
    with pytest.raises(ApiError, match="window"):
        velocity_rules._document("r", VelocityBody(window=window, key="tenant", threshold=3))


def test_a_velocity_rule_is_looked_at_before_a_rule_that_allows_everything() -> None:
    content = velocity_rules._document("r", VelocityBody(window="1m", key="tenant", threshold=1))
    merged = merge(
        [
            Fragment("", parse_policy(b'rules: [{id: all, match: {topics: ["job.*"]}, decision: allow}]')),
            Fragment("velocity/r", parse_policy(content.encode())),
        ]
    )
    assert [rule.id for rule in merged.rules] == ["velocity/r", "all"]


def test_a_reason_cannot_break_out_of_its_document() -> None:
    body = VelocityBody(window="1m", key="tenant", threshold=1, reason="x\ndefault_decision: allow\n- {")
    document = parse_policy(velocity_rules._document("r", body).encode())
    assert document.default_decision is None
    assert document.rules[0].reason == body.reason
    assert msgspec.structs.asdict(document)["tenants"] == {}
