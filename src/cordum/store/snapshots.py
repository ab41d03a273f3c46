"""States of the policy to go back to: the last ten, each text stored once however many of them have it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

KEPT: Final = 10
_TEXT: Final = "content_sha256"


class PolicySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The bundles in force at one moment.

    Attributes:
        id: `<RFC 3339>-<10 hex>`, of the moment and of the bundles.
        digest: hex SHA-256 of the bundles.
        bundles: by id, as stored.
    """

    id: str
    created_at: str
    digest: str
    bundles: dict[str, Any]
    author: str = ""
    note: str = ""


def snapshot_of(bundles: Mapping[str, Any], created_at: str, *, author: str = "", note: str = "") -> PolicySnapshot:
    """A snapshot of these bundles."""
    digest = hashlib.sha256(msgspec.json.encode(bundles, order="deterministic")).hexdigest()
    return PolicySnapshot(
        id=f"{created_at}-{digest[:10]}",
        created_at=created_at,
        digest=digest,
        bundles=dict(bundles),
        author=author,
        note=note,
    )


def packed(snapshots: Sequence[PolicySnapshot]) -> dict[str, Any]:
    """The newest of them as stored: texts apart, by their digest."""
    texts: dict[str, str] = {}
    items = []
    for snapshot in snapshots[:KEPT]:
        bundles = {name: _without_text(bundle, texts) for name, bundle in snapshot.bundles.items()}
        items.append({**msgspec.structs.asdict(snapshot), "bundles": bundles})
    return {"snapshots": items, "contents": texts}


def unpacked(data: Mapping[str, Any]) -> tuple[PolicySnapshot, ...]:
    """What `packed` has stored. One that cannot be read is left out: it is nothing to go back to."""
    texts = data.get("contents")
    found = []
    for item in data.get("snapshots") or ():
        try:
            snapshot = msgspec.convert(item, PolicySnapshot)
        except msgspec.ValidationError:
            continue
        bundles = {name: _with_text(bundle, texts or {}) for name, bundle in snapshot.bundles.items()}
        if None not in bundles.values():
            found.append(msgspec.structs.replace(snapshot, bundles=bundles))
    return tuple(found)


def _without_text(bundle: Any, texts: dict[str, str]) -> Any:
    if not isinstance(bundle, dict) or not isinstance(bundle.get("content"), str):
        return bundle
    text = bundle["content"]
    digest = hashlib.sha256(text.encode()).hexdigest()
    texts[digest] = text
    return {**{name: value for name, value in bundle.items() if name != "content"}, _TEXT: digest}


def _with_text(bundle: Any, texts: Mapping[str, str]) -> Any:
    if not isinstance(bundle, dict) or _TEXT not in bundle:
        return bundle
    text = texts.get(bundle[_TEXT])
    if text is None:
        return None
    return {**{name: value for name, value in bundle.items() if name != _TEXT}, "content": text}
