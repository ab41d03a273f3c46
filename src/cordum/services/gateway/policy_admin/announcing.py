"""Tells kernels that the policy has changed, so that they do not wait for their timer."""

from typing import Final

from cordum.bus import Bus, BusError, envelope, subjects
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger

SCOPE_ID: Final = "policy"

log = get_logger(__name__)


async def announce_policy(bus: Bus, clock: Clock, revision: int) -> None:
    """Publishes `sys.config.changed`. A bus that is not there only costs time: kernels look by themselves, too."""
    packet = envelope.packet(subjects.GATEWAY_CONTROL_ID, f"policy-{revision}", clock.now())
    alert = packet.alert
    alert.level, alert.component, alert.code = "info", "gateway", "config_changed"
    alert.message = "the policy has changed"
    alert.details.update({"scope": "system", "scope_id": SCOPE_ID, "revision": str(revision)})
    try:
        await bus.publish_core(subjects.CONFIG_CHANGED, envelope.encode(packet))
    except BusError as error:
        log.warning(
            "kernels are not told of the new policy; they find it by their timer",
            event="policy_not_announced",
            error=error.message,
            revision=revision,
        )
