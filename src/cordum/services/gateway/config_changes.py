"""Tells every process that stored configuration has changed, so that none waits for its timer."""

from cordum.bus import Bus, BusError, envelope, subjects
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger

log = get_logger(__name__)


async def announce_change(bus: Bus, clock: Clock, scope: str, scope_id: str, **details: str) -> None:
    """Says that `cfg:<scope>:<scope_id>` has changed. A bus that is away only costs time: all look by themselves, too.

    Args:
        details: further details of the message.
    """
    packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, f"config-{scope}-{scope_id}", clock.now())
    alert = packet.alert
    alert.level, alert.component, alert.code = "info", "gateway", "config_changed"
    alert.message = "config changed"
    alert.details.update({"scope": scope, "scope_id": scope_id, **details})
    try:
        await bus.publish_core(subjects.CONFIG_CHANGED, envelope.encode(packet))
    except BusError as error:
        log.warning(
            "a change of the configuration is not announced; the others find it by their timers",
            event="config_change_not_announced",
            scope=scope,
            scope_id=scope_id,
            error=error.message,
        )
