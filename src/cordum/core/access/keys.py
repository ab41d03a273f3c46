"""Static API keys: reading every form they are configured in, and finding the one that was sent (spec-auth 3.2).

Keys are held and looked up by their SHA-256: the time a look-up takes says nothing about the key, and a dump of the
process does not contain it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from cordum.core.access.caller import Caller
from cordum.core.access.permissions import Role, UnknownRoleError, role_named
from cordum.core.errors import CordumError
from cordum.core.ids import DEFAULT_TENANT, PrincipalId, TenantId

MAX_KEYS: Final = 10_000
MAX_KEY_LENGTH: Final = 1024  # characters
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class BadKeysError(CordumError):
    """The API keys cannot be read."""

    code = "api_keys_unreadable"


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One API key. `expires_at` is in seconds since the epoch, 0 for never."""

    digest: str
    caller: Caller
    expires_at: float = 0.0
    role_was_named: bool = True
    """False when the entry says no role and is an administrator only by tradition: worth a warning."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    key: str = ""
    tenant: str = ""
    role: str = ""
    principal_id: str = ""
    expires_at: str = ""
    allow_cross_tenant: bool = False


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[_Entry]


def digest_of(key: str) -> str:
    """Hex SHA-256 of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_tenant_id(text: str) -> bool:
    return _TENANT.fullmatch(text) is not None


def stripped(key: str) -> str:
    """A key as it was meant: without the spaces and quotes that shells and YAML leave around it."""
    return key.strip().strip("\"'").strip()


def parse_single(key: str, default_tenant: TenantId) -> list[KeyEntry]:
    """`CORDUM_API_KEY`: one key, an administrator of the default tenant; blank means none."""
    key = stripped(key)
    return [_entry(_Entry(key=key, role=Role.ADMIN), default_tenant)] if key else []


def parse_keys(text: str, default_tenant: TenantId) -> list[KeyEntry]:
    """`CORDUM_API_KEYS`, or the file of `CORDUM_API_KEYS_PATH`.

    Args:
        text: a JSON array of entries, a JSON object key -> entry or `{"keys": [...]}`, or a comma list of
            `key`, `tenant:key`, `tenant:key:role`, `tenant:key:role:principal`. A key may stand as `sha256:<64 hex>`.
        default_tenant: the tenant of entries that name none.

    Raises:
        BadKeysError: it is none of these, or an entry is wrong. The message never contains a key.
    """
    text = text.strip()
    if not text:
        return []
    found = _from_json(text) if text[0] in "[{" else _from_list(text)
    if len(found) > MAX_KEYS:
        raise BadKeysError(f"{len(found)} API keys are configured; {MAX_KEYS} are the most")
    entries: list[KeyEntry] = []
    for number, entry in enumerate(found, start=1):
        try:
            entries.append(_entry(entry, default_tenant))
        except (BadKeysError, UnknownRoleError) as error:
            raise BadKeysError(f"API key number {number}: {error.message}") from None
    return entries


def key_texts(text: str) -> list[str]:
    """The keys themselves out of `CORDUM_API_KEYS`, to judge their strength before they are forgotten.

    Raises:
        BadKeysError: as parse_keys does.
    """
    parse_keys(text, DEFAULT_TENANT)
    text = text.strip()
    found = _from_json(text) if text[:1] in ("[", "{") else _from_list(text)
    return [stripped(entry.key) for entry in found]


def _from_json(text: str) -> list[_Entry]:
    try:
        if text[0] == "[":
            return msgspec.json.decode(text, type=list[_Entry])
        document = msgspec.json.decode(text, type=dict[str, Any])
        if isinstance(document.get("keys"), list):
            return msgspec.convert(document, _Wrapped).keys
        entries = msgspec.convert(document, dict[str, _Entry])
    except msgspec.MsgspecError as error:
        # The path of a validation error may hold a key of the object, which is an API key.
        raise BadKeysError(f"not a list of API keys: {str(error).partition(' - at')[0]}") from None
    for key, entry in entries.items():
        if entry.key and stripped(entry.key) != stripped(key):
            raise BadKeysError("an entry of the object names another key than the one it stands under")
        entry.key = key
    return list(entries.values())


