"""Shadow policies: candidates that see a tenant's jobs beside the policy in force, and decide nothing (spec-safety 9).

Decisions are never held up: what is to be compared waits in a short queue, and what does not fit there is dropped and
counted.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2
from google.protobuf.message import DecodeError

from cordum.core.audit.event import AuditEvent, EventType, Severity
from cordum.core.ids import Micros, TenantId
from cordum.core.policy.compile import CompiledPolicy
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.outcome import Outcome
from cordum.runtime import logging, metrics
from cordum.runtime.clock import Clock
from cordum.services.safety_kernel.judge import read_request
from cordum.services.safety_kernel.keeper import PolicyKeeper
from cordum.services.safety_kernel.loading import LoadedPolicy, PolicyLoader
from cordum.store.errors import StoreError
from cordum.store.shadows import Comparison, Shadow
from cordum.store.store import Store

REFRESH_S: Final = 15.0
MOST_WAITING: Final = 1000
_MOST_KNOWN: Final = 4096
_AT_ONCE: Final = 64

ESCALATED: Final = "escalated"
RELAXED: Final = "relaxed"
APPROVAL_DIFFERS: Final = "approval_differ"
UNCHANGED: Final = "unchanged"

_log = logging.get_logger(__name__)


class _Beside(msgspec.Struct, frozen=True, eq=False):
    """A shadow, ready to be asked; made for one policy in force."""

    shadow: Shadow
    policy: CompiledPolicy


class Shadowing:
    """Compares. `observe` is all that decisions notice of it."""

    def __init__(self, loader: PolicyLoader, keeper: PolicyKeeper, store: Store, clock: Clock) -> None:
        self._loader = loader
        self._keeper = keeper
        self._store = store
        self._clock = clock
        self._beside: dict[str, tuple[_Beside, ...]] = {}
        self._made_for: LoadedPolicy | None = None
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)
        self._known: dict[tuple[str, str], None] = {}
        self._fault = ""

    def observe(self, requests: Iterable[bytes]) -> None:
        """Notes requests that were decided, each a serialised PolicyCheckRequest. Costs nothing without shadows."""
        if not self._beside:
            return
        for request in requests:
            try:
                self._queue.put_nowait(request)
            except asyncio.QueueFull:
                metrics.SHADOW_DROPPED.labels("queue_full").inc()
        metrics.SHADOW_QUEUE.set(self._queue.qsize())

    async def run(self) -> None:
        """Looks for shadows every 15 seconds and compares, until cancelled."""
        refreshing = asyncio.create_task(self._refresh_for_ever(), name="shadow refresh")
        try:
            while True:
                await self._compare([await self._queue.get()])
        finally:
            refreshing.cancel()
            await asyncio.wait((refreshing,))

    async def _refresh_for_ever(self) -> None:
        while True:
            try:
                await self.refresh()
                self._fault = ""
            except StoreError as error:
                self._complain(f"shadow policies cannot be read: {error.message}")
            except Exception:
                _log.exception("the shadow policies could not be refreshed", event="shadow_refresh_failed")
            await self._clock.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Makes what is stored ready to be asked. Raises StoreError; what was ready stays so."""
        in_force = self._keeper.loaded
        known = {
            (tenant, beside.shadow.id): beside
            for tenant, ready in self._beside.items()
            for beside in ready
            if in_force is self._made_for
        }
        made: dict[str, tuple[_Beside, ...]] = {}
        for tenant in await self._store.shadows.tenants():
            found: list[_Beside] = []
            for shadow in (await self._store.shadows.of(tenant)).values():
                beside = known.get((tenant, shadow.id)) or await self._prepared(shadow)
                if beside is not None:
                    found.append(beside)
            if found:
                made[tenant.strip().lower()] = tuple(found)
        self._beside, self._made_for = made, in_force

    async def _prepared(self, shadow: Shadow) -> _Beside | None:
        candidate = await asyncio.to_thread(
            self._loader.candidate, self._keeper.found, {shadow.bundle_id: shadow.content}
        )
        if candidate.loaded is None:
            self._complain(
                f"shadow policy {shadow.id} ({shadow.bundle_id}) cannot be used: {candidate.faults[0].fault}"
            )
            return None
        return _Beside(shadow, candidate.loaded.compiled)

    async def _compare(self, requests: list[bytes]) -> None:
        """What waits is taken along, so that its results share one round trip."""
        while not self._queue.empty() and len(requests) < _AT_ONCE:
            requests.append(self._queue.get_nowait())
        metrics.SHADOW_QUEUE.set(self._queue.qsize())
        in_force = self._keeper.loaded
        if in_force is None:
            return
        writes = [write for request in requests for write in self._one(request, in_force)]
        try:
            await asyncio.gather(*(self._write(*write) for write in writes))
        except StoreError as error:
            metrics.SHADOW_DROPPED.labels("store_unavailable").inc(len(writes))
            self._complain(f"shadow results cannot be written: {error.message}")

    def _one(self, request: bytes, in_force: LoadedPolicy) -> Sequence[tuple[str, Shadow, Comparison, Outcome]]:
        try:
            asked = safety_pb2.PolicyCheckRequest.FromString(request)
        except DecodeError:
            return ()
        question = read_request(asked, in_force.compiled.default_tenant)
        found = []
        for beside in self._beside.get(question.tenant, ()):
            if self._seen(beside.shadow.id, asked.job_id):
                continue
            started = time.perf_counter()
            try:
                active, shadow = evaluate(in_force.compiled, question), evaluate(beside.policy, question)
            except Exception:
                metrics.SHADOW_DROPPED.labels("failed").inc()
                _log.exception("a shadow policy failed", event="shadow_failed", shadow_id=beside.shadow.id)
                continue
            metrics.SHADOW_DURATION.observe(time.perf_counter() - started)
            diff = difference(active, shadow)
            metrics.SHADOW_EVALS.labels(shadow.decision.value, diff).inc()
            comparison = Comparison(
                shadow_id=beside.shadow.id,
                at=int(self._clock.now() * 1000),
                diff=diff,
                topic=asked.topic[:256],
                job_id=asked.job_id[:128],
                active_decision=active.decision.value,
                active_rule_id=active.rule_id,
                shadow_decision=shadow.decision.value,
                shadow_rule_id=shadow.rule_id,
            )
            found.append((question.tenant, beside.shadow, comparison, shadow))
        return found

    async def _write(self, tenant: str, shadow: Shadow, comparison: Comparison, outcome: Outcome) -> None:
        owner = TenantId(tenant)
        await self._store.shadows.record(owner, shadow.bundle_id, comparison)
        if comparison.diff != UNCHANGED:
            await self._store.audit.append(_event(owner, shadow, comparison, outcome))

    def _seen(self, shadow_id: str, job_id: str) -> bool:
        """A job is asked about when it is submitted and again before it runs; it is compared once."""
        key = shadow_id, job_id
        if not job_id or key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[key] = None
            return False
        return True

    def _complain(self, fault: str) -> None:
        """Once, until something else is wrong."""
        if fault != self._fault:
            self._fault = fault
            _log.warning(fault, event="shadow_policy_unusable")


def difference(active: Outcome, shadow: Outcome) -> str:
    """What a candidate would change: escalated, relaxed, approval_differ or unchanged."""
    if shadow.decision.severity != active.decision.severity:
        return ESCALATED if shadow.decision.severity > active.decision.severity else RELAXED
    return UNCHANGED if shadow.approval == active.approval else APPROVAL_DIFFERS


def _event(tenant: TenantId, shadow: Shadow, comparison: Comparison, outcome: Outcome) -> AuditEvent:
    return AuditEvent(
        id=f"{shadow.id}:{comparison.job_id or comparison.at}",
        event_type=EventType.SHADOW.value,
        tenant=tenant,
        action="shadow_eval",
        created_at=Micros(comparison.at * 1000),
        severity=Severity.INFO,
        resource_type="shadow",
        resource_id=shadow.id,
        job_id=comparison.job_id,
        bundle_ids=(shadow.bundle_id,),
        decision=outcome.decision.value,
        matched_rule=outcome.rule_id,
        reason=outcome.reason,
        extra={"diff": comparison.diff, "active": comparison.active_decision, "topic": comparison.topic},
    )
