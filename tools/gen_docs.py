"""Writes docs/reference/ from the declarations in the code; `--check` only tells whether a page is stale (exit 1).

A further page is one more line in `PAGES`.
"""

import argparse
import runpy
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path

from pydantic import SecretStr

from cordum.runtime import metrics
from cordum.runtime.settings import (
    CommonSettings,
    GatewaySettings,
    GrpcServerSettings,
    KernelClientSettings,
    NatsSettings,
    RedisSettings,
    SafetyKernelSettings,
    SchedulerSettings,
)
from cordum.runtime.settings.declare import Settings, Variable, variables
from cordum.runtime.settings.output import InputFailSettings, OutputPolicySettings
from cordum.runtime.settings.policy_signing import (
    PolicySigningSettings,
    PolicyTrustSettings,
    PublicKeySettings,
    SigningKeySettings,
)
from cordum.runtime.settings.protections import GatewayProtections
from cordum.runtime.settings.schemas import SchemaSettings
from cordum.runtime.settings.sessions import HandshakeSettings, SessionSettings
from cordum.runtime.settings.values import Address

ROOT = Path(__file__).resolve().parent.parent
SERVICES: tuple[type[Settings], ...] = (GatewaySettings, SchedulerSettings, SafetyKernelSettings)
TITLES: dict[type[Settings], str] = {
    CommonSettings: "Every process",
    GatewaySettings: "Gateway",
    SchedulerSettings: "Scheduler",
    SafetyKernelSettings: "Safety kernel",
    NatsSettings: "NATS",
    RedisSettings: "Redis and retention",
    KernelClientSettings: "Reaching the safety kernel",
    InputFailSettings: "When the safety kernel cannot be reached",
    OutputPolicySettings: "Output policy",
    PolicyTrustSettings: "Signatures of policies",
    SigningKeySettings: "The control plane's own key",
    PublicKeySettings: "Keys that are trusted",
    PolicySigningSettings: "Signing policies",
    SessionSettings: "Workers' sessions",
    HandshakeSettings: "Trust handshakes of workers",
    GrpcServerSettings: "gRPC servers",
    SchemaSettings: "Input schemas",
    GatewayProtections: "Protections still to come: gateway",
}
NOTE = "<!-- Written by tools/gen_docs.py; run `make docs` instead of changing it by hand. -->\n\n"


INTRODUCTION = """# Environment variables

An empty variable counts as unset. A value that is not understood stops the start with exit code 2 and one line that
names the variable, what is wrong with it and what is allowed. Durations are written `500ms`, `30s`, `5m`, `168h`, `7d`,
or as a number of seconds; yes and no as `1`, `true`, `yes`, `on` and `0`, `false`, `no`, `off`. Secret values never
appear in logs or messages.

Production mode is on when `CORDUM_ENV` is `production` or `prod`, or `CORDUM_PRODUCTION` is true; a process then
refuses to start without what is called required in production.
"""


def environment() -> str:
    """Every environment variable, in the groups they are declared in."""
    parts = [NOTE, INTRODUCTION]
    for group, title in TITLES.items():
        readers = [service for service in SERVICES if issubclass(service, group)]
        own = [declared for declared in variables(group) if declared.field in group.__annotations__]
        parts += [f"\n## {title}\n\n", f"Read by {', '.join(f'`{reader.service}`' for reader in readers)}.\n\n"]
        parts.append(_table(own))
    return "".join(parts)


def _table(rows: Sequence[Variable]) -> str:
    lines = ["| Variable | Type | Default | Description |\n", "|---|---|---|---|\n"]
    for declared in sorted(rows, key=lambda row: row.name):
        aliases = "".join(f"<br>or `{name}`" for name in declared.names[1:])
        secret = "; secret" if declared.secret else ""
        lines.append(
            f"| `{declared.name}`{aliases} | {_type(declared)}{secret} | {_default(declared)} "
            f"| {_cell(declared.info.description or '')} |\n"
        )
    return "".join(lines)


def _type(declared: Variable) -> str:
    default, notes = declared.info.default, declared.info.metadata
    words = _words(declared)
    bounds = _bounds(declared)
    if words:
        return words
    match default:
        case bool():
            return "yes/no"
        case int():
            return f"whole number{bounds}"
        case float():
            return f"duration{bounds}"
        case Address():
            return "address"
        case tuple():
            return "list"
        case _:
            return "file" if "file" in notes else "text"


def _words(declared: Variable) -> str:
    """The words of an enumeration, as `a`, `b`."""
    annotation = declared.info.annotation
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, Enum):
            return ", ".join(f"`{word.value}`" for word in kind)
    return ""


def _bounds(declared: Variable) -> str:
    least = next((note.ge for note in declared.info.metadata if hasattr(note, "ge")), None)
    most = next((note.le for note in declared.info.metadata if hasattr(note, "le")), None)
    shown = _seconds if isinstance(declared.info.default, float) else lambda number: f"{number:,}"
    if least is not None and most is not None:
        return f", {shown(least)} to {shown(most)}"
    return f", at least {shown(least)}" if least is not None else ""


def _default(declared: Variable) -> str:
    extra = declared.info.json_schema_extra
    if isinstance(extra, dict) and "shown" in extra:
        return _cell(str(extra["shown"]))
    match declared.info.default:
        case None | "" | ():
            return "-"
        case bool(flag):
            return str(flag).lower()
        case Enum() as word:
            return f"`{word.value}`"
        case float(seconds):
            return f"`{_seconds(seconds)}`"
        case SecretStr():
            return "-"
        case value:
            return f"`{value}`"


def _seconds(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def metric_names() -> str:
    """Every metric, service by service."""
    parts = [
        NOTE,
        "# Metrics\n\n",
        "Served at `/metrics` in Prometheus text format: gateway `:9092`, scheduler `:9090`, safety kernel `:9095`.\n"
        f"A metric holds at most {metrics.MAX_LABEL_SETS:,} label sets; later ones count under `{metrics.OTHER}`.\n",
    ]
    found = metrics.declarations()
    shared = [one for one in found if set(one.services) == set(metrics.EVERY)]
    parts += ["\n## Every process\n\n", _metric_table(shared)]
    for service in metrics.EVERY:
        own = [one for one in found if service in one.services and one not in shared]
        parts += [f"\n## {service}\n\n", _metric_table(own)]
    return "".join(parts)


def _metric_table(rows: Sequence[metrics.Declaration]) -> str:
    lines = ["| Metric | Type | Labels | Description |\n", "|---|---|---|---|\n"]
    for row in rows:
        labels = ", ".join(f"`{label}`" for label in row.labels) or "-"
        buckets = f"; buckets {', '.join(f'{edge:g}' for edge in row.buckets)}" if row.buckets else ""
        lines.append(f"| `{row.name}` | {row.type} | {labels} | {_cell(row.help)}{buckets} |\n")
    return "".join(lines)


def policy_language() -> str:
    """Every key a policy may have."""
    page: str = runpy.run_path(str(ROOT / "tools" / "policy_language.py"), run_name="policy_language")["page"]()
    return NOTE + page


PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/environment.md": environment,
    "docs/reference/metrics.md": metric_names,
    "docs/reference/policy-language.md": policy_language,
    **runpy.run_path(str(ROOT / "tools" / "gen_openapi.py"))["PAGES"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    check = parser.parse_args().check
    stale = 0
    for name, write in PAGES.items():
        page, wanted = ROOT / name, write()
        if page.is_file() and page.read_text(encoding="utf-8") == wanted:
            continue
        stale += 1
        if check:
            print(f"{name} is stale; run `make docs`", file=sys.stderr)
        else:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
