"""The policy constraint `max_artifact_bytes` (spec-scheduler 8.2 step 11): a result that is larger is refused.

Its job fails with the code `artifact_too_large`, nothing points at the content, and it is taken away. Jobs without the
constraint cost nothing here.
"""

from typing import Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2

from cordum.core.ids import DispatchId, WorkerId
from cordum.core.jobs import lifecycle
from cordum.core.jobs.lifecycle import Change
from cordum.core.jobs.record import JobRecord
from cordum.core.jobs.states import JobState
from cordum.runtime.logging import get_logger
from cordum.store import Store
from cordum.store.keys import pointer
from cordum.store.keys import result as result_key

log = get_logger(__name__)

CODE: Final = "artifact_too_large"
MOST_ARTIFACTS: Final = 100
"""Pointers of one result that are looked at; a result with more is refused under a constraint nobody can check."""


class ArtifactLimit:
    """Holds results to their limit."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def hold(self, result: job_pb2.JobResult, record: JobRecord, change: Change) -> Change:
        """The move a result asks for, or, where what it brings is too large, the end as a failure.

        Raises:
            StoreError: its size is not known.
        """
        most = record.safety_constraints.budgets.max_artifact_bytes if record.safety_constraints is not None else 0
        if not most or not (result.result_ptr or result.artifact_ptrs):
            return change
        why = await self._fault(result, most)
        if not why:
            return change
        if change.to is not JobState.SUCCEEDED:
            # It has ended as it says, with nothing to be read.
            fields = {name: value for name, value in change.fields.items() if name != "result_ptr"}
            return msgspec.structs.replace(change, fields=fields)
        log.warning(
            "a result is refused: it is too large",
            event=CODE,
            job_id=record.id,
            topic=record.topic,
            worker_id=result.worker_id,
            reason=why,
        )
        return lifecycle.end_by_worker(
            JobState.FAILED,
            worker=WorkerId(result.worker_id),
            dispatch_id=DispatchId(result.dispatch.dispatch_id),
            status="JOB_STATUS_FAILED",
            reason=f"{CODE}: {why}",
            code=CODE,
        )

    async def _fault(self, result: job_pb2.JobResult, most: int) -> str:
        brought = list(dict.fromkeys(ptr for ptr in (result.result_ptr, *result.artifact_ptrs) if ptr))
        if len(brought) > MOST_ARTIFACTS:
            return f"{len(brought)} artifacts, of which none may have more than {most} bytes"
        for ptr in brought:
            found = await self._store.outputs.load(ptr, 1)
            if found is not None and found.size > most:
                return f"{found.size} bytes, policy allows {most}"
        return ""

    async def take_away(self, record: JobRecord) -> None:
        """Removes what a refused job's worker wrote as its result, where it is the job's own: a worker may point at
        anybody's. Raises StoreError: it is still there, and nothing points at it."""
        await self._store.outputs.drop_original(pointer(result_key(record.id)))
