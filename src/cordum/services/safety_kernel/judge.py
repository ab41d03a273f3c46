"""Requests in, answers out, both as bytes: what every call of the kernel comes down to.

Nearly all answers are one of a few per policy, so each outcome is serialised once; only the approval reference is the
job's own. That, and reading fields straight off the message, is what makes a hundred thousand decisions a second.
"""

from collections.abc import Iterable, Mapping

from cap.pb.cordum.agent.v1 import safety_pb2
from google.protobuf.message import DecodeError

from cordum.core.ids import SnapshotId
from cordum.core.policy.compile import CompiledPolicy
from cordum.core.policy.decision import Decision, Verdict
from cordum.core.policy.evaluate import Explanation, evaluate, explain
from cordum.core.policy.outcome import NO_POLICY, DecidedBy, Outcome
from cordum.core.policy.request import NOTHING, PolicyRequest, fold_all
from cordum.rpc import convert
from cordum.rpc.gen.cordum.v1 import kernel_pb2
from cordum.runtime import logging

_ACTOR_TYPES = {1: "human", 2: "service"}
_MOST_REMEMBERED = 65_536

_APPROVAL_REF = b"\x42"  # field 8, length-delimited
_RESPONSE = b"\x0a"  # field 1 of CheckBatchResponse, length-delimited

_log = logging.get_logger(__name__)

_UNREADABLE = Outcome(decision=Decision.DENY, decided_by=DecidedBy.REQUEST, reason="the request cannot be read")


class _Wire:
    """One outcome, serialised: alone, and framed as a member of a batch answer."""

    __slots__ = ("decision", "framed", "needs_approval", "plain")

    def __init__(self, outcome: Outcome, snapshot: SnapshotId) -> None:
        verdict = Verdict(
            decision=outcome.decision,
            reason=outcome.reason,
            rule_id=outcome.rule_id,
            snapshot=snapshot,
            constraints=outcome.constraints,
            remediations=outcome.remediations,
        )
        self.plain: bytes = convert.response_from_verdict(verdict).SerializeToString(deterministic=True)
        self.framed = _RESPONSE + _varint(len(self.plain)) + self.plain
        self.decision = outcome.decision
        self.needs_approval = outcome.decision is Decision.REQUIRE_APPROVAL


class Judge:
    """Decides by the policy it was given last; without one it denies everything.

    It counts what it decides, by decision and topic, until `take_counts`.
    """

    def __init__(self) -> None:
        self._policy: CompiledPolicy | None = None
        self._snapshot = SnapshotId("")
        self._wires: dict[Outcome, _Wire] = {}
        self._counts: dict[Decision, int] = dict.fromkeys(Decision, 0)
        self._topics: set[str] = set()

    def adopt(self, policy: CompiledPolicy, snapshot: SnapshotId) -> None:
        """From the next request on, decides by this policy."""
        self._policy = policy
        self._snapshot = snapshot
        self._wires = {}

    def take_counts(self) -> tuple[dict[Decision, int], set[str]]:
        """How many decisions of each kind since the last call, and on which topics."""
        taken = self._counts, self._topics
        self._counts, self._topics = dict.fromkeys(Decision, 0), set()
        return taken

    def answer(self, request: bytes) -> bytes:
        """A serialised PolicyCheckResponse to a serialised PolicyCheckRequest. Never raises."""
        wire, job_id = self._decide(request)
        self._counts[wire.decision] += 1
        return _with_reference(wire.plain, job_id) if wire.needs_approval else wire.plain

    def answer_batch(self, requests: Iterable[bytes]) -> bytes:
        """A serialised CheckBatchResponse: one answer per request, in order. Never raises."""
        decide, counts = self._decide, self._counts
        out: list[bytes] = []
        for request in requests:
            wire, job_id = decide(request)
            counts[wire.decision] += 1
            if wire.needs_approval:
                answer = _with_reference(wire.plain, job_id)
                out += (_RESPONSE, _varint(len(answer)), answer)
            else:
                out.append(wire.framed)
        return b"".join(out)

    def explain(self, request: bytes) -> kernel_pb2.ExplainInDetailResponse:
        """The decision, with the rules that were tried. Never raises."""
        response = self.answer(request)
        if self._policy is None:
            return kernel_pb2.ExplainInDetailResponse(response=response, decided_by=DecidedBy.NO_POLICY)
        try:
            asked = read_request(safety_pb2.PolicyCheckRequest.FromString(request), self._policy.default_tenant)
            return _in_detail(response, explain(self._policy, asked))
        except Exception:
            _log.exception("an explanation failed", event="policy_explain_panic")
            return kernel_pb2.ExplainInDetailResponse(response=response, decided_by=DecidedBy.REQUEST)

    def _decide(self, request: bytes) -> tuple[_Wire, str]:
        """The outcome as bytes, and the job's id. Whatever goes wrong on the way denies."""
        job_id = ""
        try:
            asked = safety_pb2.PolicyCheckRequest.FromString(request)
            job_id = asked.job_id
            self._topics.add(asked.topic)
            policy = self._policy
            outcome = NO_POLICY if policy is None else evaluate(policy, read_request(asked, policy.default_tenant))
        except DecodeError:
            outcome = _UNREADABLE
        except Exception as error:
            _log.exception("a policy evaluation failed and denies", event="policy_panic", job_id=job_id)
            reason = f"policy evaluation panic: {type(error).__name__}"
            outcome = Outcome(decision=Decision.DENY, decided_by=DecidedBy.REQUEST, reason=reason)
        wire = self._wires.get(outcome)
        return (wire if wire is not None else self._remember(outcome)), job_id

    def _remember(self, outcome: Outcome) -> _Wire:
        if len(self._wires) >= _MOST_REMEMBERED:
            self._wires.clear()
        wire = self._wires[outcome] = _Wire(outcome, self._snapshot)
        return wire


def read_request(asked: safety_pb2.PolicyCheckRequest, default_tenant: str) -> PolicyRequest:
    """What the policy looks at. The request's own tenant, principal and labels go before those in its metadata."""
    labels: Mapping[str, str] = asked.labels
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
        )
    meta = asked.meta
    if meta.labels:
        labels = {**meta.labels, **labels}
    return PolicyRequest(
        asked.topic,
        (asked.tenant.strip() or meta.tenant_id.strip()).lower() or default_tenant,
        meta.capability.strip().lower(),
        fold_all(meta.risk_tags) if meta.risk_tags else NOTHING,
        fold_all(meta.requires) if meta.requires else NOTHING,
        meta.pack_id.strip().lower(),
        (meta.actor_id.strip() or asked.principal_id.strip()).lower(),
        _ACTOR_TYPES.get(meta.actor_type, ""),
        labels,
        asked.effective_config,
    )


def _in_detail(response: bytes, explanation: Explanation) -> kernel_pb2.ExplainInDetailResponse:
    return kernel_pb2.ExplainInDetailResponse(
        response=response,
        tried=[
            kernel_pb2.RuleNote(
                rule_id=note.rule_id,
                position=note.position,
                matched=note.matched,
                matcher=note.matcher,
                wanted=note.wanted,
                observed=note.observed,
            )
            for note in explanation.tried
        ],
        rules=explanation.rules,
        candidates=explanation.candidates,
        decided_by=explanation.outcome.decided_by,
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
