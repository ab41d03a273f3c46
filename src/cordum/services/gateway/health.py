"""`/health` and the probes (spec-gateway section 1): answered from what is known, not asked per call."""

import msgspec

from cordum.runtime.health import OK, Verdict
from cordum.runtime.http import probe_body
from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.parts import Parts


class HealthBody(msgspec.Struct, omit_defaults=True):
    """`healthy`, or what is wrong."""

    status: str
    nats: str
    redis: str
    error: str = ""


class ProbeBody(msgspec.Struct):
    """`ok`, or which check failed and how."""

    status: str
    checks: dict[str, str]


_rendered: tuple[Verdict, Answer] | None = None


async def health(parts: Parts, call: Call) -> Answer:
    """Whether the gateway can do its work."""
    global _rendered
    verdict = await parts.health.readiness()
    if _rendered is None or _rendered[0] is not verdict:
        _rendered = (verdict, _health(verdict))
    return _rendered[1]


async def readyz(parts: Parts, call: Call) -> Answer:
    """Whether the gateway can do its work right now."""
    return _probe(await parts.health.readiness())


async def healthz(parts: Parts, call: Call) -> Answer:
    """Whether the process is sane."""
    return _probe(parts.health.liveness())


async def livez(parts: Parts, call: Call) -> Answer:
    """Whether the process has started."""
    return _probe(parts.health.startup())


def _health(verdict: Verdict) -> Answer:
    checks = verdict.checks
    nats, redis = checks.get("nats", OK), checks.get("redis", OK)
    body = HealthBody(
        status="healthy" if verdict.ok else "unhealthy",
        nats="connected" if nats == OK else "disconnected",
        redis="ok" if redis == OK else "error",
        error="" if verdict.ok else "; ".join(f"{name}: {text}" for name, text in checks.items() if text != OK),
    )
    return answer(body, status=200 if verdict.ok else 503)


def _probe(verdict: Verdict) -> Answer:
    return answer(probe_body(verdict), status=200 if verdict.ok else 503)
