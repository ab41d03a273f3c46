"""`/api/v1/policy/publish`, `/rollback` and the snapshots between which they move (spec-gateway section 7)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cordum.core.policy.bundles import Bundle
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.changing import Bundles, Changed, Guard, read_tolerantly
from cordum.services.gateway.policy_admin.naming import EDITABLE, BundleName, bundle_id_of
from cordum.services.gateway.policy_admin.platform import demand_platform
from cordum.services.gateway.policy_admin.words import Acknowledgement, Name, Word, author_of
from cordum.store.policies import PolicyState
from cordum.store.snapshots import PolicySnapshot, snapshot_of


class PublishBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to publish."""

    bundle_ids: Annotated[
        list[BundleName], Meta(max_length=1000, description="None: all drafts under secops/ that are not held back")
    ] = []
    author: Name = ""
    message: Word = ""
    note: Word = ""
    acknowledge_relaxed: Acknowledgement = False


class Published(msgspec.Struct):
    """What was put in force. The snapshots are for going back."""

    snapshot_before: str
    snapshot_after: str
    published: list[str]
    revision: int
    policy_snapshot: str
    warnings: list[Any]
    differences: list[Any]


class RollbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """Where to go back to."""

    snapshot_id: Name
    author: Name = ""
    message: Word = ""
    note: Word = ""
    acknowledge_relaxed: Acknowledgement = False


class RolledBack(msgspec.Struct):
    """What is in force again."""

    snapshot_before: str
    snapshot_after: str
    rollback_to: str
    revision: int
    policy_snapshot: str
    changed: list[str]
    differences: list[Any]


class SnapshotBody(msgspec.Struct, forbid_unknown_fields=True):
    """A snapshot to be taken."""

    note: Word = ""


async def publish(parts: Parts, call: Call) -> Answer:
    """Puts drafts in force, all or none."""
    demand_platform(parts, call)
    body: PublishBody = call.body or PublishBody()
    drafts = await parts.drafts.all()
    names = [bundle_id_of(name) for name in body.bundle_ids]
    if not names:
        names = [name for name, draft in drafts.items() if name.startswith(EDITABLE) and draft.enabled]
    names = sorted(set(names))
    author, now = author_of(call, body.author), parts.store.policies.now()

    def plan(bundles: Bundles, state: PolicyState) -> Bundles:
        return {**bundles, **{name: _published(name, bundles.get(name), drafts.get(name), now) for name in names}}

    changed = await parts.policy_changer.change(
        plan, Guard(acknowledged=body.acknowledge_relaxed), author=author, note=body.note
    )
    await parts.drafts.drop({name: drafts[name] for name in names if name in drafts})
    await parts.auditor.record(
        call.caller,
        "publish",
        resource_type="policy",
        resource_id=changed.snapshot_after,
        message=body.message,
        reason=body.note,
        bundle_ids=tuple(names),
        snapshot_before=changed.snapshot_before,
        snapshot_after=changed.snapshot_after,
        extra=_extra(changed, body.acknowledge_relaxed, author),
    )
    trial = changed.trial
    return answer(
        Published(
            snapshot_before=changed.snapshot_before,
            snapshot_after=changed.snapshot_after,
            published=names,
            revision=changed.revision,
            policy_snapshot=trial.snapshot if trial else "",
            warnings=msgspec.to_builtins(trial.warnings) if trial else [],
            differences=msgspec.to_builtins(trial.differences) if trial else [],
        )
    )


