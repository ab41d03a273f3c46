"""How fast content is scanned: clean text with every shipped scanner on, on one core, in process."""

import json
import random
import time

from bench import goals
from bench.lab import Effort, Lab
from bench.rows.row import Row
from bench.stats import Run
from cordum.core.output.engine import ContentTest
from cordum.core.output.scanners import ScannerSet
from cordum.embedded import defaults

_MEBIBYTE = 1024 * 1024
_SIZE = 4 * _MEBIBYTE
_ROUNDS = 3


def contents() -> dict[str, bytes]:
    """What workers answer: sentences, and JSON with numbers, ids and times; nothing in it is for a scanner to find."""
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(5000)]
    prose = ". ".join(" ".join(chance.choices(words, k=12)).capitalize() for _ in range(60_000))
    records = [
        {
            "id": number,
            "name": chance.choice(words),
            "amount": chance.randint(1, 100_000) / 100,
            "note": " ".join(chance.choices(words, k=8)),
            "at": f"2026-01-{number % 28 + 1:02}T10:{number % 60:02}:00Z",
            "seen_us": 1_760_000_000_000_000 + number * 7919,
        }
        for number in range(30_000)
    ]
    return {"prose": prose.encode()[:_SIZE], "json": json.dumps(records).encode()[:_SIZE]}


async def scan_clean(_lab: Lab, _effort: Effort) -> Run:
    scanners = ScannerSet.load(defaults.shipped("output_scanners.yaml").encode())
    test = ContentTest.compile(scanners=["secret", "pii", "injection", "prompt_injection"], scanner_set=scanners)
    speeds = {}
    for kind, content in contents().items():
        assert test.find(content) is None, f"the {kind} is not clean"
        passes = []
        for _ in range(_ROUNDS):
            started = time.thread_time()
            test.find(content)
            passes.append(time.thread_time() - started)
        speeds[kind] = len(content) / _MEBIBYTE / min(passes)
    return Run(value=min(speeds.values()), extra={f"mib_s_{kind}": speed for kind, speed in speeds.items()})


ROWS = (
    Row(
        goals.SCAN,
        scan_clean,
        warm=False,
        note="CPU of one core, in process; secret, pii, injection and prompt_injection; the slower of prose and JSON",
    ),
)
