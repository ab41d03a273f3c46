"""What may be allowed, and what each built-in role is allowed (spec-auth section 4).

A permission decides alone: there is no second gate on the role's name.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from cordum.core.errors import CordumError


class UnknownRoleError(CordumError):
    """There is no such role."""

    code = "rbac_role_not_found"


class Permission(StrEnum):
    """One thing a caller may do. Only what a route asks for is listed; the values are the words of the API."""

    JOBS_READ = "jobs.read"
    JOBS_SUBMIT = "jobs.submit"
    JOBS_WRITE = "jobs.write"
    JOBS_APPROVE = "jobs.approve"
    DLQ_READ = "dlq.read"
    DLQ_WRITE = "dlq.write"
    WORKERS_READ = "workers.read"
    WORKERS_WRITE = "workers.write"
    WORKER_CREDENTIALS_READ = "workerCredentials.read"
    WORKER_CREDENTIALS_WRITE = "workerCredentials.write"
    TOPICS_READ = "topics.read"
    TOPICS_WRITE = "topics.write"
    POOLS_WRITE = "pools.write"
    SCHEMAS_READ = "schemas.read"
    SCHEMAS_WRITE = "schemas.write"
    POLICY_READ = "policy.read"
    POLICY_WRITE = "policy.write"
    POLICY_EVALUATE = "policy.evaluate"
    OUTPUT_RELEASE = "output.release"
    """Sees the originals of redacted and quarantined results, and lets them go."""
    AUDIT_VERIFY = "audit.verify"
    GOVERNANCE_READ = "governance.read"
    STREAM_READ = "stream.read"
    """Watches everything that happens in the tenant."""
    STATUS_ADMIN = "status.admin"
    """Sees the parts of `/status` that concern the installation and not the tenant."""


_P = Permission

IMPLIED: Final[Mapping[Permission, frozenset[Permission]]] = {
    _P.JOBS_WRITE: frozenset({_P.JOBS_SUBMIT}),
    _P.POLICY_WRITE: frozenset({_P.POLICY_EVALUATE}),
}
"""Who holds the wider permission holds the narrower one: what existing roles call `jobs.write` still submits."""


class Role(StrEnum):
    """The built-in roles. `operator` is not an administrator under another name."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"
    USER = "user"
    """An agent: it submits and follows jobs and asks the policy, nothing else."""


_VIEWER: Final = frozenset(
    {_P.JOBS_READ, _P.DLQ_READ, _P.WORKERS_READ, _P.TOPICS_READ, _P.SCHEMAS_READ, _P.POLICY_READ, _P.GOVERNANCE_READ}
)

_GRANTS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.ADMIN: frozenset(Permission),
    Role.OPERATOR: _VIEWER | {_P.JOBS_WRITE, _P.JOBS_APPROVE, _P.DLQ_WRITE, _P.POLICY_EVALUATE, _P.SCHEMAS_WRITE},
    Role.VIEWER: _VIEWER,
    Role.USER: frozenset({_P.JOBS_READ, _P.JOBS_SUBMIT, _P.TOPICS_READ, _P.POLICY_EVALUATE}),
}


def with_implied(permissions: Iterable[Permission]) -> frozenset[Permission]:
    """The permissions and all that they imply."""
    granted = set(permissions)
    for permission in tuple(granted):
        granted |= IMPLIED.get(permission, frozenset())
    return frozenset(granted)


def role_named(name: str) -> Role:
    """The role of that name, in any case.

    Raises:
        UnknownRoleError: there is none; the message names those there are.
    """
    try:
        return Role(name.strip().lower())
    except ValueError:
        known = ", ".join(Role)
        raise UnknownRoleError(f"unknown role {name!r}; roles are {known}") from None


_RESOLVED: Final = {role: with_implied(granted) for role, granted in _GRANTS.items()}


def permissions_of(role: Role) -> frozenset[Permission]:
    """Everything a caller of that role may do."""
    return _RESOLVED[role]
