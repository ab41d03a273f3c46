"""Policy bundles as a configuration document keeps them, and the signed manifest over all of them.

`cfg:system:policy` has `data.bundles`, by id: the policy text itself, or an object with the text and who put it there
(spec-safety section 5). Beside them may stand `data.manifest`, which says which bundles there are, enabled or not, in
which order and revision, so that one that was taken out, switched off or put back is noticed (section 14.10).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import ClassVar, Final

import msgspec

from cordum.core.errors import CordumError

BUNDLES_KEY: Final = "bundles"
MANIFEST_KEY: Final = "manifest"
INVARIANTS_ID: Final = "secops/invariants"
"""The bundle whose rules go before every other (spec-safety section 4.9)."""

MAX_BUNDLES: Final = 10_000
MAX_ID_LENGTH: Final = 256
MAX_TEXT: Final = 8192
"""Of the message of a bundle and the like."""

_CONTENT_KEYS: Final = ("content", "policy", "data")
_TEXT_FIELDS: Final = ("author", "message", "created_at", "updated_at", "version", "installed_at", "sha256")
_MANIFEST_PREFIX: Final = b"cordum-policy-manifest-v1\n"
"""Stands before the signed text, so that no bundle's signature can pass for a manifest's."""


class BundleError(CordumError):
    """The stored bundles cannot be used."""

    code: ClassVar[str] = "policy_bundle_invalid"

    def __init__(self, bundle_id: str, message: str) -> None:
        """`bundle_id` is "" when it is about all of them."""
        self.bundle_id = bundle_id
        super().__init__(f"bundle {bundle_id}: {message}" if bundle_id else message)


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle. `content` is YAML; times are RFC 3339, "" when unknown; `signature` is what `_signature` holds."""

    id: str
    content: str
    enabled: bool = True
    author: str = ""
    message: str = ""
    created_at: str = ""
    updated_at: str = ""
    version: str = ""
    installed_at: str = ""
    sha256: str = ""
    signature: dict[str, object] | str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the content, hex: computed, never the stored word."""
        return hashlib.sha256(self.content.encode()).hexdigest()


def read_bundles(data: Mapping[str, object], key: str = BUNDLES_KEY) -> tuple[Bundle, ...]:
    """The bundles in a document's data, in the order they are merged; none when `key` is missing.

    Raises:
        BundleError: the first bundle that cannot be read. None is ever left out: what it forbids would be allowed.
    """
    stored = data.get(key)
    if stored is None:
        return ()
    if not isinstance(stored, Mapping):
        raise BundleError("", f'"{key}" is not an object of bundles by id')
    if len(stored) > MAX_BUNDLES:
        raise BundleError("", f"{len(stored)} bundles; at most {MAX_BUNDLES}")
    return in_merge_order(read_bundle(str(bundle_id), entry) for bundle_id, entry in stored.items())


def read_bundle(bundle_id: str, stored: object) -> Bundle:
    """One bundle from its stored form: the text, or an object with `content` (or `policy`, or `data`).

    Raises BundleError when it is neither, or when one of its fields is not of its kind.
    """
    if not bundle_id.strip() or len(bundle_id) > MAX_ID_LENGTH or not bundle_id.isprintable():
        raise BundleError(bundle_id[:80], f"not a bundle id: printable, 1 to {MAX_ID_LENGTH} characters")
    if isinstance(stored, str):
        return Bundle(id=bundle_id, content=_text(bundle_id, "content", stored))
    if not isinstance(stored, Mapping):
        raise BundleError(bundle_id, "neither a text nor an object")
    enabled = stored.get("enabled", True)
    if not isinstance(enabled, bool):
        raise BundleError(bundle_id, "enabled is neither true nor false")
    signature = stored.get("_signature")
    if signature is not None and not isinstance(signature, str | dict):
        raise BundleError(bundle_id, "_signature is neither a text nor an object")
    texts = {field: _bounded(bundle_id, field, stored.get(field)) for field in _TEXT_FIELDS}
    _instant(bundle_id, texts["installed_at"])
    return Bundle(
        id=bundle_id, content=_content(bundle_id, stored), enabled=enabled, signature=signature or None, **texts
    )


def write_bundle(bundle: Bundle) -> dict[str, object]:
    """The stored form; `read_bundle` gives the bundle back."""
    stored: dict[str, object] = {"content": bundle.content, "enabled": bundle.enabled}
    stored |= {field: value for field in _TEXT_FIELDS if (value := getattr(bundle, field))}
    if bundle.signature:
        stored["_signature"] = bundle.signature
    return stored


def write_bundles(bundles: Iterable[Bundle]) -> dict[str, dict[str, object]]:
    """The stored form of several, by id: what `data.bundles` holds."""
    return {bundle.id: write_bundle(bundle) for bundle in bundles}


def in_merge_order(bundles: Iterable[Bundle]) -> tuple[Bundle, ...]:
    """Oldest installation first, those of unknown age before all; the id decides among equals. The later ones win.

    Raises BundleError when an `installed_at` is not a time.
    """
    return tuple(sorted(bundles, key=lambda bundle: (_instant(bundle.id, bundle.installed_at), bundle.id)))


def with_changes(bundles: Iterable[Bundle], changes: Mapping[str, str]) -> tuple[Bundle, ...]:
    """The bundles as they would be: each change gives a bundle its new content and enables it, "" takes it out.

    A bundle that is new comes last, as one installed now would.
    """
    changed: list[Bundle] = []
    known = set()
    for bundle in bundles:
        known.add(bundle.id)
        content = changes.get(bundle.id)
        if content is None:
            changed.append(bundle)
        elif content:
            changed.append(msgspec.structs.replace(bundle, content=content, enabled=True, sha256="", signature=None))
    fresh = sorted(bundle_id for bundle_id, content in changes.items() if content and bundle_id not in known)
    return (*changed, *(read_bundle(bundle_id, changes[bundle_id]) for bundle_id in fresh))


def bundles_snapshot(bundles: Sequence[Bundle]) -> str:
    """The bundles' part of a snapshot id, `cfg:<sha256>` over id and content of those enabled; "" when none is.

    Where the order of merging is not that of the ids it counts too, for it can change what is decided.
    """
    enabled = [bundle for bundle in bundles if bundle.enabled]
    if not enabled:
        return ""
    digest = hashlib.sha256()
    by_id = sorted(enabled, key=lambda bundle: bundle.id)
    for bundle in by_id:
        digest.update(bundle.id.encode() + b"\0" + bundle.content.encode())
    order = [bundle.id for bundle in in_merge_order(enabled)]
    if order != [bundle.id for bundle in by_id]:
        digest.update(b"\0" + "\0".join(order).encode())
    return f"cfg:{digest.hexdigest()}"


def join_snapshot(base: str, bundles: str) -> str:
    """The id of the whole: `<file>|cfg:<sha256>`, or the one part there is."""
    return "|".join(part for part in (base, bundles) if part)


# The manifest


class ManifestEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the manifest says of one bundle: SHA-256 of its content, whether it counts, its place in merging from 0."""

    sha256: str
    enabled: bool
    order: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All bundles of one revision of the policy.

    Attributes:
        revision: counts up with every change; a kernel never goes back to a lower one.
        created_at: Unix seconds.
        expires_at: Unix seconds after which it must not be loaded; 0 for never.
    """

    revision: int
    created_at: int
    expires_at: int = 0
    bundles: dict[str, ManifestEntry]


class SignedManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest as it was signed: `payload` is its JSON text, `signed_bytes()` what the signature is over."""

    payload: str
    signature: dict[str, object] | str | None = None

    def signed_bytes(self) -> bytes:
        return signed_manifest_bytes(self.payload)


