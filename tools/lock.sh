#!/bin/sh
# Rewrites requirements/*.txt from pyproject.toml: exact versions with hashes for every platform, no registry address.
set -eu
cd "$(dirname "$0")/.."
compile() { # compile OUTPUT EXTRA-ARGS...
    out=$1; shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --no-header --no-annotate --upgrade -o "$out" "$@" pyproject.toml
}
compile requirements/run.txt --extra embedded
compile requirements/dev.txt --extra embedded --group dev
# The build backend is locked too: an editable install must not pull an unpinned one.
printf 'hatchling==1.33.0\neditables\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade -o requirements/build.txt -
