"""Everything Cordum keeps in Redis or Valkey: one server, Sentinel or Cluster, behind one `Store`.

Concurrent calls share round trips; every change of a job is one script on one key (docs/architecture/store.md).
"""

from cordum.store.configs import ConfigDoc
from cordum.store.dead_letter import DeadLetter
from cordum.store.dead_letter_search import LetterQuery
from cordum.store.errors import (
    BadDocumentError,
    JobExistsError,
    LeaseLostError,
    StoreConflictError,
    StoreError,
    StoreReplyError,
    StoreSettingsError,
    StoreUnavailableError,
)
from cordum.store.instances import Instance
from cordum.store.jobs import JobDetail, NewJob
from cordum.store.leases import Lease
from cordum.store.options import StoreOptions
from cordum.store.outputs import HeldOutput, Output
from cordum.store.pages import Page
from cordum.store.store import Store
from cordum.store.transitions import Applied, Refused
from cordum.store.votes import Cast, Voted

__all__ = (
    "Applied",
    "BadDocumentError",
    "Cast",
    "ConfigDoc",
    "DeadLetter",
    "HeldOutput",
    "Instance",
    "JobDetail",
    "JobExistsError",
    "Lease",
    "LeaseLostError",
    "LetterQuery",
    "NewJob",
    "Output",
    "Page",
    "Refused",
    "Store",
    "StoreConflictError",
    "StoreError",
    "StoreOptions",
    "StoreReplyError",
    "StoreSettingsError",
    "StoreUnavailableError",
    "Voted",
)
