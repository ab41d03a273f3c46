"""The life of an approval, in pure steps: what it is bound to, what time does to it, what it is good for."""

from typing import Any

import msgspec
import pytest

from cordum.core.ids import DispatchId, JobId, Micros, PoolName, RuleId, SnapshotId, WorkerId
from cordum.core.jobs import approval_use, approvals, lifecycle
from cordum.core.jobs.approvals import UNBOUNDED, Due, Resolution, Window
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.quorum import Vote, deciding_roles, enough, may_decide
from cordum.core.jobs.record import JobRecord, record_from_hash, record_to_hash
from cordum.core.jobs.states import JobState
from cordum.core.policy.decision import ONE_APPROVAL, ApprovalTerms, Decision, Verdict

NOW = Micros(1_800_000_000_000_000)
MINUTE = 60_000_000
TWO_OF_SECOPS = ApprovalTerms(
    required=2, roles=("secops",), expires_after_s=3600, escalate_after_s=600, escalate_to=("admin",)
)


def asks(terms: ApprovalTerms = ONE_APPROVAL, *, rule: str = "r", snapshot: str = "s1") -> Verdict:
    return Verdict(
        decision=Decision.REQUIRE_APPROVAL,
        reason="look",
        rule_id=RuleId(rule),
        snapshot=SnapshotId(snapshot),
        approval=terms,
        checked_at=NOW,
    )


def after(record: JobRecord, change: Change) -> JobRecord:
    """The record as the store leaves it."""
    assert record.state in change.allowed_from
    held = record_to_hash(record)
    for name, value in change.fence.items():
        assert held.get(name, "") == value, name
    fields = held | dict(change.fields) | {"state": change.to.value}
    for name in change.clear:
        fields.pop(name, None)
    return record_from_hash(record.id, fields)


def parked(terms: ApprovalTerms = ONE_APPROVAL, window: Window = UNBOUNDED, **known: Any) -> JobRecord:
    record = JobRecord(id=JobId("j"), state=JobState.PENDING, **known)
    return after(record, approvals.require_approval(record, asks(terms), "hash", window))


def vote(name: str, role: str = "secops") -> Vote:
    return Vote(who=f"principal:{name}", by=name, role=role, at=str(NOW))


def approved(terms: ApprovalTerms = ONE_APPROVAL, by: str = "ann", role: str = "admin", **known: Any) -> JobRecord:
    record = parked(terms, **known)
    return after(record, approvals.approve(record, Resolution(by=by, role=role, at=NOW)))


# Asking


def test_a_request_carries_the_terms_of_its_rule() -> None:
    record = parked(TWO_OF_SECOPS)
    assert record.approval_terms == TWO_OF_SECOPS
    assert (record.approval_status, record.approval_actionability) == ("pending", "actionable")
    assert record.approval_expires_at == NOW + 60 * MINUTE
    assert record.approval_escalate_at == NOW + 10 * MINUTE
    assert record.approval_requested_at == NOW and record.safety_job_hash == "hash"


def test_a_request_without_terms_lapses_when_the_installation_says() -> None:
    assert parked(window=Window(usual=120)).approval_expires_at == NOW + 2 * MINUTE
    assert parked().approval_expires_at == 0


def test_no_request_waits_for_longer_than_its_record_is_kept() -> None:
    window = Window(usual=7200, longest=600)
    assert parked(window=window).approval_expires_at == NOW + 10 * MINUTE
    assert parked(TWO_OF_SECOPS, window).approval_expires_at == NOW + 10 * MINUTE
    assert parked(window=Window(longest=600)).approval_expires_at == NOW + 10 * MINUTE


def test_a_second_request_starts_afresh() -> None:
    record = msgspec.structs.replace(
        approved(),
        approval_votes=(vote("ann"),),
        approval_escalated_at=NOW,
        approval_dispatch_id=DispatchId("d"),
        approval_publish_status="published",
    )
    again = after(record, approvals.require_approval(record, asks(), "hash"))
    assert again.approval_revision == record.approval_revision + 1
    assert not again.approval_votes and not again.approval_escalated_at and not again.approval_dispatch_id
    assert not again.approval_by and not again.approval_publish_status and again.approval_status == "pending"


# Whose word counts


@pytest.mark.parametrize(
    ("role", "escalated_at", "may"),
    [("secops", 0, True), ("SecOps", 0, True), ("admin", 0, False), ("admin", 1, True), ("operator", 1, False)],
)
def test_roles_of_the_rule_decide_and_others_join_in_when_it_escalates(role: str, escalated_at: int, may: bool) -> None:
    assert may_decide(TWO_OF_SECOPS, role, Micros(escalated_at)) is may