async def rollback(parts: Parts, call: Call) -> Answer:
    """Puts the bundles of a snapshot in force again, those and no others; drafts stay."""
    demand_platform(parts, call)
    body: RollbackBody = call.body
    target = await _snapshot(parts, body.snapshot_id)
    wanted, unreadable = read_tolerantly(target.bundles)
    if unreadable:
        raise ApiError("POLICY_BUNDLE_UNREADABLE", f"the snapshot's bundle {min(unreadable)} cannot be read")
    author = author_of(call, body.author)
    changed = await parts.policy_changer.change(
        lambda bundles, state: dict(wanted),
        Guard(acknowledged=body.acknowledge_relaxed, without_kernel=True),
        author=author,
        note=body.note,
    )
    await parts.auditor.record(
        call.caller,
        "rollback",
        resource_type="policy",
        resource_id=target.id,
        message=body.message,
        reason=body.note,
        bundle_ids=changed.changed,
        snapshot_before=changed.snapshot_before,
        snapshot_after=changed.snapshot_after,
        extra=_extra(changed, body.acknowledge_relaxed, author),
    )
    trial = changed.trial
    return answer(
        RolledBack(
            snapshot_before=changed.snapshot_before,
            snapshot_after=changed.snapshot_after,
            rollback_to=target.id,
            revision=changed.revision,
            policy_snapshot=trial.snapshot if trial else "",
            changed=list(changed.changed),
            differences=msgspec.to_builtins(trial.differences) if trial else [],
        )
    )


async def list_snapshots(parts: Parts, call: Call) -> Answer:
    """The kept snapshots, newest first."""
    demand_platform(parts, call)
    found = await parts.store.policies.snapshots()
    items = [
        {
            "id": item.id,
            "created_at": item.created_at,
            "note": item.note,
            "author": item.author,
            "bundle_ids": sorted(item.bundles),
        }
        for item in found
    ]
    return answer({"items": items})


async def take_snapshot(parts: Parts, call: Call) -> Answer:
    """Keeps what is in force now."""
    demand_platform(parts, call)
    body: SnapshotBody = call.body or SnapshotBody()
    policies = parts.store.policies
    state = await policies.in_force()
    kept = await policies.keep_snapshot(
        snapshot_of(state.bundles, policies.now(), author=call.caller.name, note=body.note)
    )
    await parts.auditor.record(
        call.caller,
        "snapshot",
        resource_type="snapshot",
        resource_id=kept.id,
        message=body.note,
        bundle_ids=tuple(sorted(kept.bundles)),
        snapshot_after=kept.id,
    )
    return answer(_shown(kept))


async def show_snapshot(parts: Parts, call: Call) -> Answer:
    """One snapshot with its bundles."""
    demand_platform(parts, call)
    return answer(_shown(await _snapshot(parts, call.params["snapshot_id"])))


async def _snapshot(parts: Parts, snapshot_id: str) -> PolicySnapshot:
    for snapshot in await parts.store.policies.snapshots():
        if snapshot.id == snapshot_id:
            return snapshot
    raise ApiError("policy_snapshot_not_found")


def _published(name: str, stored: Bundle | None, draft: Bundle | None, now: str) -> Bundle:
    """The bundle as it is in force once published: the draft, or else what is stored, switched on."""
    shown = draft or stored
    if shown is None:
        raise ApiError("policy_bundle_not_found", f"there is no bundle {name}")
    if stored is not None and stored.enabled and stored.content == shown.content:
        return stored
    return msgspec.structs.replace(
        shown,
        enabled=True,
        created_at=(stored.created_at if stored else "") or shown.created_at,
        updated_at=now,
        # Bundles are merged in the order in which they came first; a new version keeps its place.
        installed_at=stored.installed_at if stored else now,
        sha256=shown.digest,
    )


def _shown(snapshot: PolicySnapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "created_at": snapshot.created_at,
        "note": snapshot.note,
        "author": snapshot.author,
        "sha256": snapshot.digest,
        "bundles": snapshot.bundles,
    }


def _extra(changed: Changed, acknowledged: bool, author: str) -> dict[str, str]:
    relaxed = len(changed.trial.relaxed) if changed.trial else 0
    return {
        "revision": str(changed.revision),
        "author": author,
        "relaxed": str(relaxed),
        "acknowledged": "true" if acknowledged else "false",
        "tried": "true" if changed.trial or not changed.changed else "false",
    }
