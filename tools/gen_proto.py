"""Rewrites src/cordum/rpc/gen from proto/ (messages, gRPC stubs and their types)."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
OUT = ROOT / "src" / "cordum" / "rpc" / "gen"
PACKAGE = "cordum.rpc.gen"


def main() -> int:
    """Generates everything afresh; the exit code is protoc's."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        # protoc finds its plugins on PATH or by an explicit path; the ones beside this interpreter are meant.
        beside = Path(sys.executable).parent
        code: int = protoc.main(
            [
                "protoc",
                f"--proto_path={PROTO}",
                f"--plugin=protoc-gen-mypy={beside / 'protoc-gen-mypy'}",
                f"--plugin=protoc-gen-mypy_grpc={beside / 'protoc-gen-mypy_grpc'}",
                f"--python_out={scratch}",
                f"--grpc_python_out={scratch}",
                f"--mypy_out=quiet:{scratch}",
                f"--mypy_grpc_out=quiet:{scratch}",
                *sources,
            ]
        )
        if code != 0:
            return code
        shutil.rmtree(OUT, ignore_errors=True)
        for made in sorted(Path(scratch).rglob("*.py*")):
            target = OUT / made.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_inside_our_package(made.read_text()))
    for folder in [OUT, *(path for path in OUT.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text('"""Generated from proto/ by tools/gen_proto.py."""\n')
    return 0


def _inside_our_package(text: str) -> str:
    """Imports as protoc writes them assume the proto folder is a source root; ours is a sub-package."""
    text = re.sub(r"^from cordum\.", f"from {PACKAGE}.cordum.", text, flags=re.MULTILINE)
    return re.sub(r"^import cordum\.", f"import {PACKAGE}.cordum.", text, flags=re.MULTILINE)


if __name__ == "__main__":
    raise SystemExit(main())
