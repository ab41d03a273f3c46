"""The caller of a request, once it has proven who it is (spec-auth section 3.1)."""

from typing import Final

import msgspec

from cordum.core.access.permissions import Permission, Role, permissions_of
from cordum.core.ids import PrincipalId, TenantId


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. Never holds the credential itself, only a fingerprint of it.

    Attributes:
        tenant: the tenant the credential belongs to.
        principal: the person or service behind it; "" when the credential names none.
        claimed: whether the principal is only what the request says and not what the credential proves.
        fingerprint: hex SHA-256 of the credential.
        cross_tenant: whether it may act for other tenants, by naming them.
    """

    tenant: TenantId
    role: Role
    fingerprint: str
    principal: PrincipalId = PrincipalId("")
    claimed: bool = False
    cross_tenant: bool = False

    def may(self, permission: Permission) -> bool:
        return permission in permissions_of(self.role)

    @property
    def key_id(self) -> str:
        """What logs and records call the key: enough to find it, useless to use it."""
        return f"static:{self.fingerprint[:12]}"

    @property
    def name(self) -> str:
        """Whom an approval or a cancellation is put down to."""
        return self.principal or self.key_id

    @property
    def identity(self) -> str:
        """How a submitter is recorded on the job: `apikey:<16 hex>|principal:<id>` (spec-safety section 11).

        A principal that is only claimed is recorded as `claimed:<id>`.
        """
        key = f"apikey:{self.fingerprint[:16]}"
        kind = CLAIMED if self.claimed else PROVEN
        return f"{key}|{kind}:{self.principal}" if self.principal else key

    @property
    def person(self) -> str:
        """What tells this caller from others when people are counted: the proven principal, else the key."""
        if self.principal and not self.claimed:
            return f"{PROVEN}:{self.principal}"
        return f"apikey:{self.fingerprint[:16]}"


PROVEN: Final = "principal"
CLAIMED: Final = "claimed"


def same_person(one: str, other: str) -> bool:
    """Whether two recorded identities may be one person: then one must not approve the other's job.

    The same principal is the same person. The same key is, too, unless it has proven to stand for two different
    principals, one after the other. Two identities of which nothing is known share nothing; a job of unknown origin has
    nobody to protect it from.
    """
    (key, kind, name), (other_key, other_kind, other_name) = _parts(one), _parts(other)
    if name and name == other_name:
        return True
    if not key or key != other_key:
        return False
    both_proven = kind == other_kind == PROVEN and bool(name and other_name)
    return not both_proven


def _parts(identity: str) -> tuple[str, str, str]:
    """The key up to the first bar, how the principal is known, and its name: a bar in the name belongs to the name."""
    key, _, principal = identity.partition("|")
    kind, _, name = principal.partition(":")
    return (key if key.partition(":")[2] else ""), kind, name
