"""`/api/v1/policy/global`: the installation's own rules as five sections, changed together (spec-safety section 5)."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from cordum.core.policy.bundles import Bundle, bundles_snapshot
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError, invalid
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.policy_admin.changing import Bundles, Guard, read_tolerantly
from cordum.services.gateway.policy_admin.platform import demand_platform
from cordum.services.gateway.policy_admin.words import Acknowledgement, Content, Name, Word, author_of
from cordum.store.policies import PolicyState

SECTIONS: Final = {
    "input_rules": "secops/global-input",
    "output_rules": "secops/global-output",
    "edge_action_rules": "secops/global-edge-action",
    "mcp_tool_rules": "secops/global-mcp-tool",
    "invariants": "secops/invariants",
}


class SectionBody(msgspec.Struct, forbid_unknown_fields=True):
    """One section; an empty content deletes it."""

    content: Content
    enabled: bool = True


class GlobalBody(msgspec.Struct, forbid_unknown_fields=True):
    """The sections to change; those left out stay."""

    snapshot_version: Annotated[int, Meta(ge=0, description="As it was read; another one by now is a conflict")]
    sections: dict[str, SectionBody]
    author: Name = ""
    message: Word = ""
    acknowledge_relaxed: Acknowledgement = False


async def show_global(parts: Parts, call: Call) -> Answer:
    """The sections in force, and the version to change them from."""
    demand_platform(parts, call)
    return answer(_shown(await parts.store.policies.in_force()))


async def write_global(parts: Parts, call: Call) -> Answer:
    """Changes sections, at once and all together."""
    demand_platform(parts, call)
    body: GlobalBody = call.body
    unknown = sorted(body.sections.keys() - SECTIONS.keys())
    if unknown or not body.sections:
        raise invalid(f"sections are {', '.join(SECTIONS)}", "invalid_request")
    author, now = author_of(call, body.author), parts.store.policies.now()

    def plan(bundles: Bundles, state: PolicyState) -> Bundles:
        if state.revision != body.snapshot_version:
            raise ApiError(
                "POLICY_VERSION_CONFLICT",
                f"the policy has version {state.revision}, not {body.snapshot_version}: read it again",
                extra={"snapshot_version": state.revision},
            )
        after = dict(bundles)
        for section, wanted in body.sections.items():
            name = SECTIONS[section]
            if not wanted.content.strip():
                after.pop(name, None)
                continue
            old = bundles.get(name)
            if old is not None and old.content == wanted.content and old.enabled is wanted.enabled:
                continue
            new = Bundle(
                id=name,
                content=wanted.content,
                enabled=wanted.enabled,
                author=author,
                message=body.message,
                created_at=(old.created_at if old else "") or now,
                updated_at=now,
                version=old.version if old else "",
                installed_at=old.installed_at if old else now,
            )
            after[name] = msgspec.structs.replace(new, sha256=new.digest)
        return after

    changed = await parts.policy_changer.change(plan, Guard(acknowledged=body.acknowledge_relaxed), author=author)
    await parts.auditor.record(
        call.caller,
        "edit",
        resource_type="policy",
        resource_id="global",
        message=body.message,
        bundle_ids=changed.changed,
        snapshot_before=changed.snapshot_before,
        snapshot_after=changed.snapshot_after,
    )
    return answer(_shown(changed.state))


def _shown(state: PolicyState) -> dict[str, Any]:
    bundles, _ = read_tolerantly(state.bundles)
    return {
        "snapshot_version": state.revision,
        "snapshot_hash": bundles_snapshot(tuple(bundles.values())),
        "updated_at": state.published_at,
        "sections": {section: _section(name, bundles.get(name)) for section, name in SECTIONS.items()},
    }


def _section(name: str, bundle: Bundle | None) -> dict[str, Any]:
    if bundle is None:
        return {"bundle_id": name, "content": "", "sha256": "", "enabled": False}
    return {"bundle_id": name, "content": bundle.content, "sha256": bundle.digest, "enabled": bundle.enabled}
