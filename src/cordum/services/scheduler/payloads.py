"""Jobs whose payload does not match their topic's input schema are not dispatched (spec-scheduler 8.2 step 6).

The gateway has looked already; jobs also come from the bus itself, from the dead letters, and from before a schema was
registered.
"""

from typing import Final

from cordum.core.ids import TenantId, Topic
from cordum.core.routing.topics import TopicRegistry
from cordum.core.schemas import SchemaFault
from cordum.core.schemas.faults import VALIDATION_FAILED
from cordum.runtime import boundary
from cordum.runtime.logging import get_logger
from cordum.runtime.settings import Rigour
from cordum.services.scheduler.ticket import Ticket
from cordum.store import Store, keys
from cordum.store.payload_checks import PayloadChecks, RegistryUnavailableError

log = get_logger(__name__)

_LOGGED: Final = 5  # violations in one log line


class PayloadGate:
    """Says which jobs must not run because of what they bring along."""

    def __init__(self, store: Store, checks: PayloadChecks, rigour: Rigour) -> None:
        self._store = store
        self._checks = checks
        self._rigour = rigour

    def changed(self) -> None:
        """Schemas may have changed."""
        self._checks.changed()

    def schema_of(self, registry: TopicRegistry, tenant: TenantId, topic: Topic) -> str:
        """The schema a job on this topic is to be checked against, "" for none."""
        if self._rigour is Rigour.OFF:
            return ""
        registered = registry.find(tenant, topic)
        return registered.input_schema_id if registered is not None else ""

    async def fault(self, ticket: Ticket, schema_id: str) -> SchemaFault | None:
        """Why the job must fail; None when it may go on, because it matches or because we only warn.

        Raises:
            RegistryUnavailableError, StoreError: it cannot be checked now, and nothing may run unchecked: try again.
        """
        if self._rigour is Rigour.WARN and _was_seen(ticket):
            return None
        try:
            context = await self._context(ticket)
            fault = await self._checks.fault(schema_id, context)
        except RegistryUnavailableError as error:
            log.warning(
                "a payload cannot be checked: schema_registry_unavailable",
                event=error.code,
                job_id=ticket.record.id,
                topic=ticket.record.topic,
                schema_id=schema_id,
                error=error.message,
            )
            if self._rigour is Rigour.ENFORCE:
                raise
            return None
        if fault is None:
            return None
        if fault.code == VALIDATION_FAILED:
            boundary.record(boundary.Event.SCHEMA_VALIDATION_FAILED, ticket.record.topic)
        log.warning(
            fault.code,
            event=fault.code,
            job_id=ticket.record.id,
            topic=ticket.record.topic,
            tenant=ticket.record.tenant,
            schema_id=schema_id,
            enforcement=self._rigour.value,
            violations=[f"{violation.path}: {violation.message}" for violation in fault.violations[:_LOGGED]],
            error=fault.message,
        )
        return fault if self._rigour is Rigour.ENFORCE else None

    async def _context(self, ticket: Ticket) -> bytes:
        """What the worker will read: the job's own context, or what its pointer leads to; null when that is nothing."""
        pointer = ticket.request.context_ptr
        if pointer and pointer != keys.pointer(keys.context(ticket.record.id)):
            ticket.context = await self._store.jobs.payload(pointer)
        return ticket.context or b"null"


def _was_seen(ticket: Ticket) -> bool:
    """Whether this job has been here before: one word of warning a job is enough."""
    return bool(ticket.record.attempts or ticket.record.pending_reason)
