"""Which gateway a command talks to, and as whom."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cordum.cli.errors import UsageError
from cordum.embedded.datadir import DEFAULT, DataDir

DEFAULT_URL = "http://127.0.0.1:8081"


@dataclass(frozen=True)
class Target:
    """Address and credential of every request of a command."""

    url: str
    api_key: str
    tenant: str
    from_local_stack: bool

    @property
    def is_loopback(self) -> bool:
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")


def resolve(url: str | None, api_key: str | None, tenant: str | None, data_dir: Path = DEFAULT) -> Target:
    """What was given (options, else environment), completed from the local embedded stack when one runs.

    The local stack's key is only ever sent to the local stack.

    Raises:
        UsageError: `url` is not an http or https address.
    """
    local = DataDir(data_dir)
    running = local.running()
    local_url = running.api_url if running is not None and running.ready else ""
    chosen = (url or local_url or DEFAULT_URL).rstrip("/")
    parts = urlsplit(chosen)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--url {chosen}: not an http:// or https:// address")
    is_local = bool(local_url) and chosen == local_url
    if not api_key and is_local and (secrets := local.secrets()) is not None:
        api_key = secrets.admin_key
    return Target(chosen, api_key or "", tenant or "", is_local)
