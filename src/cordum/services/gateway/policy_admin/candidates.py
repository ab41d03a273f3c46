"""`/policy/bundles/{id}/simulate` and `/policy/diff`: looking at a candidate before it decides anything."""

import asyncio
import difflib
from typing import Annotated, Final

import msgspec
from cap.pb.cordum.agent.v1 import safety_pb2
from msgspec import Meta

from cordum.core.policy.bundles import Bundle
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy.decision import decision_body
from cordum.services.gateway.policy.explanation import explained
from cordum.services.gateway.policy.question import PolicyCheck, check_request
from cordum.services.gateway.policy_admin.bundles import find, named
from cordum.services.gateway.policy_admin.changing import Bundles, changes_between, read_tolerantly
from cordum.services.gateway.policy_admin.naming import EDITABLE, BundleName, bundle_id_of
from cordum.services.gateway.policy_admin.platform import demand_platform
from cordum.services.gateway.policy_admin.trying import demand_valid
from cordum.services.gateway.policy_admin.words import Content, Name

MAX_LINES: Final = 6_000
"""Lines of both texts together up to which a text difference is made; beyond, finding one takes seconds."""
SCRATCH_ID: Final = f"{EDITABLE}candidate"
"""The bundle a candidate without a name stands for."""


class SimulateBody(msgspec.Struct, forbid_unknown_fields=True):
    """A question to a candidate."""

    request: PolicyCheck
    content: Annotated[Content | None, Meta(description="The candidate; none: the draft, or else what is stored")] = (
        None
    )


class DiffBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to compare with the policy in force: a text, a snapshot, or else drafts."""

    bundle_id: BundleName | None = None
    content: Content | None = None
    snapshot_id: Name | None = None
    bundle_ids: Annotated[
        list[BundleName], Meta(max_length=1000, description="The drafts; none: all that publishing would take")
    ] = []


class BundleDiff(msgspec.Struct):
    """How one bundle differs; `text` is a unified difference, empty where the texts are too long for one."""

    bundle_id: str
    change: str
    text: str = ""


async def simulate(parts: Parts, call: Call) -> Answer:
    """What the policy would say with this bundle as given."""
    demand_platform(parts, call)
    body: SimulateBody = call.body
    bundle_id = named(call)
    content = body.content
    if content is None:
        stored, draft, _ = await find(parts, bundle_id)
        shown = draft or stored
        content = shown.content if shown else ""
    bound = call.caller.principal
    if bound and body.request.principal_id and body.request.principal_id != bound:
        raise ApiError("principal_access_denied")
    claimed = (body.request.principal_id or "") if parts.authenticator.trusts_header_principal else ""
    request = check_request(body.request, call.tenant, bound or claimed)
    trial = await parts.policy_trials.run(
        {bundle_id: content},
        requests=(request.SerializeToString(),),
        ask=frozenset({"explain"}),
    )
    demand_valid(trial)
    now = parts.clock.now()
    shown_body = decision_body(safety_pb2.PolicyCheckResponse.FromString(trial.responses[0]), now)
    current = decision_body(safety_pb2.PolicyCheckResponse.FromString(trial.current_responses[0]), now)
    if trial.explanations:
        shown_body |= explained(trial.explanations[0])
    shown_body["current"] = current
    shown_body["warnings"] = msgspec.to_builtins(trial.warnings)
    return answer(shown_body)


async def diff(parts: Parts, call: Call) -> Answer:
    """What would change: in the text, and in what is decided."""
    demand_platform(parts, call)
    body: DiffBody = call.body or DiffBody()
    state = await parts.store.policies.in_force()
    before, _ = read_tolerantly(state.bundles)
    after = await _candidate(parts, body, before)
    names = tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
    changes = changes_between(before, after, names)
    trial = await parts.policy_trials.run(changes, ask=frozenset({"differences"}))
    demand_valid(trial)
    texts = await asyncio.to_thread(_texts, before, changes)
    counts = {word: sum(item.direction == word for item in trial.differences) for word in ("escalated", "relaxed")}
    return answer(
        {
            "current_snapshot": trial.current_snapshot,
            "candidate_snapshot": trial.snapshot,
            "bundles": texts,
            "differences": trial.differences,
            "complete": trial.differences_complete,
            **counts,
            "tests": trial.tests,
            "tests_failed": len(trial.failed_tests),
            "warnings": trial.warnings,
        }
    )


async def _candidate(parts: Parts, body: DiffBody, before: Bundles) -> Bundles:
    """All bundles as they would be."""
    if body.content is not None:
        name = bundle_id_of(body.bundle_id or SCRATCH_ID)
        return {**before, name: Bundle(id=name, content=body.content)}
    if body.snapshot_id is not None:
        for snapshot in await parts.store.policies.snapshots():
            if snapshot.id == body.snapshot_id:
                return read_tolerantly(snapshot.bundles)[0]
        raise ApiError("policy_snapshot_not_found")
    drafts = await parts.drafts.all()
    names = [bundle_id_of(name) for name in body.bundle_ids] or (
        [bundle_id_of(body.bundle_id)] if body.bundle_id else []
    )
    if not names:
        names = [name for name, draft in drafts.items() if name.startswith(EDITABLE) and draft.enabled]
    after = dict(before)
    for name in names:
        shown = drafts.get(name) or before.get(name)
        if shown is None:
            raise ApiError("policy_bundle_not_found", f"there is no bundle {name}")
        after[name] = msgspec.structs.replace(shown, enabled=True)
    return after


def _texts(before: Bundles, changes: dict[str, str]) -> list[BundleDiff]:
    found = []
    for name, new in sorted(changes.items()):
        stored = before.get(name)
        old = stored.content if stored is not None and stored.enabled else ""
        change = "added" if not old else "removed" if not new else "changed"
        found.append(BundleDiff(name, change, _text_diff(name, old, new)))
    return found


def _text_diff(name: str, old: str, new: str) -> str:
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    if len(before) + len(after) > MAX_LINES:
        return ""
    return "".join(
        line if line.endswith("\n") else f"{line}\n"
        for line in difflib.unified_diff(before, after, f"{name} (in force)", f"{name} (candidate)")
    )


def content_of(bundle_id: str | None, content: str | None, drafts: Bundles, stored: Bundles) -> dict[str, str]:
    """A candidate given by text or by the name of a bundle, as changes to try.

    Raises:
        ApiError: 404 there is no such bundle.
    """
    if content is not None:
        if not content.strip():
            raise invalid("candidate_content is empty", "POLICY_VALIDATION_FAILED")
        return {bundle_id_of(bundle_id or SCRATCH_ID): content}
    if bundle_id is None:
        return {}
    name = bundle_id_of(bundle_id)
    shown = drafts.get(name) or stored.get(name)
    if shown is None:
        raise ApiError("policy_bundle_not_found", f"there is no bundle {name}")
    return {name: shown.content}
