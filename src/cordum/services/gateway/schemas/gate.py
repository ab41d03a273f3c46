"""The check of a job's payload at submit, over HTTP and gRPC alike (guide section 5, `SCHEMA_ENFORCEMENT`)."""

from typing import Final

import msgspec

from cordum.core.ids import TenantId, Topic
from cordum.core.schemas import SchemaFault
from cordum.core.schemas.faults import VALIDATION_FAILED
from cordum.runtime import boundary
from cordum.runtime.logging import get_logger
from cordum.runtime.settings import Rigour
from cordum.services.gateway.errors import ApiError
from cordum.store.payload_checks import PayloadChecks, RegistryUnavailableError

log = get_logger(__name__)

_LOGGED: Final = 5  # violations in one log line


class SubmitGate:
    """Lets payloads pass that match, and what does not with a word of warning or not at all."""

    def __init__(self, checks: PayloadChecks, rigour: Rigour) -> None:
        self._checks = checks
        self._rigour = rigour

    @property
    def is_open(self) -> bool:
        """Whether payloads are not looked at at all."""
        return self._rigour is Rigour.OFF

    def changed(self) -> None:
        """Schemas have changed."""
        self._checks.changed()

    async def check(self, tenant: TenantId, topic: Topic, schema_id: str, context: bytes) -> None:
        """Checks a job's context document against its topic's input schema.

        Raises:
            ApiError: under `enforce`: 400 `schema_validation_failed` with the violations, 409 when the schema is
                missing or cannot be used, 503 when the registry cannot be read.
        """
        try:
            fault = await self._checks.fault(schema_id, context)
        except RegistryUnavailableError as error:
            if self._rigour is Rigour.ENFORCE:
                raise ApiError(error.code) from error
            log.warning(
                "the payload is not checked: schema_registry_unavailable",
                event=error.code,
                topic=topic,
                schema_id=schema_id,
                error=error.message,
            )
            return
        if fault is None:
            return
        self._tell(tenant, topic, fault)
        if self._rigour is Rigour.ENFORCE:
            extra = {"topic": topic, "schema_id": schema_id}
            if fault.code == VALIDATION_FAILED:
                raise ApiError(
                    fault.code, fault.message, extra={**extra, "violations": msgspec.to_builtins(fault.violations)}
                )
            raise ApiError(fault.code, fault.message, extra=extra)

    def _tell(self, tenant: TenantId, topic: Topic, fault: SchemaFault) -> None:
        if fault.code == VALIDATION_FAILED:
            boundary.record(boundary.Event.SCHEMA_VALIDATION_FAILED, topic)
        log.warning(
            fault.code,
            event=fault.code,
            topic=topic,
            schema_id=fault.schema_id,
            tenant=tenant,
            enforcement=self._rigour.value,
            violations=[f"{violation.path}: {violation.message}" for violation in fault.violations[:_LOGGED]],
            error=fault.message,
        )
