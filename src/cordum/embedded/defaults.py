"""The configuration a new data directory starts with: policy, scanners, pools, timeouts."""

from importlib import resources
from pathlib import Path

FILES = ("safety.yaml", "output_scanners.yaml", "pools.yaml", "timeouts.yaml")


def install(directory: Path) -> None:
    """Writes the files that are not there yet; what is there is somebody's own."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in FILES:
        target = directory / name
        if not target.exists():
            target.write_text(shipped(name))


def shipped(name: str) -> str:
    """The text of one file as it is shipped."""
    return (resources.files("cordum.embedded") / "config" / name).read_text()
