"""Reading what NATS sends: nats-py's parser, with a quick way for messages.

nats-py matches every message against several patterns and cuts its buffer for each; here a chunk is walked through once
(measured: 3 microseconds less per message). Everything that is no message is left to nats-py.
"""

from typing import TYPE_CHECKING, Final

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

if TYPE_CHECKING:
    from cordum.bus.wire import Wire

MAX_LINE: Final = 64 * 1024  # bytes; the server's greeting names every server of a cluster

_END: Final = b"\r\n"


class Reader(Parser):
    """Walks through the bytes as they come; a message cut off by the end of a chunk waits for its rest."""

    def __init__(self, wire: "Wire") -> None:
        self._resets = 0
        super().__init__(wire)
        self._wire = wire

    def reset(self) -> None:
        """Another connection begins: the rest of the old one is worth nothing."""
        super().reset()
        self._whole = 0
        self._resets += 1

    async def parse(self, data: bytes = b"") -> None:
        """Takes the next chunk. Raises ProtocolError when it makes no sense."""
        if self.buf:
            self.buf += data
            if len(self.buf) < self._whole:
                return
            data = bytes(self.buf)
        resets = self._resets
        rest = await self._walk(data)
        if resets == self._resets:
            self.buf = bytearray(rest)

    async def _walk(self, data: bytes) -> bytes:
        """Handles every whole line and message, and gives back what is left."""
        self._whole = 0
        wire = self._wire
        at, end = 0, len(data)
        while at < end:
            line_end = data.find(_END, at)
            if line_end < 0:
                if end - at > MAX_LINE:
                    raise ProtocolError
                break
            if data.startswith(b"MSG ", at):
                words = data[at + 4 : line_end].split()
                head_size = 0
            elif data.startswith(b"HMSG ", at):
                words = data[at + 5 : line_end].split()
                head_size = _number(words.pop(-2)) if len(words) > 3 else -1
            else:
                await self._other(data[at : line_end + 2])
                at = line_end + 2
                continue
            if head_size < 0 or not 3 <= len(words) <= 4:
                raise ProtocolError
            size = _number(words[-1])
            if head_size > size:
                raise ProtocolError
            start = line_end + 2
            stop = start + size
            if stop + 2 > end:
                self._whole = stop + 2 - at
                break
            body = start + head_size
            sid = _number(words[1])
            reply = words[2] if len(words) == 4 else b""
            headers = data[start:body] if head_size else None
            if not wire.hear(sid, words[0], reply, data[body:stop], headers):
                await wire._process_msg(sid, words[0], reply, data[body:stop], headers or b"")
            at = stop + 2
        return data[at:]

    async def _other(self, line: bytes) -> None:
        self.buf = bytearray(line)
        await super().parse()


def _number(digits: bytes) -> int:
    if not digits.isdigit():
        raise ProtocolError
    return int(digits)
