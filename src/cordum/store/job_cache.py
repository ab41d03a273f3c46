"""Job records kept in memory, valid for exactly the version an index names.

Every change of a record moves its `updated_at`, so (id, updated_at) names one version for ever and nothing needs to be
invalidated: an index that names another time simply misses.
"""

from typing import Final

from cordum.core.ids import JobId
from cordum.core.jobs.record import JobRecord

CAPACITY: Final = 20_000  # records


class RecordCache:
    """The records read last. When it is full, the oldest eighth goes."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._records: dict[str, tuple[str, JobRecord]] = {}

    def get(self, job_id: str, updated_at: str) -> JobRecord | None:
        """The record at that time, as the index spells it (decimal microseconds)."""
        entry = self._records.get(job_id)
        return entry[1] if entry is not None and entry[0] == updated_at else None

    def put(self, record: JobRecord) -> JobRecord:
        """Keeps a record, and answers the one object that stands for this version."""
        updated_at = str(record.updated_at)
        entry = self._records.pop(record.id, None)
        if entry is None or entry[0] != updated_at:
            entry = (updated_at, record)
            if len(self._records) >= self._capacity:
                for old in [job_id for job_id, _ in zip(self._records, range(self._capacity // 8 + 1), strict=False)]:
                    del self._records[old]
        self._records[record.id] = entry
        return entry[1]

    def forget(self, job_id: JobId) -> None:
        self._records.pop(job_id, None)

    def __len__(self) -> int:
        return len(self._records)
