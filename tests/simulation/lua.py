"""Runs the store's scripts as they are, in the Lua that Redis has (5.1), on the simulated server."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Optional

from lupa.lua51 import LuaError, LuaRuntime, lua_type
from tests.simulation.redis_values import RedisError, SimReply, Status

from cordum.store import scripts

Call = Callable[[list[bytes]], SimReply]

_PRELUDE: Final = b"""
-- Lists cross the border between the languages as many values at once, not one by one.
local LIST, STATUS, DEEP = 1, 2, 3
local function taken(kind, ...)
  if kind == LIST then return {...} end
  if kind == STATUS then return {ok = (...)} end
  return (...)
end
local function given(value)
  if type(value) ~= 'table' then return 0, value end
  if value.ok then return STATUS, value.ok end
  if value.err then return STATUS + DEEP, value.err end
  for i = 1, #value do
    if type(value[i]) == 'table' then return DEEP, value end
  end
  return LIST, unpack(value)
end
return function(call, decode)
  redis = {}
  function redis.call(...) return taken(call(...)) end
  function redis.error_reply(text) return {err = text} end
  function redis.status_reply(text) return {ok = text} end
  cjson = {decode = decode}
  return function(script)
    return function(keys, ...)
      local KEYS, ARGV = {}, {select(keys + 1, ...)}
      for i = 1, keys do KEYS[i] = (select(i, ...)) end
      return given(script(KEYS, ARGV))
    end
  end
end
"""
_LIST: Final = 1
_STATUS: Final = 2
_DEEP: Final = 3
_FAULT: Final = 5


class Lua:
    """One interpreter for all worlds of this process; a script has no memory."""

    _shared: Optional["Lua"] = None

    def __init__(self) -> None:
        self._runtime = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._call: Call | None = None
        self._wrap = self._runtime.execute(_PRELUDE)(self._on_call, self._on_decode)
        self._scripts: dict[str, Any] = {}

    @classmethod
    def shared(cls) -> "Lua":
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def run(self, sha: str, keys: Sequence[bytes], args: Sequence[bytes], call: Call) -> SimReply:
        """Runs one script; what it calls goes to `call`.

        Raises:
            RedisError: it failed, as the server would say it.
        """
        script = self._scripts.get(sha)
        if script is None:
            text = scripts.TEXTS[sha]
            script = self._wrap(self._runtime.execute(f"return function(KEYS, ARGV)\n{text}\nend".encode()))
            self._scripts[sha] = script
        self._call = call
        try:
            answer = script(len(keys), *keys, *args)
        except LuaError as error:
            raise RedisError(f"ERR {error}") from error
        kind, *values = answer if isinstance(answer, tuple) else (answer,)
        if kind == _LIST:
            found: list[SimReply] = []
            for value in values:
                if value is None:
                    break
                found.append(_plain(value))
            return found
        if kind == _STATUS:
            return Status(values[0])
        if kind == _FAULT:
            raise RedisError(values[0].decode())
        return self._deep(values[0]) if kind == _DEEP else _plain(values[0] if values else None)

    def _on_call(self, *parts: object) -> object:
        assert self._call is not None
        reply = self._call([_argument(part) for part in parts])
        if isinstance(reply, Status):
            return _STATUS, bytes(reply)
        if isinstance(reply, list):
            return (_LIST, *(self._shown(item) for item in reply))
        return 0, False if reply is None else reply

    def _shown(self, reply: SimReply) -> object:
        """A part of a list as scripts see it."""
        if reply is None:
            return False
        if isinstance(reply, list):
            return self._runtime.table_from([self._shown(item) for item in reply])
        return reply

    def _deep(self, table: Any) -> SimReply:
        found: list[SimReply] = []
        while (item := table[len(found) + 1]) is not None:
            found.append(self._deep(item) if lua_type(item) == "table" else _plain(item))
        return found

    def _on_decode(self, text: bytes) -> object:
        return self._decoded(json.loads(text))

    def _decoded(self, value: object) -> object:
        if isinstance(value, dict):
            return self._runtime.table_from({name.encode(): self._decoded(item) for name, item in value.items()})
        if isinstance(value, list):
            return self._runtime.table_from([self._decoded(item) for item in value])
        return value.encode() if isinstance(value, str) else value


def _plain(value: Any) -> SimReply:
    """What a script answers, as clients see it."""
    if isinstance(value, bytes):
        return value
    if value is None or value is False:
        return None
    return int(value)


def _argument(part: object) -> bytes:
    """A number goes into a command as Redis writes it there."""
    if isinstance(part, bytes):
        return part
    if isinstance(part, bool):
        raise RedisError("ERR Lua redis lib command arguments must be strings or integers")
    if isinstance(part, int):
        return b"%d" % part
    if isinstance(part, float):
        return b"%.17g" % part
    raise RedisError("ERR Lua redis lib command arguments must be strings or integers")
