"""Takes the children down when the supervisor dies, however it dies.

A tiny `sh` process in its own session reads a pipe whose writing end only the supervisor holds. Every child enters
itself (`+ <pid>`) in the instant before it becomes the server, so none can be missed; the supervisor strikes out
(`- <pid>`) what it has reaped. When the supervisor is gone, even by SIGKILL, the pipe ends, and what is still entered
gets SIGTERM and, some seconds later, SIGKILL, as process groups. Then the guardian ends too.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = r"""
trap '' INT TERM HUP QUIT
pids=''
scratch=''
while read -r op arg; do
  case $op in
    +) pids="$pids $arg" ;;
    -) rest=''
       for p in $pids; do [ "$p" = "$arg" ] || rest="$rest $p"; done
       pids=$rest ;;
    scratch) scratch=$arg ;;
    done) exit 0 ;;
  esac
done
for p in $pids; do kill -s TERM -- "-$p"; done
tries=0
while [ "$tries" -lt 60 ]; do
  left=''
  for p in $pids; do kill -s 0 -- "-$p" && left="$left $p"; done
  [ -z "$left" ] && break
  tries=$((tries + 1))
  sleep 0.05
done
for p in $pids; do kill -s KILL -- "-$p"; done
[ -n "$scratch" ] && rm -rf -- "$scratch"
"""

# The pipe comes as standard input, because a plain `sh` can only name descriptors of one digit.
_ENTER = 'echo "+ $$" >&0; exec "$@" </dev/null'


class Guardian:
    """Holds the writing end of the pipe. Start it before the first child."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Starts the guardian process; does nothing when it runs."""
        if self._process is not None:
            return
        reading, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "cordum-guardian"],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(reading)

    def enrol(self, command: Sequence[str]) -> tuple[list[str], int]:
        """How to start `command` so that it enters itself: the command line, and the standard input to give it.

        It must be started as the leader of a new session: the guardian ends process groups.
        """
        return ["/bin/sh", "-c", _ENTER, "cordum-child", *command], self._pipe

    def forget(self, pid: int) -> None:
        """The child was reaped; its number may soon be another program's."""
        self._tell(f"- {pid}\n")

    def remove_on_death(self, directory: Path) -> None:
        """A temporary directory to delete should the supervisor be killed."""
        if "\n" in str(directory) or not directory.is_absolute():
            raise ValueError(f"not a path the guardian can take: {directory!r}")
        self._tell(f"scratch {directory}\n")

    def release(self) -> None:
        """Ends the guardian; every child must have been reaped before."""
        if self._process is None:
            return
        self._tell("done\n")
        os.close(self._pipe)
        self._pipe = -1
        self._process.wait()
        self._process = None

    def _tell(self, line: str) -> None:
        if self._pipe >= 0:
            try:
                os.write(self._pipe, line.encode())
            except BrokenPipeError:
                pass  # Somebody killed the guardian; the supervisor still ends its children itself.
