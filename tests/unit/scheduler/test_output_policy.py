"""Deciding about results without a server: what is hidden, what counts as in scope, which modes hold."""

import asyncio
from typing import Any

import pytest

from cordum.core.ids import DispatchId, JobId, Micros, TenantId, WorkerId
from cordum.core.jobs import lifecycle, output_moves
from cordum.core.jobs.output import OutputFinding, OutputSafety, without_secrets
from cordum.core.jobs.record import JobRecord, record_from_hash, record_to_hash
from cordum.core.jobs.states import JobState, may_move
from cordum.core.policy.document import ContentMatch, OutputPolicySettings, OutputRule, PolicyDocument
from cordum.core.policy.output_scope import EVERYTHING, NOTHING, OutputScope, covers, scope_of
from cordum.rpc.output_client import OutputUnavailableError
from cordum.runtime.settings import SchedulerSettings, SettingsError, load
from cordum.runtime.settings.output import FailMode
from cordum.services.scheduler.output_scope import ASK_EVERY, TRUSTED_FOR, UNSETTLED, ScopeWatch

SECRET = "hunter2-hunter2"
WORKER, DISPATCH = WorkerId("w"), DispatchId("d")


def record(**fields: Any) -> JobRecord:
    return JobRecord(id=JobId("j"), state=JobState.RUNNING, tenant=TenantId("default"), **fields)


# What a record may say


@pytest.mark.parametrize("source", ["", "content", "error_message"])
def test_what_a_finding_points_at_is_taken_out_of_its_own_words(source: str) -> None:
    text = f"say {SECRET} twice".encode()
    texts = {"content": b"", "message": text} if source == "error_message" else {"content": text, "message": b""}
    finding = OutputFinding(
        type="secret_leak", detail=f"saw {SECRET}", offset=4, length=15, matched_pattern=SECRET, source=source
    )

    (clean,), reason = without_secrets([finding], f"because of {SECRET}", **texts)

    assert SECRET not in repr(clean) + reason
    assert (clean.offset, clean.length, reason) == (4, 15, "because of [REDACTED]")


def test_places_outside_the_text_hide_nothing() -> None:
    finding = OutputFinding(type="x", detail="as it was", offset=100, length=50)
    assert without_secrets([finding], "because", content=b"short", message=b"") == ((finding,), "because")


def test_a_record_keeps_the_decision_through_its_hash() -> None:
    safety = OutputSafety(decision="REDACT", findings=(OutputFinding(type="x", length=3),), checked_at=Micros(7))
    kept = record(output_decision="REDACT", output_safety=safety, output_digest="ab", output_held=Micros(5))
    assert record_from_hash(kept.id, record_to_hash(kept)) == kept


# Moves


def test_a_held_job_goes_on_running_for_everybody_who_looks() -> None:
    change = output_moves.hold(worker=WORKER, dispatch_id=DISPATCH, now=Micros(5))
    assert change.to is JobState.RUNNING and change.trail == () and "result_ptr" not in change.fields
    assert change.fence == {"worker_id": "w", "dispatch_id": "d"}


def test_a_worker_whose_result_is_held_cannot_be_lost() -> None:
    for attempts in (1, 9):
        change = lifecycle.lose_worker(record(attempts=1), attempts)
        assert change.fence["output_held"] == ""


def test_a_quarantine_leaves_no_pointer() -> None:
    safety = OutputSafety(decision="DENY", reason="keys")
    change = output_moves.quarantine(record(), worker=WORKER, dispatch_id=DISPATCH, safety=safety)
    assert change.to is JobState.OUTPUT_QUARANTINED and may_move(JobState.RUNNING, change.to)
    assert "result_ptr" in change.clear and "result_ptr" not in change.fields
    assert change.fields["failure_reason"] == "output_quarantined: keys"


def test_withheld_words_are_gone() -> None:
    failed = lifecycle.end_by_worker(
        JobState.FAILED, worker=WORKER, dispatch_id=DISPATCH, status="S", reason=SECRET, code="c", result_ptr="p"
    )
    change = output_moves.withheld(failed, OutputSafety(decision="REDACT"))
    assert SECRET not in str(change.fields) and "result_ptr" not in change.fields


# Settings


@pytest.mark.parametrize("name", ["OUTPUT_POLICY_FAIL_MODE", "POLICY_CHECK_FAIL_MODE"])
def test_a_fail_mode_nobody_knows_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}=mostly"):
        load(SchedulerSettings, {name: "mostly"})


