"""The bus: NATS streams and messages, and the CAP envelopes they carry.

`Bus` is the connection; `subjects`, `envelope` and `messages` say what goes over it.
"""

from cordum.bus.connection import Bus
from cordum.bus.consumer import Consumer
from cordum.bus.core import CoreMessage, Subscription
from cordum.bus.delivery import ACK, Ack, Delivery, Outcome, Poison, Retry
from cordum.bus.errors import (
    BadPacketError,
    BadSubjectError,
    BusError,
    BusRefusedError,
    BusSettingsError,
    BusUnavailableError,
    MessageTooLargeError,
    PublishError,
    StreamSetupError,
)

__all__ = [
    "ACK",
    "Ack",
    "BadPacketError",
    "BadSubjectError",
    "Bus",
    "BusError",
    "BusRefusedError",
    "BusSettingsError",
    "BusUnavailableError",
    "Consumer",
    "CoreMessage",
    "Delivery",
    "MessageTooLargeError",
    "Outcome",
    "Poison",
    "PublishError",
    "Retry",
    "StreamSetupError",
    "Subscription",
]
