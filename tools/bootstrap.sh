#!/bin/sh
# Makes .venv from the hashed lock files and installs Cordum into it: `tools/bootstrap.sh run|dev`.
# Needs only Python 3.11+ with venv; uses uv when it is on PATH, which is faster. Does nothing when up to date.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-run}
lock=requirements/$kind.txt
venv=.venv
stamp=$venv/.cordum-$kind
want=$(cat "$lock" requirements/build.txt pyproject.toml | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info < (3, 14)))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "cordum: needs Python 3.11, 3.12 or 3.13 on PATH (or PYTHON=/path/to/python3)" >&2
    exit 2
fi
if [ ! -x "$venv/bin/python" ]; then
    echo "==> creating $venv with $("$python" --version)"
    if ! "$python" -m venv "$venv"; then
        rm -rf "$venv"
        echo "cordum: '$python -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 2
    fi
fi
count=$(grep -c '==' "$lock")
echo "==> installing $count locked packages from $lock (hash-checked; the first time takes a minute or two)"
if command -v uv >/dev/null 2>&1; then
    uv pip install --python "$venv/bin/python" --require-hashes -r "$lock" -r requirements/build.txt
    uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e .
else
    "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar on --require-hashes -r "$lock" -r requirements/build.txt
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
printf '%s' "$want" >"$stamp"
# A development environment holds everything a run environment does.
[ "$kind" = dev ] && printf '%s' "$(cat requirements/run.txt requirements/build.txt pyproject.toml | cksum)" >"$venv/.cordum-run"
echo "==> ready"
