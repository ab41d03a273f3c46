"""The caller of a request, once it has proven who it is (spec-auth section 3.1)."""

import msgspec

from cordum.core.access.permissions import Permission, Role, permissions_of
from cordum.core.ids import PrincipalId, TenantId


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. Never holds the credential itself, only a fingerprint of it.

    Attributes:
        tenant: the tenant the credential belongs to.
        principal: the person or service behind it; "" when the credential names none.
        fingerprint: hex SHA-256 of the credential.
        cross_tenant: whether it may act for other tenants, by naming them.
    """

    tenant: TenantId
    role: Role
    fingerprint: str
    principal: PrincipalId = PrincipalId("")
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
        """How a submitter is recorded on the job: `apikey:<16 hex>|principal:<id>` (spec-safety section 11)."""
        key = f"apikey:{self.fingerprint[:16]}"
        return f"{key}|principal:{self.principal}" if self.principal else key


def same_person(one: str, other: str) -> bool:
    """Whether two recorded identities share the key or the principal: then one must not approve the other's job.

    Two identities of which nothing is known share nothing; a job of unknown origin has nobody to protect it from.
    """
    return not _parts(one).isdisjoint(_parts(other))


def _parts(identity: str) -> frozenset[str]:
    """`apikey:…` up to the first bar, `principal:…` after it: a bar in the principal's own name belongs to the name."""
    key, _, principal = identity.partition("|")
    return frozenset(part for part in (key, principal) if part.partition(":")[2])