def manifest_of(bundles: Iterable[Bundle], *, revision: int, created_at: float, expires_at: float = 0) -> Manifest:
    """The manifest that fits these bundles; times in Unix seconds."""
    entries = {
        bundle.id: ManifestEntry(bundle.digest, bundle.enabled, order)
        for order, bundle in enumerate(in_merge_order(bundles))
    }
    return Manifest(revision=revision, created_at=int(created_at), expires_at=int(expires_at), bundles=entries)


def manifest_payload(manifest: Manifest) -> str:
    """Its JSON text, always the same for the same manifest."""
    return msgspec.json.encode(manifest, order="deterministic").decode()


def signed_manifest_bytes(payload: str) -> bytes:
    """The bytes to sign, and to check the signature against."""
    return _MANIFEST_PREFIX + payload.encode()


def write_manifest(payload: str, signature: Mapping[str, object]) -> dict[str, object]:
    """What `data.manifest` holds."""
    return {"payload": payload, "_signature": dict(signature)}


def read_signed_manifest(data: Mapping[str, object]) -> SignedManifest | None:
    """What `data.manifest` holds, unread and unchecked; None when there is none. Raises BundleError."""
    stored = data.get(MANIFEST_KEY)
    if stored is None:
        return None
    if not isinstance(stored, Mapping) or not isinstance(payload := stored.get("payload"), str):
        raise BundleError("", "the manifest is not an object with a payload")
    signature = stored.get("_signature")
    if signature is not None and not isinstance(signature, str | dict):
        raise BundleError("", "the manifest's _signature is neither a text nor an object")
    return SignedManifest(payload=payload, signature=signature or None)


