"""Requests in, answers out, both as bytes: what every call of the kernel comes down to.

Nearly all answers are one of a few per policy, so each outcome is serialised once; only the approval reference is the
job's own. That, and reading fields straight off the message, is what makes a hundred thousand decisions a second.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2
from google.protobuf.message import DecodeError

from cordum.core.ids import SnapshotId
from cordum.core.policy.compile import CompiledPolicy
from cordum.core.policy.decision import Decision, Verdict
from cordum.core.policy.evaluate import Explanation, Step, Tried, evaluate, explain, velocity_queries
from cordum.core.policy.outcome import NO_POLICY, DecidedBy, Outcome
from cordum.core.policy.request import NOTHING, PolicyRequest, fold_all
from cordum.core.policy.rules import NOTHING_COUNTED, Counted
from cordum.core.policy.velocity import VelocityQuery
from cordum.rpc import convert
from cordum.rpc.gen.cordum.v1 import kernel_pb2
from cordum.runtime import logging

_ACTOR_TYPES = {1: "human", 2: "service"}
_MOST_REMEMBERED = 65_536
MOST_KNOWN = 10_000
_LONGEST_KNOWN = 2048  # bytes; together they bound the memory to 20 MiB

_JOB_ID = 0x0A  # the tag of field 1 of PolicyCheckRequest
_APPROVAL_REF = b"\x42"  # field 8, length-delimited
_RESPONSE = b"\x0a"  # field 1 of CheckBatchResponse, length-delimited

_OWN = frozenset({DecidedBy.EFFECTIVE_CONFIG, DecidedBy.INPUT_RULE})
"""Such an outcome is made for one request, so it is not worth remembering what it looks like on the wire."""

_log = logging.get_logger(__name__)

_UNREADABLE = Outcome(decision=Decision.DENY, decided_by=DecidedBy.REQUEST, reason="the request cannot be read")


class _Wire:
    """One outcome, serialised: alone, and framed as a member of a batch answer."""

    __slots__ = ("framed", "needs_approval", "place", "plain")

    def __init__(self, outcome: Outcome, snapshot: SnapshotId) -> None:
        verdict = Verdict(
            decision=outcome.decision,
            reason=outcome.reason,
            rule_id=outcome.rule_id,
            snapshot=snapshot,
            constraints=outcome.constraints,
            remediations=outcome.remediations,
            approval=outcome.approval,
            retry_after_ms=outcome.retry_after_ms,
        )
        self.plain: bytes = convert.response_from_verdict(verdict).SerializeToString(deterministic=True)
        self.framed = _RESPONSE + _varint(len(self.plain)) + self.plain
        self.place = outcome.decision.severity
        self.needs_approval = outcome.decision is Decision.REQUIRE_APPROVAL


class Judge:
    """Decides by the policy it was given last; without one it denies everything.

    It counts what it decides, by decision and topic, until `take_counts`.
    """

    def __init__(self, *, most_known: int = MOST_KNOWN, known_for: float = 0.0) -> None:
        """What was decided for a request holds for equal ones as long as the policy is in force: it is no guess.

        Args:
            most_known: how many decisions are remembered, each for at most 2 KiB of request.
            known_for: seconds after which they are forgotten all the same; 0 for never.
        """
        self._most_known = most_known
        self._known_for = known_for
        self._forget_at = 0.0
        self._policy: CompiledPolicy | None = None
        self._snapshot = SnapshotId("")
        self._remembers = True
        self._job_ids: frozenset[str] = frozenset()
        self._wires: dict[Outcome, _Wire] = {}
        self._known: dict[bytes, tuple[_Wire, str]] = {}
        # By severity, which counts the decisions from 0: a list index costs a tenth of hashing an enum member.
        self._counts = [0] * len(Decision)
        self._topics: set[str] = set()

    def adopt(self, policy: CompiledPolicy, snapshot: SnapshotId) -> None:
        """From the next request on, decides by this policy."""
        self._policy = policy
        self._snapshot = snapshot
        self._remembers = not policy.counts
        self._job_ids = policy.job_ids
        self._wires = {}
        self._known = {}

    @property
    def policy(self) -> CompiledPolicy | None:
        """The policy it decides by."""
        return self._policy

    @property
    def default_tenant(self) -> str:
        """The tenant of a request that names none; "" while there is no policy."""
        return "" if self._policy is None else self._policy.default_tenant

    @property
    def counts(self) -> bool:
        """Whether the policy has rules for which requests must be counted."""
        return self._policy is not None and self._policy.counts

    def take_counts(self) -> tuple[dict[Decision, int], set[str]]:
        """How many decisions of each kind since the last call, and on which topics."""
        taken = {decision: self._counts[decision.severity] for decision in Decision}, self._topics
        self._counts, self._topics = [0] * len(Decision), set()
        return taken

    def queries(self, request: bytes) -> tuple[VelocityQuery, ...]:
        """What must be counted before this request is answered; empty for most. Never raises."""
        policy = self._policy
        if policy is None or not policy.counts:
            return ()
        try:
            asked = safety_pb2.PolicyCheckRequest.FromString(request)
            return velocity_queries(policy, read_request(asked, policy.default_tenant))
        except Exception:  # the answer says what is wrong with it
            return ()

    def answer(self, request: bytes, counted: Counted = NOTHING_COUNTED, objection: Outcome | None = None) -> bytes:
        """A serialised PolicyCheckResponse to a serialised PolicyCheckRequest. Never raises.

        Args:
            request: as the caller sent it.
            counted: what became of the request's `queries`.
            objection: what an action gate has against it; the policy's answer is never milder.
        """
        wire, job_id = self._decide(request, counted)
        if objection is not None and objection.decision.severity > wire.place:
            wire, job_id = self._objected(objection, request)
        self._counts[wire.place] += 1
        return _with_reference(wire.plain, job_id) if wire.needs_approval else wire.plain

    def answer_batch(
        self,
        requests: Iterable[bytes],
        counted: Sequence[Counted] = (),
        objections: Sequence[Outcome | None] = (),
    ) -> bytes:
        """A serialised CheckBatchResponse: one answer per request, in order. Never raises.

        `counted` and `objections` have one for each request, or nothing at all when there is nothing to say.
        """
        decide, counts = self._decide, self._counts
        out: list[bytes] = []
        for number, request in enumerate(requests):
            wire, job_id = decide(request, counted[number]) if counted else decide(request)
            if objections and (objection := objections[number]) and objection.decision.severity > wire.place:
                wire, job_id = self._objected(objection, request)
            counts[wire.place] += 1
            if wire.needs_approval:
                answer = _with_reference(wire.plain, job_id)
                out += (_RESPONSE, _varint(len(answer)), answer)
            else:
                out.append(wire.framed)
        return b"".join(out)

    def explain(
        self, request: bytes, counted: Counted = NOTHING_COUNTED, objection: Outcome | None = None
    ) -> kernel_pb2.ExplainInDetailResponse:
        """The decision, with the rules that were tried. Never raises."""
        response = self.answer(request, counted, objection)
        if self._policy is None:
            return kernel_pb2.ExplainInDetailResponse(response=response, decided_by=DecidedBy.NO_POLICY)
        try:
            asked = read_request(safety_pb2.PolicyCheckRequest.FromString(request), self._policy.default_tenant)
            found = explain(self._policy, asked, counted.exceeded, counted.uncounted)
            if objection is not None and objection.decision.severity > found.outcome.decision.severity:
                step = Step("action_gate", objection.decision, objection.rule_id, objection.reason)
                found = msgspec.structs.replace(found, outcome=objection, steps=(*found.steps, step))
            return _in_detail(response, found)
        except Exception:
            _log.exception("an explanation failed", event="policy_explain_panic")
            return kernel_pb2.ExplainInDetailResponse(response=response, decided_by=DecidedBy.REQUEST)

    def _decide(self, request: bytes, counted: Counted = NOTHING_COUNTED) -> tuple[_Wire, str]:
        """The outcome as bytes, and the job's id where the answer needs it.

        Nothing but the job's id tells most requests apart, and policy looks at it only where some job has rules of its
        own: what was decided for the same bytes behind it holds (15 us become 1). A policy that counts is always asked.
        """
        if not self._remembers:
            return self._evaluate(request, None, counted)
        rest = _behind_job_id(request)
        if self._job_ids and not self._is_like_any(request, rest):
            return self._evaluate(request, None, counted)
        if self._known_for:
            self._forget_in_time()
        known = self._known.get(rest)
        if known is not None:
            self._topics.add(known[1])
            return known[0], ""
        return self._evaluate(request, rest, counted)

    def _objected(self, objection: Outcome, request: bytes) -> tuple[_Wire, str]:
        return _Wire(objection, self._snapshot), safety_pb2.PolicyCheckRequest.FromString(request).job_id

    def _is_like_any(self, request: bytes, rest: bytes) -> bool:
        """Whether the job has an id, and none that any rule is attached to (which may be `job/<id>/policy`, too)."""
        job_id = request[2 : len(request) - len(rest)]
        return bool(job_id) and b"/" not in job_id and job_id.decode("ascii") not in self._job_ids

    def _forget_in_time(self) -> None:
        """All at once: none is ever older than the oldest may be."""
        now = time.monotonic()
        if now >= self._forget_at:
            self._known.clear()
            self._forget_at = now + self._known_for

    def _evaluate(self, request: bytes, rest: bytes | None, counted: Counted) -> tuple[_Wire, str]:
        """Whatever goes wrong on the way denies, and is not remembered; nor is anything when `rest` is None."""
        job_id = ""
        try:
            asked = safety_pb2.PolicyCheckRequest.FromString(request)
            job_id = asked.job_id
            topic = asked.topic
            self._topics.add(topic)
            policy = self._policy
            outcome = NO_POLICY if policy is None else _ask(policy, asked, counted)
        except DecodeError:
            return self._wire_of(_UNREADABLE), job_id
        except Exception as error:
            _log.exception("a policy evaluation failed and denies", event="policy_panic", job_id=job_id)
            reason = f"policy evaluation panic: {type(error).__name__}"
            return self._wire_of(Outcome(decision=Decision.DENY, decided_by=DecidedBy.REQUEST, reason=reason)), job_id
        wire = self._wire_of(outcome)
        if rest is not None and not wire.needs_approval and len(rest) <= _LONGEST_KNOWN:
            if len(self._known) >= self._most_known:
                self._known.clear()
            self._known[rest] = wire, topic
        return wire, job_id

    def _wire_of(self, outcome: Outcome) -> _Wire:
        wire = self._wires.get(outcome)
        return self._remember(outcome) if wire is None else wire

    def _remember(self, outcome: Outcome) -> _Wire:
        if outcome.decided_by in _OWN:
            return _Wire(outcome, self._snapshot)
        if len(self._wires) >= _MOST_REMEMBERED:
            self._wires.clear()
        wire = self._wires[outcome] = _Wire(outcome, self._snapshot)
        return wire


def _ask(policy: CompiledPolicy, asked: safety_pb2.PolicyCheckRequest, counted: Counted) -> Outcome:
    request = read_request(asked, policy.default_tenant)
    if counted is NOTHING_COUNTED:
        return evaluate(policy, request)
    return evaluate(policy, request, counted.exceeded, counted.uncounted)


def read_request(asked: safety_pb2.PolicyCheckRequest, default_tenant: str) -> PolicyRequest:
    """What the policy looks at. The request's own tenant, principal and labels go before those in its metadata."""
    labels: Mapping[str, str] = dict(asked.labels)
    content = asked.input_content
    if not asked.HasField("meta"):
        return PolicyRequest(
            asked.topic,
            asked.tenant.strip().lower() or default_tenant,
            "",
            NOTHING,
            NOTHING,
            "",
            asked.principal_id.strip().lower(),
            "",
            labels,
            asked.effective_config,
            asked.job_id,
            content,
            asked.input_content_type.strip().lower(),
            max(asked.input_size_bytes, len(content)),
        )
    meta = asked.meta
    if meta.labels:
        labels = {**meta.labels, **labels}
    return PolicyRequest(
        asked.topic,
        (asked.tenant.strip() or meta.tenant_id.strip()).lower() or default_tenant,
        meta.capability.strip().lower(),
        fold_all(meta.risk_tags),
        fold_all(meta.requires),
        meta.pack_id.strip().lower(),
        (meta.actor_id.strip() or asked.principal_id.strip()).lower(),
        _ACTOR_TYPES.get(meta.actor_type, ""),
        labels,
        asked.effective_config,
        asked.job_id,
        content,
        asked.input_content_type.strip().lower(),
        max(asked.input_size_bytes, len(content)),
    )


