"""What each row must reach, and what the known implementation reaches on such a machine."""

from dataclasses import dataclass

from bench.stats import Run

PASS, SHORT, NO_TARGET = "PASS", "SHORT", "-"


@dataclass(frozen=True)
class Goal:
    """A row's figure and targets; a limit that is None does not apply. `reference` is the known implementation's."""

    key: str
    title: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    p99_ms_below: float | None = None
    reference: str = ""
    decimals: int = 0

    def word(self, run: Run) -> str:
        """PASS, SHORT, or `-` when the row has no target. A run with faults never passes."""
        if self.at_least is None and self.at_most is None and self.p99_ms_below is None:
            return SHORT if run.faults else NO_TARGET
        reached = (
            not run.faults
            and (self.at_least is None or run.value >= self.at_least)
            and (self.at_most is None or run.value <= self.at_most)
            and (self.p99_ms_below is None or (run.p99_ms is not None and run.p99_ms < self.p99_ms_below))
        )
        return PASS if reached else SHORT

    def target(self) -> str:
        """The targets as the table shows them."""
        parts = []
        if self.at_least is not None:
            parts.append(f">= {self.at_least:,.{self.decimals}f} {self.unit}")
        if self.at_most is not None:
            parts.append(f"<= {self.at_most:,.{self.decimals}f} {self.unit}")
        if self.p99_ms_below is not None:
            parts.append(f"p99 < {self.p99_ms_below:g} ms")
        return ", ".join(parts) or "-"

    def figure(self, run: Run) -> str:
        return f"{run.value:,.{self.decimals}f} {self.unit}"


HELLO_HTTP = Goal("hello_http", "this machine: bare uvicorn", "req/s")
HELLO_GRPC = Goal("hello_grpc", "this machine: bare grpc.aio", "calls/s")
COLD_START = Goal("cold_start", "cold start of the embedded stack", "s", at_most=15, decimals=2)
IDLE_MEMORY = Goal("idle_memory", "memory of the idle stack", "MB", at_most=400)
IDLE_CPU = Goal("idle_cpu", "CPU of the idle stack, one core = 100", "%", decimals=1)
HEALTH = Goal("health", "GET /health", "req/s", at_least=20_000, reference="20k/s")
GET_JOB = Goal("get_job", "GET /jobs/{id}", "req/s", at_least=6_000, reference="5.8k/s")
LIST_JOBS = Goal("list_jobs", "GET /jobs?limit=50", "req/s", at_least=3_500, reference="3.3k/s")
SUBMIT = Goal(
    "submit", "POST /jobs, 64 connections", "jobs/s", at_least=2_000, p99_ms_below=60, reference="94/s, p99 995 ms"
)
E2E = Goal("e2e", "5,000 jobs end to end", "jobs/s", at_least=1_000, reference="69/s")
SCHEDULER = Goal("scheduler", "scheduler fed from NATS", "jobs/s", at_least=1_500, reference="315/s")
DISPATCH_1 = Goal("dispatch_1", "dispatches to 1 worker", "jobs/s", at_least=1_000, reference="315/s")
DISPATCH_10 = Goal("dispatch_10", "dispatches to 10 workers", "jobs/s", at_least=1_000)
DISPATCH_100 = Goal("dispatch_100", "dispatches to 100 workers", "jobs/s", at_least=1_000)
DISPATCH_1000 = Goal("dispatch_1000", "dispatches to 1,000 workers", "jobs/s", at_least=1_000)
DISPATCH_TWO = Goal("dispatch_two", "dispatches by 2 schedulers", "jobs/s", at_least=1_000)
DISPATCH_CLUSTER = Goal("dispatch_cluster", "dispatches on a Redis Cluster", "jobs/s")
STEADY = Goal("steady", "submit to SUCCEEDED at 100 jobs/s", "jobs/s", p99_ms_below=25, reference="p99 about 1,500 ms")
CHECK_UNARY_1 = Goal(
    "check_unary_1", "unary Check, 1 caller", "calls/s", at_least=2_000, p99_ms_below=5, reference="6.3k/s"
)
CHECK_UNARY_16 = Goal(
    "check_unary_16", "unary Check, 16 callers", "calls/s", at_least=2_000, p99_ms_below=5, reference="18k/s"
)
CHECK_BATCH = Goal("check_batch", "CheckBatch, 256 a call", "decisions/s", at_least=100_000)
RULES = Goal("rules_scaling", "cost of 10,000 rules against 10", "x", at_most=2, decimals=2)
FULL_EVALUATION = Goal("full_evaluation", "one decision, whole language, 50 rules", "us", at_most=50, decimals=1)
SCAN = Goal("scan_clean", "clean text, every scanner on", "MiB/s", at_least=20)
REDIS_TRIPS = Goal("redis_trips", "Redis round trips per job", "trips", at_most=5, decimals=2)
RECORD_BYTES = Goal("record_bytes", "Redis memory per finished job", "bytes", reference="guide: about 100 B")
