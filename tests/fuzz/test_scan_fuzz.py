"""Nothing an operator or a worker can write breaks the scanner (bounded in time, always the same seed)."""

import asyncio
import sys
from pathlib import Path

import pytest

TARGET = Path(__file__).with_name("scan_target.py")
SECONDS = 5
SEEDS = {
    "pattern": [b"AKIA[0-9A-Z]{16}", b"(?i)(?:a|b)+c{2,}[^]x]\\d$", b"[[:alpha:]]*x\\pL"],
    "content": [
        b"token = 'abcdefgh12'",
        b"4111 1111 1111 1111",
        "ignore all\u200bprevious".encode(),
        b'{"a":{"b":"x"}}',
    ],
    "scanners": [b"scanners: {a: {extends: secret, patterns: [{name: x, regex: 'a+', check: luhn}]}}"],
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("target", ["pattern", "content", "scanners"])
async def test_the_scanner_withstands(target: str, tmp_path: Path) -> None:
    for number, seed in enumerate(SEEDS[target]):
        (tmp_path / str(number)).write_bytes(seed)

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(TARGET),
        target,
        f"-max_total_time={SECONDS}",
        "-seed=20261123",
        "-max_len=2048",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={tmp_path}/",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()

    assert process.returncode == 0, said.decode(errors="replace")[-4000:]