def _behind_job_id(request: bytes) -> bytes:
    """The request without the job's id, if that stands first and is plain; else all of it."""
    if len(request) > 1 and request[0] == _JOB_ID:
        end = 2 + request[1]
        # Longer ids have a longer length; and what is not ASCII may not be UTF-8 either, which makes a bad request.
        if request[1] < 0x80 and end <= len(request) and request[2:end].isascii():
            return request[end:]
    return request


def _in_detail(response: bytes, explanation: Explanation) -> kernel_pb2.ExplainInDetailResponse:
    return kernel_pb2.ExplainInDetailResponse(
        response=response,
        tried=[_rule_note(note) for note in explanation.tried],
        rules=explanation.rules,
        candidates=explanation.candidates,
        decided_by=explanation.outcome.decided_by,
        tier=explanation.tier,
        near_misses=[_rule_note(note) for note in explanation.near_misses],
        steps=[
            kernel_pb2.CombiningStep(name=step.name, decision=step.decision, rule_id=step.rule_id, reason=step.reason)
            for step in explanation.steps
        ],
    )


def _rule_note(note: Tried) -> kernel_pb2.RuleNote:
    return kernel_pb2.RuleNote(
        rule_id=note.rule_id,
        position=note.position,
        matched=note.matched,
        matcher=note.matcher,
        wanted=note.wanted,
        observed=note.observed,
        tier=note.tier,
        bundle=note.bundle,
    )


def _with_reference(plain: bytes, job_id: str) -> bytes:
    """The approval reference is the job's id; protobuf lets a field be appended to a serialised message."""
    reference = job_id.encode()
    return b"".join((plain, _APPROVAL_REF, _varint(len(reference)), reference)) if reference else plain


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