def test_without_roles_everybody_who_may_approve_has_a_say() -> None:
    terms = ApprovalTerms(escalate_after_s=1, escalate_to=("admin",))
    assert may_decide(terms, "operator", Micros(0)) and may_decide(terms, "operator", Micros(1))
    assert deciding_roles(terms, Micros(1)) == ()
    assert deciding_roles(TWO_OF_SECOPS, Micros(1)) == ("secops", "admin")


def test_the_same_person_twice_is_one_person() -> None:
    assert not enough([vote("ann"), vote("ann")], TWO_OF_SECOPS, Micros(0))
    assert enough([vote("ann"), vote("bob")], TWO_OF_SECOPS, Micros(0))
    assert not enough([vote("ann"), vote("bob", "operator")], TWO_OF_SECOPS, Micros(0))
    assert not enough([], ApprovalTerms(required=0), Micros(0)), "nobody is never enough"


# Voting under the policy of today


def test_a_vote_under_the_same_demand_changes_nothing_else() -> None:
    ballot = approvals.ballot(parked(TWO_OF_SECOPS), asks(TWO_OF_SECOPS), vote("ann"))
    assert (ballot.required, ballot.refresh) == (2, {})


def test_a_newer_policy_that_asks_the_same_keeps_the_votes() -> None:
    ballot = approvals.ballot(parked(TWO_OF_SECOPS), asks(TWO_OF_SECOPS, snapshot="s2"), vote("ann"))
    assert ballot.refresh["safety_snapshot"] == "s2" and "approval_votes" not in ballot.refresh
    assert ballot.granted.fields["approval_policy_snapshot"] == "s2"
    assert ballot.granted.fence["safety_snapshot"] == "s1", "bound to the policy that was read"


@pytest.mark.parametrize("verdict", [asks(ApprovalTerms(required=3)), asks(TWO_OF_SECOPS, rule="other")])
def test_votes_for_another_demand_do_not_count(verdict: Verdict) -> None:
    ballot = approvals.ballot(parked(TWO_OF_SECOPS), verdict, vote("ann"))
    assert ballot.refresh["approval_votes"] == "" and ballot.required == verdict.approval.required


def test_when_the_policy_asks_no_longer_one_vote_is_enough() -> None:
    verdict = Verdict(decision=Decision.ALLOW, snapshot=SnapshotId("s2"), checked_at=NOW)
    ballot = approvals.ballot(parked(TWO_OF_SECOPS), verdict, vote("ann"))
    assert ballot.required == 1 and ballot.refresh["safety_decision"] == "ALLOW"


# What an approval is good for


def test_an_approval_covers_the_job_it_was_given_for() -> None:
    record = approved()
    assert approval_use.covers(record, asks(), "hash")
    assert approval_use.covers(record, asks(snapshot="s2"), "hash"), "the same rule in a newer policy"


def test_an_approval_covers_nothing_else() -> None:
    record = approved()
    assert not approval_use.covers(record, asks(), "other"), "another request"
    assert not approval_use.covers(record, asks(), ""), "a request without a hash"
    assert not approval_use.covers(record, asks(rule="other", snapshot="s2"), "hash"), "another rule of another policy"
    assert not approval_use.covers(record, asks(ApprovalTerms(required=2)), "hash"), "more people are asked for today"
    assert not approval_use.covers(record, asks(ApprovalTerms(roles=("secops",))), "hash"), "others are asked for today"
    assert not approval_use.covers(parked(), asks(), "hash"), "nobody has approved it"


@pytest.mark.parametrize("decision", [decision for decision in Decision if decision is not Decision.REQUIRE_APPROVAL])
def test_an_approval_never_overrules_another_verdict(decision: Decision) -> None:
    verdict = msgspec.structs.replace(asks(), decision=decision)
    assert not approval_use.covers(approved(), verdict, "hash")
    assert not approval_use.covers_gate(approved(), verdict, "hash")


def test_a_gate_is_approved_whatever_the_policy_is_called_today() -> None:
    assert approval_use.covers_gate(approved(), asks(rule="other", snapshot="s2"), "hash")
    assert not approval_use.covers_gate(approved(), asks(), "other")


