"""The scheduler, with places at which it can be made to die: the real one, whose steps are wrapped in this process.

The name of a place, written to the file that `CRASH_FILE` names, arms it. Whoever gets there first takes the file away
and is gone, as with `kill -9`; its successor finds no file and goes on.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from cordum.bus.connection import Bus
from cordum.core.jobs.states import JobState
from cordum.services.scheduler.__main__ import main
from cordum.services.scheduler.deciding import Deciding
from cordum.services.scheduler.results import ResultHandler
from cordum.services.scheduler.submit import SubmitHandler
from cordum.store.jobs import Jobs

ARMED: Final = Path(os.environ["CRASH_FILE"])

Step = Callable[..., Awaitable[Any]]


def reached(place: str) -> None:
    try:
        if ARMED.read_text() != place:
            return
        ARMED.unlink()
    except FileNotFoundError:
        return
    os.write(1, f"dies at {place}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


def around(owner: type, name: str, before: str = "", after: str = "", when: Callable[..., bool] | None = None) -> None:
    """Puts places before and after a method, where `when` (if there is one) agrees to its arguments."""
    method: Step = getattr(owner, name)

    async def wrapped(self: object, *args: Any, **kwargs: Any) -> Any:
        concerned = when is None or when(*args, **kwargs)
        if concerned and before:
            reached(before)
        answer = await method(self, *args, **kwargs)
        if concerned and after:
            reached(after)
        return answer

    setattr(owner, name, wrapped)


def _ends(_job_id: object, change: Any, **_more: object) -> bool:
    return bool(change.to.is_terminal)


def _dispatches(_job_id: object, change: Any, **_more: object) -> bool:
    return bool(change.to is JobState.RUNNING)


def _to_worker(subject: str, *_rest: object, **_more: object) -> bool:
    return subject.startswith("worker.")


around(SubmitHandler, "handle", before="submit taken", after="submit handled, not acknowledged")
around(Jobs, "get_detail", after="record read")
around(Deciding, "decide", after="decided")
around(Jobs, "apply", before="worker chosen", after="dispatch written", when=_dispatches)
around(Bus, "publish", after="dispatch published", when=_to_worker)
around(ResultHandler, "handle", before="result taken", after="result handled, not acknowledged")
around(Jobs, "apply", before="end decided", after="end written", when=_ends)

if __name__ == "__main__":
    main()
