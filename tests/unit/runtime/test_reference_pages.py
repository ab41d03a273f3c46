import subprocess
import sys
from pathlib import Path

from cordum.runtime import metrics
from cordum.runtime.settings import GatewaySettings, SafetyKernelSettings, SchedulerSettings
from cordum.runtime.settings.declare import variables

ROOT = Path(__file__).resolve().parents[3]


def test_the_reference_pages_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "gen_docs.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_variable_and_every_metric_has_its_row() -> None:
    environment = (ROOT / "docs" / "reference" / "environment.md").read_text()
    for cls in (GatewaySettings, SchedulerSettings, SafetyKernelSettings):
        for declared in variables(cls):
            assert declared.info.description
            for name in declared.names:
                assert f"`{name}`" in environment
    metric_page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for declaration in metrics.declarations():
        assert f"`{declaration.name}`" in metric_page
