"""What callers are shown of a bundle."""

from typing import Any

from cordum.core.policy.bundles import Bundle, write_bundle
from cordum.store.policies import RawBundles


def status_of(stored: Bundle | None, draft: Bundle | None) -> str:
    """`in_force`, `changed` (in force, with a draft beside it), `draft` (only that) or `off`."""
    is_in_force = stored is not None and stored.enabled
    if draft is not None:
        return "changed" if is_in_force else "draft"
    return "in_force" if is_in_force else "off"


def summary(stored: Bundle | None, draft: Bundle | None) -> dict[str, Any]:
    """One line of the list. `enabled` says whether jobs are decided by it."""
    shown = draft or stored
    assert shown is not None, "a bundle that is neither stored nor drafted is not shown"
    return {
        "id": shown.id,
        "enabled": stored is not None and stored.enabled,
        "status": status_of(stored, draft),
        "source": shown.id.partition("/")[0],
        "author": shown.author,
        "message": shown.message,
        "created_at": shown.created_at,
        "updated_at": shown.updated_at,
        "installed_at": stored.installed_at if stored else "",
        "version": shown.version,
        "sha256": shown.digest,
        "signed": shown.signature is not None,
    }


def detail(stored: Bundle | None, draft: Bundle | None) -> dict[str, Any]:
    """A bundle in full. `content` is the draft's while there is one; `content_in_force` is what decides then."""
    shown = draft or stored
    assert shown is not None, "a bundle that is neither stored nor drafted is not shown"
    body = {**summary(stored, draft), "content": shown.content}
    if shown.signature is not None:
        body["signature"] = shown.signature
    if draft is not None and stored is not None and stored.enabled:
        body["content_in_force"] = stored.content
    return body


def raw_bundles(stored: RawBundles, drafts: dict[str, Bundle]) -> dict[str, Any]:
    """By id as stored; a bundle that is only drafted stands there disabled, as it decides nothing."""
    missing = {name: draft for name, draft in drafts.items() if name not in stored}
    return {**stored, **{name: {**write_bundle(draft), "enabled": False} for name, draft in missing.items()}}