def test_fail_modes_are_closed_unless_set() -> None:
    plain = load(SchedulerSettings, {})
    assert (plain.output_policy_fail_mode, plain.policy_check_fail_mode) == (FailMode.CLOSED, FailMode.CLOSED)
    assert not plain.output_policy_enabled
    opened = load(SchedulerSettings, {"OUTPUT_POLICY_FAIL_MODE": "OPEN", "OUTPUT_POLICY_ENABLED": "1"})
    assert opened.output_policy_fail_mode is FailMode.OPEN and opened.output_policy_enabled


# What the rules are about


def rule(*topics: str, enabled: bool = True) -> OutputRule:
    return OutputRule(id="r", enabled=enabled, match=ContentMatch(topics=topics))


@pytest.mark.parametrize(
    ("rules", "enabled", "scope"),
    [
        ((), None, NOTHING),
        ((rule(),), None, EVERYTHING),
        ((rule(),), False, NOTHING),
        ((rule(), rule("job.a")), True, EVERYTHING),
        ((rule("job.b", "job.a"), rule("job.a")), True, OutputScope(topics=("job.a", "job.b"))),
        ((rule(enabled=False), rule("job.a")), None, OutputScope(topics=("job.a",))),
    ],
)
def test_the_scope_of_a_policy(rules: tuple[OutputRule, ...], enabled: bool | None, scope: OutputScope) -> None:
    document = PolicyDocument(output_rules=rules, output_policy=OutputPolicySettings(enabled=enabled))
    assert scope_of(document) == scope


def test_what_cannot_be_read_is_in_scope() -> None:
    scope = OutputScope(topics=("job.a*", "job.[", "other"))
    assert covers(scope, "job.abc")
    assert covers(scope, "job.zzz")  # by the glob that makes no sense
    assert not covers(OutputScope(topics=("job.a*",)), "job.b")


class Told:
    """An output client whose scope is what the test says."""

    def __init__(self) -> None:
        self.answer: tuple[str, OutputScope] | None = ("s1", NOTHING)

    async def scope(self) -> tuple[str, OutputScope]:
        if self.answer is None:
            raise OutputUnavailableError
        return self.answer


class HandClock:
    """A steady clock the test moves."""

    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


def watch() -> tuple[ScopeWatch, Told, HandClock]:
    told, clock = Told(), HandClock()
    return ScopeWatch(told, clock), told, clock  # type: ignore[arg-type]


async def test_until_the_kernel_has_spoken_everything_is_checked() -> None:
    scope, told, _ = watch()
    assert scope.may_touch("job.x")
    told.answer = None
    await scope.ask()
    assert scope.may_touch("job.x")


async def test_what_the_kernel_said_holds_while_it_is_fresh() -> None:
    scope, told, clock = watch()
    await scope.ask()
    assert not scope.may_touch("job.x")
    told.answer = None
    clock.at += TRUSTED_FOR - 0.1
    await scope.ask()
    assert not scope.may_touch("job.x")
    clock.at += 0.2
    assert scope.may_touch("job.x")


async def test_an_announced_change_means_that_everything_is_checked_for_a_while() -> None:
    scope, _, clock = watch()
    await scope.ask()
    scope.changed()
    assert scope.may_touch("job.x")
    await scope.ask()  # the kernel may not have the change yet
    assert scope.may_touch("job.x")
    clock.at += UNSETTLED
    await scope.ask()
    assert not scope.may_touch("job.x")


async def test_a_verdict_of_another_snapshot_means_that_everything_is_checked() -> None:
    scope, told, _ = watch()
    await scope.ask()
    scope.saw("s1")
    assert not scope.may_touch("job.x")
    scope.saw("s2")
    assert scope.may_touch("job.x")
    told.answer = ("s2", OutputScope(topics=("job.y",)))
    await scope.ask()
    assert (scope.may_touch("job.x"), scope.may_touch("job.y")) == (False, True)


async def test_a_new_scope_is_looked_at_anew() -> None:
    scope, told, _ = watch()
    await scope.ask()
    assert not scope.may_touch("job.x")
    told.answer = ("s2", EVERYTHING)
    await scope.ask()
    assert scope.may_touch("job.x")


async def test_a_word_about_a_change_ends_the_rest() -> None:
    scope, _, _ = watch()
    scope.changed()
    async with asyncio.timeout(ASK_EVERY / 2):
        await scope.rest()
