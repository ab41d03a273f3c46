"""The JetStream API, as far as we administer with it.

Configurations are plain dictionaries, so that what a newer server or an operator has set stays when we change a field.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from nats.errors import Error as NatsError

from cordum.bus import subjects
from cordum.bus.errors import BusUnavailableError, StreamSetupError
from cordum.bus.wire import Wire

Config = dict[str, Any]

REQUEST_TIMEOUT: Final = 5.0  # seconds

STREAM_NOT_FOUND: Final = 10059
STREAM_EXISTS_OTHERWISE: Final = 10058
CONSUMER_NOT_FOUND: Final = 10014
REFUSED_ROLLUP: Final = 10111

_NO_ROLLUP: Final = "none"
"""Neither of the two words that header may hold."""
_PROBES: Final = {subjects.STREAM_JOBS: "job._probe"}
"""A subject of a stream that nobody listens to."""


class _Fault(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Fault | None = None
    config: Config = {}
    duplicate: bool = False


class RejectedError(StreamSetupError):
    """JetStream rejected a request."""

    def __init__(self, subject: str, err_code: int, description: str) -> None:
        self.err_code = err_code
        super().__init__(f"JetStream rejected {subject}: {description} ({err_code})")


class Admin:
    """Asks JetStream about streams and consumers, and has it make them.

    Every method raises BusUnavailableError when JetStream does not answer, and RejectedError when it says no.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def stream(self, name: str) -> Config | None:
        """The configuration of a stream; None when there is no such stream."""
        return await self._found(f"STREAM.INFO.{name}", STREAM_NOT_FOUND)

    async def create_stream(self, config: Config) -> None:
        await self._api(f"STREAM.CREATE.{config['name']}", config)

    async def update_stream(self, config: Config) -> None:
        await self._api(f"STREAM.UPDATE.{config['name']}", config)

    async def consumer(self, stream: str, name: str) -> Config | None:
        """The configuration of a durable consumer; None when there is no such consumer."""
        return await self._found(f"CONSUMER.INFO.{stream}.{name}", CONSUMER_NOT_FOUND)

    async def put_consumer(self, stream: str, config: Config) -> None:
        """Makes a durable consumer, or changes it to this configuration."""
        await self._api(f"CONSUMER.DURABLE.CREATE.{stream}.{config['name']}", {"stream_name": stream, "config": config})

    async def has_message(self, stream: str, msg_id: str) -> bool:
        """Whether a stream remembers a message id.

        Asked with a message that can never be stored, because one of its headers makes no sense; that an id is known
        already is answered first. The header must be one that the leader of a replicated stream refuses by itself: an
        expected last message id is looked at when all replicas have agreed on the message, and stops the stream (server
        2.15); an expected last sequence is looked at before the id where there is one server.
        """
        headers = {"Nats-Msg-Id": msg_id, "Nats-Expected-Stream": stream, "Nats-Rollup": _NO_ROLLUP}
        try:
            return (await self._ask(_PROBES[stream], b"", headers)).duplicate
        except RejectedError as error:
            if error.err_code == REFUSED_ROLLUP:
                return False
            raise

    async def _found(self, request: str, not_found: int) -> Config | None:
        try:
            return (await self._api(request, None)).config
        except RejectedError as error:
            if error.err_code == not_found:
                return None
            raise

    async def _api(self, request: str, body: Mapping[str, object] | None) -> _Answer:
        return await self._ask(f"$JS.API.{request}", b"" if body is None else msgspec.json.encode(body))

    async def _ask(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> _Answer:
        try:
            message = await self._wire.request(subject, data, timeout=REQUEST_TIMEOUT, headers=headers)
        except (NatsError, TimeoutError) as error:
            raise BusUnavailableError(f"JetStream does not answer {subject}: {_why(error)}") from error
        try:
            answer = msgspec.json.decode(message.data, type=_Answer)
        except msgspec.MsgspecError as error:
            raise StreamSetupError(f"JetStream's answer to {subject} cannot be read: {error}") from error
        if answer.error is not None:
            raise RejectedError(subject, answer.error.err_code, answer.error.description)
        return answer


def _why(error: Exception) -> str:
    if "no responders" in str(error).lower():
        return "the server runs without JetStream"
    return str(error) or type(error).__name__
