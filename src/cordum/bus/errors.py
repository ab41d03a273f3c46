"""What can go wrong on the bus."""

from cordum.core.errors import CordumError


class BusError(CordumError):
    """The bus failed."""

    code = "bus_error"


class BusUnavailableError(BusError):
    """NATS cannot be reached."""

    code = "bus_unavailable"


class BusRefusedError(BusUnavailableError):
    """NATS refused our credentials."""

    code = "bus_refused"


class BusSettingsError(BusError):
    """The NATS settings cannot be used."""

    code = "bus_settings"


class StreamSetupError(BusError):
    """A stream or a consumer could not be set up."""

    code = "stream_setup_failed"


class PublishError(BusError):
    """The message was not acknowledged: it may or may not be on the stream, so publish it again under the same id."""

    code = "publish_failed"


class MessageTooLargeError(PublishError):
    """The message is larger than the server takes."""

    code = "message_too_large"


class BadSubjectError(BusError):
    """This is no subject to publish on."""

    code = "bad_subject"


class BadPacketError(BusError):
    """This is no valid CAP packet."""

    code = "bad_packet"
