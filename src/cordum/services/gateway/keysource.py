"""The API keys of this gateway, from its settings and its key file; the file is read again when it changes."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cordum.core.access.keys import BadKeysError, KeyEntry, Keyring, parse_keys, parse_single
from cordum.core.errors import CordumError
from cordum.core.ids import TenantId
from cordum.runtime.clock import Clock
from cordum.runtime.logging import get_logger
from cordum.runtime.settings import GatewaySettings

log = get_logger(__name__)

POLL_SECONDS: Final = 5.0
MAX_FILE_BYTES: Final = 8 * 1024 * 1024
_Stamp = tuple[int, int, int]


class KeySourceError(CordumError):
    """The API keys cannot be used."""

    code = "api_keys_unusable"


class KeySource:
    """Holds the current keyring; a bad file keeps the keys it had."""

    def __init__(self, settings: GatewaySettings, clock: Clock) -> None:
        """For `open`, which is the way to make one."""
        self._settings = settings
        self._clock = clock
        self._tenant = TenantId(settings.tenant_id)
        self._path = Path(settings.api_keys_path) if settings.api_keys_path else None
        self._stamp: _Stamp | None = None
        self.ring = Keyring()

    @classmethod
    async def open(cls, settings: GatewaySettings, clock: Clock) -> "KeySource":
        """Reads every source.

        Raises:
            KeySourceError: one cannot be read; names the variable, never a key.
        """
        source = cls(settings, clock)
        try:
            source.ring = await asyncio.to_thread(source._read)
        except (BadKeysError, OSError) as error:
            raise KeySourceError(_told(error)) from None
        source._warn()
        return source

    async def keep_fresh(self) -> None:
        """Looks every POLL_SECONDS whether the file has changed, for ever; run as a background task."""
        while self._path is not None:
            await self._clock.sleep(POLL_SECONDS)
            if await asyncio.to_thread(self._current_stamp) != self._stamp:
                await self.reload()

    async def reload(self) -> None:
        """Reads every source again; also what SIGHUP does. On failure the keys stay as they are."""
        try:
            self.ring = await asyncio.to_thread(self._read)
        except (BadKeysError, OSError) as error:
            log.error("API keys not reloaded, the old ones stay", event="api_keys_not_reloaded", error=_told(error))
            return
        log.info("API keys reloaded", event="api_keys_reloaded", count=len(self.ring))
        self._warn()

    def _read(self) -> Keyring:
        settings = self._settings
        single = settings.api_key.get_secret_value() if settings.api_key else ""
        several = settings.api_keys.get_secret_value() if settings.api_keys else ""
        return Keyring(
            _named("CORDUM_API_KEY", parse_single, single, self._tenant),
            _named("CORDUM_API_KEYS", parse_keys, several, self._tenant),
            _named("CORDUM_API_KEYS_PATH", parse_keys, self._file(), self._tenant),
        )

    def _file(self) -> str:
        if self._path is None:
            return ""
        # The stamp is of before the read: a change in between is seen at the next look.
        self._stamp = self._current_stamp()
        with self._path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise BadKeysError(f"CORDUM_API_KEYS_PATH: the file is larger than {MAX_FILE_BYTES} bytes")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise BadKeysError("CORDUM_API_KEYS_PATH: the file is not UTF-8 text") from None

    def _current_stamp(self) -> _Stamp | None:
        assert self._path is not None
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _warn(self) -> None:
        if not len(self.ring):
            log.warning("no API key is configured: every call is refused", event="no_api_keys")
        if self.ring.without_role:
            log.warning(
                "API keys without a role are administrators: name a role for each",
                event="api_keys_without_role",
                count=self.ring.without_role,
            )


def _named(
    variable: str, parse: Callable[[str, TenantId], list[KeyEntry]], text: str, tenant: TenantId
) -> list[KeyEntry]:
    try:
        return parse(text, tenant)
    except BadKeysError as error:
        raise BadKeysError(f"{variable}: {error.message}") from None


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"CORDUM_API_KEYS_PATH: cannot be read: {error.strerror}"
    return error.message if isinstance(error, CordumError) else str(error)
