"""`/api/v1/policy/bundles`: writing and looking at bundles (spec-gateway section 7)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cordum.core.policy.bundles import Bundle
from cordum.services.gateway.answer import NO_CONTENT, Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.changing import Bundles, Changed, Guard, read_tolerantly
from cordum.services.gateway.policy_admin.naming import bundle_id_of, editable
from cordum.services.gateway.policy_admin.platform import demand_platform
from cordum.services.gateway.policy_admin.trying import Trial, demand_valid
from cordum.services.gateway.policy_admin.views import detail, raw_bundles, status_of, summary
from cordum.services.gateway.policy_admin.words import Acknowledgement, Content, Name, Word, author_of
from cordum.store.policies import PolicyState


class BundleQuery(msgspec.Struct):
    """Names the bundle where a path cannot."""

    bundle_id: Annotated[str, Meta(max_length=256, description="The id, instead of the one in the path")] | None = None


class RemovalQuery(BundleQuery):
    """Query of a deletion."""

    acknowledge_relaxed: Acknowledgement = False


class BundleBody(msgspec.Struct, forbid_unknown_fields=True):
    """A bundle to be stored."""

    content: Content
    enabled: (
        Annotated[
            bool, Meta(description="false: a bundle in force is switched off; a draft is published only when named")
        ]
        | None
    ) = None
    author: Name = ""
    message: Word = ""
    acknowledge_relaxed: Acknowledgement = False


class BundleStored(msgspec.Struct, omit_defaults=True):
    """A bundle was stored."""

    id: str
    updated_at: str
    status: str
    sha256: str
    signature: dict[str, Any] | str | None = None
    warnings: list[Any] = []
    tests: list[Any] = []
    tests_failed: int = 0
    snapshot_before: str = ""
    snapshot_after: str = ""


def named(call: Call) -> str:
    """The id of the bundle a call is about."""
    query = call.query
    asked = query.bundle_id if isinstance(query, BundleQuery) else None
    return bundle_id_of(asked or call.params["bundle_id"])


async def list_bundles(parts: Parts, call: Call) -> Answer:
    """All bundles: in force, switched off, and drafted."""
    demand_platform(parts, call)
    state = await parts.store.policies.in_force()
    drafts = await parts.drafts.all()
    good, bad = read_tolerantly(state.bundles)
    names = sorted(good.keys() | drafts.keys())
    return answer(
        {
            "bundles": raw_bundles(state.bundles, drafts),
            "items": [summary(good.get(name), drafts.get(name)) for name in names],
            "errors": [{"bundle_id": bundle.id, "error": bundle.message} for bundle in bad.values()],
            "revision": state.revision,
            "updated_at": state.published_at,
        }
    )


async def show(parts: Parts, call: Call) -> Answer:
    """One bundle."""
    demand_platform(parts, call)
    stored, draft, _ = await find(parts, named(call))
    return answer(detail(stored, draft))


async def write(parts: Parts, call: Call) -> Answer:
    """Stores a draft, or switches a bundle in force off."""
    demand_platform(parts, call)
    bundle_id = editable(named(call))
    body: BundleBody = call.body
    if not body.content.strip():
        raise invalid("content is empty: delete the bundle instead", "POLICY_VALIDATION_FAILED")
    parts.policy_signer.demand()
    state = await parts.store.policies.in_force()
    stored = read_tolerantly(state.bundles)[0].get(bundle_id)
    old = (await parts.drafts.all()).get(bundle_id) or stored
    trial = await parts.policy_trials.run({bundle_id: body.content})
    demand_valid(trial)
    now = parts.store.policies.now()
    draft = parts.policy_signer.signed(
        Bundle(
            id=bundle_id,
            content=body.content,
            enabled=body.enabled is not False,
            author=author_of(call, body.author),
            message=body.message,
            created_at=(old.created_at if old else "") or now,
            updated_at=now,
            version=old.version if old else "",
        )
    )
    off = await _switch_off(parts, call, bundle_id, body) if body.enabled is False and stored else None
    if stored is not None and stored.content == draft.content and stored.enabled is draft.enabled:
        await parts.drafts.forget(bundle_id)
        status = status_of(stored, None)
    else:
        await parts.drafts.keep(draft)
        status = status_of(None if off else stored, draft)
    await parts.auditor.record(
        call.caller,
        "edit",
        resource_type="bundle",
        resource_id=bundle_id,
        message=body.message,
        bundle_ids=(bundle_id,),
        extra={"sha256": draft.digest, "status": status},
        snapshot_before=off.snapshot_before if off else "",
        snapshot_after=off.snapshot_after if off else "",
    )
    return answer(_stored(draft, status, trial, off))


async def remove(parts: Parts, call: Call) -> Answer:
    """Takes a bundle out of force, and its draft away."""
    demand_platform(parts, call)
    bundle_id = editable(named(call))
    query: RemovalQuery = call.query
    state = await parts.store.policies.in_force()
    drafts = await parts.drafts.all()
    if bundle_id not in state.bundles and bundle_id not in drafts:
        raise ApiError("policy_bundle_not_found")
    changed = await take_out(
        parts,
        call,
        (bundle_id,),
        Guard(acknowledged=query.acknowledge_relaxed, without_kernel=True),
        note=f"delete {bundle_id}",
    )
    await parts.drafts.forget(bundle_id)
    await parts.auditor.record(
        call.caller,
        "delete",
        resource_type="bundle",
        resource_id=bundle_id,
        bundle_ids=(bundle_id,),
        snapshot_before=changed.snapshot_before,
        snapshot_after=changed.snapshot_after,
    )
    return NO_CONTENT


async def take_out(parts: Parts, call: Call, bundle_ids: tuple[str, ...], guard: Guard, *, note: str = "") -> Changed:
    """Deletes bundles; those that are not there are as wanted."""

    def plan(bundles: Bundles, state: PolicyState) -> Bundles:
        return {name: bundle for name, bundle in bundles.items() if name not in bundle_ids}

    return await parts.policy_changer.change(plan, guard, author=call.caller.name, note=note)


async def find(parts: Parts, bundle_id: str) -> tuple[Bundle | None, Bundle | None, PolicyState]:
    """A bundle as stored, its draft, and what is in force around it. Raises ApiError 404, 409 for an unreadable one."""
    state = await parts.store.policies.in_force()
    good, bad = read_tolerantly(state.bundles)
    stored, draft = good.get(bundle_id), (await parts.drafts.all()).get(bundle_id)
    if stored is None and draft is None:
        if bundle_id in bad:
            raise ApiError("POLICY_BUNDLE_UNREADABLE", f"the stored bundle cannot be read: {bad[bundle_id].message}")
        raise ApiError("policy_bundle_not_found")
    return stored, draft, state


async def _switch_off(parts: Parts, call: Call, bundle_id: str, body: BundleBody) -> Changed:
    now = parts.store.policies.now()

    def plan(bundles: Bundles, state: PolicyState) -> Bundles:
        stored = bundles.get(bundle_id)
        if stored is None or not stored.enabled:
            return bundles
        return {**bundles, bundle_id: msgspec.structs.replace(stored, enabled=False, updated_at=now)}

    guard = Guard(acknowledged=body.acknowledge_relaxed)
    return await parts.policy_changer.change(plan, guard, author=author_of(call, body.author))


def _stored(draft: Bundle, status: str, trial: Trial, off: Changed | None) -> BundleStored:
    return BundleStored(
        id=draft.id,
        updated_at=draft.updated_at,
        status=status,
        sha256=draft.digest,
        signature=draft.signature,
        warnings=msgspec.to_builtins([warning for warning in trial.warnings if warning.bundle_id in ("", draft.id)]),
        tests=msgspec.to_builtins(trial.tests),
        tests_failed=len(trial.failed_tests),
        snapshot_before=off.snapshot_before if off else "",
        snapshot_after=off.snapshot_after if off else "",
    )