def read_manifest(payload: str) -> Manifest:
    """The manifest in a payload whose signature has been checked. Raises BundleError."""
    try:
        return msgspec.json.decode(payload, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleError("", f"the manifest cannot be read: {error}") from error


def check_manifest(manifest: Manifest, bundles: Sequence[Bundle], *, now: float, least_revision: int) -> None:
    """Whether the bundles are the ones the manifest lists, no more and no less, and it may still be loaded.

    Args:
        now: Unix seconds.
        least_revision: the highest revision loaded so far.

    Raises:
        BundleError: something was taken out, added, changed, switched on or off, put in another order or put back.
    """
    if manifest.revision < least_revision:
        raise BundleError(
            "", f"the manifest has revision {manifest.revision}, but {least_revision} was in force already"
        )
    if manifest.expires_at and now >= manifest.expires_at:
        expired = datetime.fromtimestamp(manifest.expires_at, UTC).isoformat()
        raise BundleError("", f"the manifest has expired, {expired}")
    present = {bundle.id for bundle in bundles}
    if gone := sorted(manifest.bundles.keys() - present):
        raise BundleError(gone[0], "listed in the manifest and not there")
    for order, bundle in enumerate(in_merge_order(bundles)):
        entry = manifest.bundles.get(bundle.id)
        if entry is None:
            raise BundleError(bundle.id, "not listed in the manifest")
        if entry.sha256.lower() != bundle.digest:
            raise BundleError(bundle.id, "its content is not what the manifest lists")
        if entry.enabled != bundle.enabled:
            raise BundleError(bundle.id, "enabled or disabled against the manifest")
        if entry.order != order:
            raise BundleError(bundle.id, "in another place of the order than the manifest says")


def _content(bundle_id: str, stored: Mapping[str, object]) -> str:
    for key in _CONTENT_KEYS:
        found = stored.get(key)
        if isinstance(found, str):
            return _text(bundle_id, key, found)
        if isinstance(found, dict):
            # JSON is YAML; its text is what a signature of it is over.
            return msgspec.json.encode(found, order="deterministic").decode()
        if found is not None:
            raise BundleError(bundle_id, f"{key} is neither a text nor an object")
    raise BundleError(bundle_id, f"no {', '.join(_CONTENT_KEYS)}")


def _text(bundle_id: str, field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BundleError(bundle_id, f"{field} is not UTF-8 text") from error
    return text


def _bounded(bundle_id: str, field: str, value: object) -> str:
    if value is None:
        return ""
    # Versions are written as numbers too.
    if isinstance(value, int | float) and not isinstance(value, bool) and field == "version":
        return str(value)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BundleError(bundle_id, f"{field} is not a text of at most {MAX_TEXT} characters")
    return _text(bundle_id, field, value)


def _instant(bundle_id: str, text: str) -> float:
    if not text:
        return float("-inf")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise BundleError(bundle_id, "installed_at is not a time such as 2026-01-31T12:00:00Z") from error
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