def _from_list(text: str) -> list[_Entry]:
    entries: list[_Entry] = []
    for item in text.split(","):
        parts = _joined_digest([stripped(part) for part in item.split(":")])
        if parts == [""]:
            continue
        if len(parts) > 4:
            raise BadKeysError("an item has more than four parts: write tenant:key:role:principal")
        if len(parts) == 1:
            parts.insert(0, "")
        if not parts[1]:
            raise BadKeysError(
                "an item has no key: write key, tenant:key, tenant:key:role or tenant:key:role:principal"
            )
        tenant, key, role, principal = (*parts, "", "")[:4]
        entries.append(_Entry(key=key, tenant=tenant, role=role, principal_id=principal))
    return entries


def _joined_digest(parts: list[str]) -> list[str]:
    """`["t", "sha256", "<hex>"]` is two parts: the second is a key given as its digest."""
    for at, part in enumerate(parts[:-1]):
        if part == "sha256":
            return [*parts[:at], f"sha256:{parts[at + 1]}", *parts[at + 2 :]]
    return parts


def _entry(entry: _Entry, default_tenant: TenantId) -> KeyEntry:
    tenant = entry.tenant.strip() or default_tenant
    if not is_tenant_id(tenant):
        raise BadKeysError(f"tenant {tenant!r} is not made of letters, digits, '.', '_' and '-' (128 at most)")
    digest = _digest(stripped(entry.key))
    return KeyEntry(
        digest=digest,
        caller=Caller(
            tenant=TenantId(tenant),
            role=role_named(entry.role or Role.ADMIN),
            fingerprint=digest,
            principal=PrincipalId(entry.principal_id.strip()),
            cross_tenant=entry.allow_cross_tenant,
        ),
        expires_at=_moment(entry.expires_at),
        role_was_named=bool(entry.role),
    )


def _digest(key: str) -> str:
    if not key:
        raise BadKeysError("it is empty")
    if len(key) > MAX_KEY_LENGTH:
        raise BadKeysError(f"it is longer than {MAX_KEY_LENGTH} characters")
    if key.startswith("sha256:"):
        digest = key.removeprefix("sha256:").lower()
        if not _DIGEST.fullmatch(digest):
            raise BadKeysError("after sha256: there must be 64 hexadecimal digits")
        return digest
    return digest_of(key)


def _moment(text: str) -> float:
    if not text:
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadKeysError(f"expires_at {text!r} is not a time such as 2027-01-31T00:00:00Z") from None
    if moment.tzinfo is None:
        raise BadKeysError(f"expires_at {text!r} names no time zone: end it with Z or an offset")
    return moment.timestamp()


class Keyring:
    """All valid keys, by digest. Immutable: a reload makes a new one."""

    def __init__(self, *sources: Iterable[KeyEntry]) -> None:
        """Joins key sources; where two name the same key, the later source is the more specific one and wins.

        Raises:
            BadKeysError: one source names the same key twice with different rights.
        """
        entries: dict[str, KeyEntry] = {}
        for source in sources:
            entries |= _without_doubles(source)
        self._entries: Mapping[str, KeyEntry] = entries

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str, now: float) -> Caller | None:
        """Whose key that is; None when it is nobody's, or expired.

        Args:
            now: seconds since the epoch.
        """
        if not key or len(key) > MAX_KEY_LENGTH:
            return None
        entry = self._entries.get(digest_of(key))
        if entry is None or 0 < entry.expires_at <= now:
            return None
        return entry.caller

    @property
    def without_role(self) -> int:
        """How many keys are administrators only because their entry names no role."""
        return sum(not entry.role_was_named for entry in self._entries.values())


def _without_doubles(source: Iterable[KeyEntry]) -> dict[str, KeyEntry]:
    entries: dict[str, KeyEntry] = {}
    for entry in source:
        known = entries.setdefault(entry.digest, entry)
        if known != entry:
            raise BadKeysError(f"the key with fingerprint {entry.digest[:12]} is listed twice with different rights")
    return entries
