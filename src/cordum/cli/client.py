"""The API as the commands see it: one call, a JSON answer or an error that says what to do."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx

from cordum.cli.errors import RefusedError, UnreachableError
from cordum.cli.target import Target

Json = dict[str, Any]
"""A JSON object of the API."""

_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_MOST_SHOWN = 300

_HINTS = {
    401: "the key is missing or wrong: set --api-key or CORDUM_API_KEY (`cordumctl up` prints the local one)",
    403: "this key may not do that, or policy denied it",
    404: "there is no such thing in this tenant; is it the right id, and the right --tenant?",
    413: "the body is too large",
    429: "too many requests: wait a moment and try again",
    503: "a part of the system is unavailable: see `cordumctl status`",
}


class Client:
    """Sends a command's requests. Close it, or use it as a context manager."""

    def __init__(self, target: Target) -> None:
        self.target = target
        headers = {"User-Agent": "cordumctl", "Accept": "application/json"}
        if target.api_key:
            headers["X-API-Key"] = target.api_key
        if target.tenant:
            headers["X-Tenant-ID"] = target.tenant
        # A proxy of the environment can do nothing for an address of this machine.
        self._http = httpx.Client(
            base_url=target.url, headers=headers, timeout=_TIMEOUT, trust_env=not target.is_loopback
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, object] | None = None, waits: float = 0.0) -> Json:
        """GET below /api/v1; `waits` seconds are allowed on top of the usual time."""
        return self.call("GET", path, params=params, waits=waits)

    def post(
        self, path: str, body: Mapping[str, object] | None = None, headers: Mapping[str, str] | None = None
    ) -> Json:
        return self.call("POST", path, body=body, headers=headers)

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        waits: float = 0.0,
    ) -> Json:
        """One request; gives the JSON object answered, an empty one when there is no body.

        Raises:
            UnreachableError: no answer, or not one of a Cordum gateway.
            RefusedError: the gateway answered with an error.
        """
        given = {name: str(value) for name, value in (params or {}).items() if value not in (None, "")}
        try:
            answer = self._http.request(
                method,
                f"/api/v1{path}",
                params=given,
                json=body,
                headers=dict(headers or {}),
                timeout=httpx.Timeout(15.0 + waits, connect=5.0),
            )
        except httpx.TimeoutException as error:
            raise UnreachableError(f"{self.target.url} did not answer in time", "look at `cordumctl status`") from error
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"{self.target.url} cannot be reached: {error}",
                "start a stack with `cordumctl up`, or name the gateway with --url or CORDUM_API_URL",
            ) from error
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> Json:
        data: object = {}
        if answer.content:
            try:
                data = answer.json()
            except ValueError:
                data = None
        if answer.is_success:
            if isinstance(data, list):
                return {"items": data}
            if isinstance(data, dict):
                return data
            raise UnreachableError(
                f"{self.target.url} answered with something that is not JSON",
                "is this the address of a Cordum gateway?",
            )
        body = data if isinstance(data, dict) else {}
        said = str(body.get("message") or body.get("error") or answer.text[:_MOST_SHOWN] or answer.reason_phrase)
        code = str(body.get("code") or body.get("error_code") or "")
        details = "".join(
            f"\n  {item.get('path', '')}: {item.get('message', '')}"
            for item in body.get("violations") or []
            if isinstance(item, dict)
        )
        hint = _HINTS.get(answer.status_code, "") if body else "is this the address of a Cordum gateway?"
        raise RefusedError(
            f"{said} (HTTP {answer.status_code}{', ' + code if code else ''}){details}", hint, answer.status_code, body
        )
