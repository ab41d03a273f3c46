"""What the store wants to know, gathered from the settings."""

import ssl
from typing import Final

import msgspec

from cordum.runtime.settings.redis import RedisSettings

DAY: Final = 86_400  # seconds
OPERATION_TIMEOUT: Final = 2.0  # seconds (spec-scheduler section 5)

Address = tuple[str, int]


class TLSFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What the TLS to Redis is made of; "" = the system's authorities, no client certificate."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    insecure: bool = False
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach Redis, and for how long to keep what. All times in seconds.

    Exactly one topology applies: `cluster` addresses beat `sentinels`, which beat `url`.

    Attributes:
        url: redis:// or rediss://, with user, password and database.
        cluster: seeds of a Redis Cluster; user, password and TLS come from the url.
        sentinels: addresses of Sentinels; user, password, database and TLS of the master come from the url.
        sentinel_master: the name the Sentinels know the master by.
        password: beats the one in the url.
        sentinel_password: of the Sentinels themselves.
        tls: used when the url is rediss://.
        tls_server_name: name the server's certificate must carry; "" = the host we dial.
        connections: most connections to one server.
        dial_timeout: for one attempt to connect.
        operation_timeout: from asking to the answer.
        wait_replicas: how many replicas must have a write before it counts as done; 0 = none.
        wait_timeout: how long to wait for them.
        meta_ttl: job records and what belongs to them.
        data_ttl: contexts and results.
        approval_ttl: open requests for approval, where their rule does not say; 0 = as long as the record.
        idempotency_ttl: claims of idempotency keys.
        dead_letter_ttl: entries of the dead letter queue.
        dead_letters_kept: most entries; the oldest give way.
        audit_keys: what audit entries are signed with (the first) or were (the others); none = not signed.
        audit_retention: audit entries.
        audit_entries_kept: most entries of one tenant's chain, about.
        decision_ttl: entries of the decision log.
    """

    url: str = "redis://localhost:6379"
    password: str = ""
    cluster: tuple[Address, ...] = ()
    sentinels: tuple[Address, ...] = ()
    sentinel_master: str = "mymaster"
    sentinel_password: str = ""
    tls: TLSFiles = TLSFiles()
    tls_server_name: str = ""
    connections: int = 20
    dial_timeout: float = 5.0
    operation_timeout: float = OPERATION_TIMEOUT
    wait_replicas: int = 0
    wait_timeout: float = 0.2
    meta_ttl: int = 7 * DAY
    data_ttl: int = DAY
    approval_ttl: float = 3 * DAY
    idempotency_ttl: int = 90 * DAY
    dead_letter_ttl: int = 30 * DAY
    dead_letters_kept: int = 10_000
    audit_keys: tuple[bytes, ...] = ()
    audit_retention: int = 7 * DAY
    audit_entries_kept: int = 1_000_000
    decision_ttl: int = 30 * DAY

    @classmethod
    def from_settings(cls, settings: RedisSettings) -> "StoreOptions":
        """The options a service's environment asks for."""
        secret = settings.redis_password.get_secret_value() if settings.redis_password else ""
        watchers = settings.redis_sentinel_password
        return cls(
            url=settings.redis_url,
            password=secret,
            cluster=tuple((address.host, address.port) for address in settings.redis_cluster_addresses),
            sentinels=tuple((address.host, address.port) for address in settings.redis_sentinel_addresses),
            sentinel_master=settings.redis_sentinel_master,
            sentinel_password=watchers.get_secret_value() if watchers else "",
            tls=TLSFiles(
                ca=str(settings.redis_tls_ca),
                cert=str(settings.redis_tls_cert),
                key=str(settings.redis_tls_key),
                insecure=settings.redis_tls_insecure,
                minimum=settings.tls_minimum,
            ),
            tls_server_name=settings.redis_tls_server_name,
            connections=settings.redis_pool_size,
            dial_timeout=settings.redis_dial_timeout,
            operation_timeout=min(settings.redis_read_timeout, OPERATION_TIMEOUT),
            wait_replicas=settings.redis_wait_replicas,
            wait_timeout=settings.redis_wait_timeout,
            meta_ttl=int(settings.job_meta_ttl),
            data_ttl=int(settings.redis_data_ttl),
            approval_ttl=settings.approval_ttl,
            idempotency_ttl=int(settings.idempotency_ttl),
            dead_letter_ttl=settings.dlq_entry_ttl_days * DAY,
            dead_letters_kept=settings.dlq_max_size,
            audit_keys=settings.audit_keys,
            audit_retention=int(settings.audit_retention_hours * 3600),
            audit_entries_kept=settings.audit_max_entries,
            decision_ttl=int(settings.decision_log_ttl),
        )
