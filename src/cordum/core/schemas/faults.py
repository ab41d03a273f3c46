"""Why a job does not pass its topic's schema; the codes are those of the dead letters (spec-scheduler 8.2 step 6)."""

from typing import Final

import msgspec

from cordum.core.schemas.violation import Violation

VALIDATION_FAILED: Final = "schema_validation_failed"
NOT_FOUND: Final = "schema_not_found"
INVALID: Final = "schema_invalid"
UNAVAILABLE: Final = "schema_registry_unavailable"


class SchemaFault(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict against a job.

    Attributes:
        code: one of the words above.
        violations: what is wrong with the payload; none when the schema is at fault.
    """

    code: str
    schema_id: str
    message: str
    violations: tuple[Violation, ...] = ()


def payload_fault(schema_id: str, violations: tuple[Violation, ...]) -> SchemaFault:
    """The payload is not what the schema asks for."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return SchemaFault(
        code=VALIDATION_FAILED,
        schema_id=schema_id,
        message=f"the payload does not match the schema {schema_id}: {first.path}: {first.message}{more}",
        violations=violations,
    )