def test_one_dispatch_uses_the_approval_up() -> None:
    record = approved()
    granted = msgspec.structs.replace(asks(), decision=Decision.ALLOW)
    change = lifecycle.dispatch(
        record,
        granted,
        worker=WorkerId("w"),
        pool=PoolName("p"),
        dispatch_id=DispatchId("d1"),
        now=NOW,
        deadline=Micros(0),
    )
    running = after(record, change)
    assert running.approval_dispatch_id == "d1"
    assert not approval_use.covers(running, asks(), "hash")
    assert approval_use.why_not(running, asks(), "hash") == "its approval was used by an earlier attempt"
    unsent = after(running, lifecycle.undo_dispatch(record, DispatchId("d1")))
    assert approval_use.covers(unsent, asks(), "hash"), "a dispatch that was never sent has used nothing"


def test_a_job_nobody_had_to_approve_keeps_no_trace_of_it() -> None:
    record = JobRecord(id=JobId("j"), state=JobState.PENDING)
    change = lifecycle.dispatch(
        record,
        Verdict(decision=Decision.ALLOW),
        worker=WorkerId("w"),
        pool=PoolName("p"),
        dispatch_id=DispatchId("d1"),
        now=NOW,
        deadline=Micros(0),
    )
    assert "approval_dispatch_id" not in change.fields


# Time


def test_time_escalates_and_then_ends_a_request() -> None:
    record = parked(TWO_OF_SECOPS)
    assert approvals.due(record, Micros(NOW + 10 * MINUTE - 1)) is Due.NOTHING
    assert approvals.due(record, Micros(NOW + 10 * MINUTE)) is Due.ESCALATE
    escalated = after(record, approvals.escalate(record, Micros(NOW + 10 * MINUTE)))
    assert escalated.state is JobState.APPROVAL_REQUIRED
    assert approvals.due(escalated, Micros(NOW + 11 * MINUTE)) is Due.NOTHING, "once"
    assert approvals.due(escalated, Micros(NOW + 60 * MINUTE)) is Due.EXPIRE
    assert approvals.due(record, Micros(NOW + 60 * MINUTE)) is Due.EXPIRE, "too late to escalate"


def test_a_decided_request_is_left_alone_by_time() -> None:
    assert approvals.due(approved(TWO_OF_SECOPS), Micros(NOW + 600 * MINUTE)) is Due.NOTHING


def test_an_expired_request_ends_as_a_timeout() -> None:
    record = parked(TWO_OF_SECOPS)
    ended = after(record, approvals.expire(record, NOW, reason="nobody decided"))
    assert (ended.state, ended.approval_status, ended.approval_decision) == (JobState.TIMEOUT, "expired", "expire")
    assert (ended.error_code, ended.last_state) == ("approval_expired", "APPROVAL_REQUIRED")


def test_whichever_comes_first_ends_the_waiting() -> None:
    early = Micros(NOW + MINUTE)
    assert approvals.lapses_at(parked(TWO_OF_SECOPS, deadline_unix=early)) == early
    assert approvals.lapses_at(parked(TWO_OF_SECOPS)) == NOW + 60 * MINUTE
    assert approvals.lapses_at(parked()) == 0


# Endings


def test_who_waits_for_a_gate_is_told_by_a_result_too() -> None:
    gate, job = parked(labels={"gate_type": "workflow_approval"}), parked()
    resolution = Resolution(by="ann", role="admin", reason="no", at=NOW)
    assert approvals.reject(gate, resolution).fields["approval_publish_target"] == "dlq_and_result"
    assert approvals.reject(job, resolution).fields["approval_publish_target"] == "dlq"


def test_every_word_on_a_request_is_fenced_by_its_revision() -> None:
    record = parked()
    resolution = Resolution(by="ann", role="admin", at=NOW)
    for change in (
        approvals.approve(record, resolution),
        approvals.reject(record, resolution),
        approvals.invalidate(record, "gone", NOW),
        approvals.expire(record, NOW, reason="late"),
        approvals.escalate(record, NOW),
    ):
        assert change.fence["approval_status"] == "pending" and change.fence["approval_revision"] == "1"
        assert change.allowed_from == {JobState.APPROVAL_REQUIRED}


def test_the_record_keeps_terms_and_votes() -> None:
    record = msgspec.structs.replace(parked(TWO_OF_SECOPS), approval_votes=(vote("ann"), vote("bob")))
    assert record_from_hash(record.id, record_to_hash(record)) == record
    assert "approval_terms" not in record_to_hash(parked()), "what every rule asks for is not written down"
