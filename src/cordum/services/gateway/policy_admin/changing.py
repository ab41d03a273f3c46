"""The one way by which anything comes into force, or goes out of it.

Read, plan, try in the kernel, sign, compare-and-set; from the start again when somebody else was faster. So what was
tried is exactly what comes into force, and two people who publish at once both find their change there.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from cordum.bus import Bus
from cordum.core.policy.bundles import Bundle, BundleError, read_bundle, write_bundle
from cordum.rpc.kernel_client import KernelUnavailableError
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.services.gateway.config_changes import announce_change
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.policy_admin.signer import PolicySigner
from cordum.services.gateway.policy_admin.trying import REMOVED, PolicyTrials, Trial, demand_valid
from cordum.store import Store
from cordum.store.errors import StoreConflictError
from cordum.store.policies import PolicyState, next_revision
from cordum.store.snapshots import snapshot_of

TRIES: Final = 12
MAX_BUNDLES: Final = 1_000
MAX_TOTAL: Final = 4 * 1024 * 1024
"""Characters of all bundles together."""

log = get_logger(__name__)

Bundles = dict[str, Bundle]
Plan = Callable[[Bundles, PolicyState], Bundles]
"""From the bundles as stored to those wanted; raises ApiError when that cannot be. May be called again."""


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What a change has to pass besides being valid.

    Attributes:
        acknowledged: the caller knows that requests get through that are stopped now.
        relaxing: what is to happen when they do: `ask` wants the acknowledgement, `allow` does not.
        without_kernel: whether it may be made untried when no kernel answers, if acknowledged: going back to what was
            in force already is how one gets out of an outage.
    """

    acknowledged: bool = False
    relaxing: str = "ask"
    without_kernel: bool = False


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did. `changed` names the bundles; none when everything was so already."""

    snapshot_before: str
    snapshot_after: str
    revision: int
    changed: tuple[str, ...]
    state: PolicyState
    trial: Trial | None


class PolicyChanger:
    """Changes what is in force. Holds nothing but its ports."""

    def __init__(self, store: Store, bus: Bus, trials: PolicyTrials, signer: PolicySigner, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._trials = trials
        self._signer = signer
        self._clock = clock
        self._turn = asyncio.Lock()

    async def change(self, plan: Plan, guard: Guard, *, author: str, note: str = "") -> Changed:
        """Puts in force what `plan` wants.

        Args:
            author: who is put down in snapshots.
            note: with one, the state after is kept as a snapshot of its own even if it is known already.

        Raises:
            ApiError: 400 the result is not a policy, 409 it relaxes, fails its own tests, or others were faster every
                time, 503 it could not be signed.
            KernelUnavailableError: it could not be tried.
        """
        self._signer.demand()
        # In one process changes wait for each other, so that many at once do not starve on the compare-and-set.
        async with self._turn:
            for _ in range(TRIES):
                try:
                    return await self._once(plan, guard, author, note)
                except StoreConflictError:
                    continue
        raise ApiError("POLICY_VERSION_CONFLICT", "the policy is being changed by others all the time: try again")

    async def _once(self, plan: Plan, guard: Guard, author: str, note: str) -> Changed:
        policies = self._store.policies
        state = await policies.in_force()
        readable, unreadable = read_tolerantly(state.bundles)
        before = {**readable, **unreadable}
        after = plan(before, state)
        changed = tuple(sorted(name for name in before.keys() | after.keys() if after.get(name) != before.get(name)))
        demand_bounded(after)
        if left := [name for name in unreadable if name in after and name not in changed]:
            raise ApiError(
                "POLICY_BUNDLE_UNREADABLE", f"the stored bundle {left[0]} cannot be read: delete or rewrite it first"
            )
        trial = await self._try(before, after, changed, guard) if changed else None
        kept = await policies.keep_snapshot(snapshot_of(state.bundles, policies.now(), author=author))
        unsigned = {name for name, bundle in after.items() if bundle.signature is None}
        if not changed and not (self._signer.has_key and (unsigned or (after and state.manifest is None))):
            return Changed(
                snapshot_before=kept.id,
                snapshot_after=kept.id,
                revision=state.revision,
                changed=(),
                state=state,
                trial=None,
            )
        revision = next_revision(state)
        fresh = unsigned.union(changed)
        signed = {name: self._signer.signed(bundle) if name in fresh else bundle for name, bundle in after.items()}
        raw = {name: _raw(bundle, state.bundles.get(name), name in fresh) for name, bundle in signed.items()}
        manifest = self._signer.manifest(signed.values(), revision, self._clock.now())
        new = await policies.replace(state, raw, manifest, revision)
        # From here on it is in force, whatever else fails.
        await announce_change(self._bus, self._clock, "system", "policy", revision=str(revision))
        reached = await policies.keep_snapshot(snapshot_of(raw, policies.now(), author=author, note=note))
        log.info("policy changed", event="policy_changed", revision=revision, bundles=changed, by=author)
        return Changed(
            snapshot_before=kept.id,
            snapshot_after=reached.id,
            revision=revision,
            changed=changed,
            state=new,
            trial=trial,
        )

    async def _try(self, before: Bundles, after: Bundles, changed: tuple[str, ...], guard: Guard) -> Trial | None:
        changes = changes_between(before, after, changed)
        try:
            trial = await self._trials.run(changes, ask=frozenset({"differences"}))
        except KernelUnavailableError:
            if guard.without_kernel and guard.acknowledged:
                log.warning("the policy is changed untried: no kernel answers", event="policy_changed_untried")
                return None
            raise
        demand_valid(trial)
        if trial.failed_tests:
            raise ApiError(
                "POLICY_TESTS_FAILED",
                f'the policy\'s own test "{trial.failed_tests[0].name}" fails',
                extra={"tests": msgspec.to_builtins(trial.failed_tests)},
            )
        if guard.relaxing == "ask" and not guard.acknowledged and trial.relaxed:
            raise ApiError(
                "POLICY_RELAXED",
                extra={
                    "differences": msgspec.to_builtins(trial.relaxed),
                    "differences_complete": trial.differences_complete,
                },
            )
        return trial


def read_tolerantly(stored: Mapping[str, Any]) -> tuple[Bundles, Bundles]:
    """The bundles that can be read, and empty ones in the place of those that cannot."""
    good: Bundles = {}
    bad: Bundles = {}
    for name, raw in stored.items():
        try:
            good[name] = read_bundle(name, raw)
        except BundleError as error:
            bad[name] = Bundle(id=name, content="", enabled=False, message=error.message)
    return good, bad


def changes_between(before: Bundles, after: Bundles, names: tuple[str, ...]) -> dict[str, str]:
    """The named bundles' change of what is in force: new content, or REMOVED for what goes or is switched off."""
    changes = {}
    for name in names:
        old, new = before.get(name), after.get(name)
        was = old.content if old is not None and old.enabled else REMOVED
        will = new.content if new is not None and new.enabled else REMOVED
        if was != will:
            changes[name] = will
    return changes


def demand_bounded(bundles: Bundles) -> None:
    """Raises ApiError 400 for more than the kernels should have to carry."""
    if len(bundles) > MAX_BUNDLES:
        raise ApiError("POLICY_VALIDATION_FAILED", f"{len(bundles)} bundles; {MAX_BUNDLES} are the most")
    total = sum(len(bundle.content) for bundle in bundles.values())
    if total > MAX_TOTAL:
        raise ApiError("POLICY_VALIDATION_FAILED", f"{total} characters in all bundles; {MAX_TOTAL} are the most")


def _raw(bundle: Bundle, stored: Any, is_changed: bool) -> Any:
    """As stored; of a bundle that did not change not a byte, of one that did what we do not know of stays."""
    if not is_changed and stored is not None:
        return stored
    written = write_bundle(bundle)
    if isinstance(stored, dict):
        known = set(Bundle.__struct_fields__) | {"content", "policy", "data", "_signature"}
        written |= {name: value for name, value in stored.items() if name not in known}
    return written
