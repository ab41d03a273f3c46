"""`/api/v1/policy/output/stats`: what the output policy has done in the last day."""

from cordum.services.gateway.answer import Answer, answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.parts import Parts
from cordum.services.gateway.times import rfc3339


async def output_stats(parts: Parts, call: Call) -> Answer:
    """Counts over the tenant's last 24 hours; `avg_latency_ms` is 0 and `last_check_at` empty when nothing was."""
    found = await parts.store.output_stats.last_day(call.tenant)
    return answer(
        {
            "total_checks_24h": found.checks,
            "quarantined_24h": found.quarantined,
            "avg_latency_ms": found.average_ms,
            "last_check_at": rfc3339(found.last_at) if found.last_at else "",
        }
    )
