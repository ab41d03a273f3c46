"""Keys, and which pointers are followed."""

import pytest

from cordum.core.ids import JobId, TenantId
from cordum.core.jobs.states import JobState
from cordum.store import keys


def test_keys_have_the_names_other_tools_know() -> None:
    assert keys.job_meta(JobId("1")) == "job:meta:1"
    assert keys.job_idempotency(TenantId("default"), "k") == "job:idempotency:default:k"
    assert keys.STATE_INDEX[JobState.APPROVAL_REQUIRED] == "job:index:approval_required"
    assert keys.config("system", "default") == "cfg:system:default"


@pytest.mark.parametrize("key", ["res:1", "ctx:1", "art:x", "mem:m:chat", "res:1:redacted:0011223344556677"])
def test_payloads_are_followed(key: str) -> None:
    assert keys.payload_key(keys.pointer(key)) == key


@pytest.mark.parametrize(
    "ptr",
    ["", "res:1", "redis://", "redis://cfg:system:default", "redis://job:meta:1", "redis://session:x", "x://res:1"],
)
def test_nothing_else_is(ptr: str) -> None:
    assert keys.payload_key(ptr) == ""
