"""Who may touch what binds every tenant (spec-auth section 4: a platform administrator is not a tenant's)."""

from cordum.services.gateway.call import Call
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.parts import Parts


def is_platform(parts: Parts, call: Call) -> bool:
    """Whether the caller belongs to the installation's own tenant, or may act for every tenant."""
    return call.caller.cross_tenant or call.caller.tenant == parts.settings.tenant_id


def demand_platform(parts: Parts, call: Call) -> None:
    """Raises ApiError 403 for the callers of any other tenant."""
    if not is_platform(parts, call):
        raise ApiError(
            "tenant_access_denied",
            f"policy bundles bind every tenant: use a key of the tenant {parts.settings.tenant_id}, "
            "or one with allow_cross_tenant",
        )
