"""The whole stack as one object: start it, use it, hurt it, stop it."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from cordum.embedded import defaults, logfile, probes, servers, services
from cordum.embedded.child import Child, Recipe
from cordum.embedded.datadir import DataDir, Running, Secrets
from cordum.embedded.errors import EmbeddedError, PortTakenError, StartError
from cordum.embedded.guardian import Guardian
from cordum.embedded.keeper import Event, Keeper, OnEvent, Phase
from cordum.embedded.options import MakeRecipe, Options, clean_environment, operator_environment
from cordum.embedded.ports import LOOPBACK, free_port, is_free

_BIND_TRIES = 5
_HOUSEKEEPING = 5.0


def _nothing(event: Event) -> None:
    pass


class Stack:
    """nats, redis, kernel, scheduler, gateway as children of this process.

    Parts have names: `nats`, `redis`, `kernel`, `scheduler`, `gateway`, and `scheduler-2` and so on for replicas.

        async with Stack(DataDir(path)) as stack:
            ... stack.api_url, stack.secrets.admin_key ...
    """

    def __init__(self, data_dir: DataDir, options: Options | None = None, on_event: OnEvent = _nothing) -> None:
        self.data_dir = data_dir
        self.ports: dict[str, int] = {}
        """By `<part>.<purpose>`; `nats` and `redis` for the servers."""
        self._options = options or Options()
        self._on_event = on_event
        self._guardian = Guardian()
        self._keepers: dict[str, Keeper] = {}
        self._secrets: Secrets | None = None
        self._remembered: dict[str, int] = {}
        self._housekeeper: asyncio.Task[None] | None = None

    # Addresses and keys

    @property
    def secrets(self) -> Secrets:
        if self._secrets is None:
            raise EmbeddedError("the stack was not started yet")
        return self._secrets

    @property
    def api_url(self) -> str:
        return self.api_url_of("gateway")

    def api_url_of(self, part: str) -> str:
        """The HTTP address of one gateway, such as `gateway-2`; empty when there is none."""
        port = self.ports.get(f"{part}.http")
        return f"http://{LOOPBACK}:{port}" if port else ""

    @property
    def grpc_address(self) -> str:
        port = self.ports.get("gateway.grpc")
        return f"{LOOPBACK}:{port}" if port else ""

    @property
    def kernel_address(self) -> str:
        return f"{LOOPBACK}:{self.ports['kernel.grpc']}"

    def metrics_url(self, part: str) -> str:
        """Where a service's metrics are read."""
        purpose = "admin" if part.startswith(services.KERNEL) else "metrics"
        return f"http://{LOOPBACK}:{self.ports[f'{part}.{purpose}']}/metrics"

    @property
    def nats_url(self) -> str:
        return servers.nats_url(self.ports["nats"], self.secrets.nats_password)

    @property
    def redis_url(self) -> str:
        return servers.redis_url(self.ports["redis"], self.secrets.redis_password)

    @property
    def worker_env(self) -> dict[str, str]:
        """What a worker or a program needs to reach this stack."""
        return {
            "NATS_URL": self.nats_url,
            "REDIS_URL": self.redis_url,
            "CORDUM_API_URL": self.api_url,
            "CORDUM_API_KEY": self.secrets.admin_key,
        }

    @property
    def base_env(self) -> dict[str, str]:
        """The environment every child starts from."""
        return dict(self._options.env)

    @property
    def parts(self) -> list[str]:
        return list(self._keepers)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by part; 0 for one that is down."""
        return {name: keeper.child.pid for name, keeper in self._keepers.items()}

    @property
    def guardian_pid(self) -> int:
        return self._guardian.pid

    def log_tail(self, part: str, lines: int = 20) -> list[str]:
        """The last lines a part has written, oldest first."""
        return self._keeper(part).child.log_tail(lines)

    # Life

    async def start(self) -> None:
        """Starts everything and returns once every part is ready. A start that fails leaves nothing running.

        Raises:
            DataDirError, DataDirHeldError, MissingBinaryError, PortTakenError: see there.
            StartError: a part did not become ready.
        """
        self.data_dir.lock()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends everything in order: workers and services first, the servers last. May be called more than once."""
        if self._housekeeper is not None:
            self._housekeeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._housekeeper
            self._housekeeper = None
        order: dict[int, list[str]] = {}
        for name in self._keepers:
            base = _service_of(name)
            rank = 2 if base in ("nats", "redis") else 1 if base == services.KERNEL else 0
            order.setdefault(rank, []).append(name)
        for rank in sorted(order):
            await asyncio.gather(*(self._keepers[name].take_down() for name in order[rank]))
        self._keepers.clear()
        self._guardian.release()
        if self._options.scratch:
            self.data_dir.discard()
        else:
            self.data_dir.unlock()

    async def __aenter__(self) -> "Stack":
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    # What tests and operators do to it

    async def kill(self, part: str) -> None:
        """SIGKILL to one part. It is started again, as after any crash."""
        await self._keeper(part).kill()

    async def take_down(self, part: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends one part; it stays down until `bring_up`."""
        await self._keeper(part).take_down(number)

    async def bring_up(self, part: str) -> None:
        """Starts a part that was taken down, on its old port. Returns when it is ready."""
        await self._keeper(part).start()

    async def restart(self, part: str) -> None:
        """SIGTERM, wait, start again."""
        await self.take_down(part)
        await self.bring_up(part)

    async def wait_ready(self, part: str, within: float = 30.0) -> None:
        """Waits until a part that crashed is ready again. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            await self._keeper(part).wait_ready()

    async def add(self, make: MakeRecipe) -> str:
        """Starts one more child, such as a worker; gives its name."""
        return await self._start_part(lambda: make(self))

    # How it is done

    async def _start(self) -> None:
        if self._options.fresh:
            self.data_dir.clear()
        self._secrets = self.data_dir.prepare()
        self._remembered = self.data_dir.remembered_ports()
        started_at = time.time()
        self.data_dir.announce(Running(os.getpid(), started_at), {})
        defaults.install(self.data_dir.config)
        self._guardian.start()
        if self._options.scratch:
            self._guardian.remove_on_death(self.data_dir.path)
        await _all([self._start_server("nats"), self._start_server("redis")])
        parts = [
            (service, name)
            for service in services.SERVICES.values()
            for name in _replicas(service.name, self._options.replicas.get(service.name, 1))
        ]
        # The others need the kernel's address before it runs, and even when it is left out.
        self._choose_ports(services.SERVICES[services.KERNEL], services.KERNEL)
        for service, name in parts:
            self._choose_ports(service, name)
        await _all(
            [self._start_service(service, name) for service, name in parts]
            + [self.add(make) for make in self._options.extra]
        )
        self.data_dir.announce(
            Running(os.getpid(), started_at, True, self.api_url, self.grpc_address, self.ports), self.worker_env
        )
        self._housekeeper = asyncio.create_task(self._keep_house(), name="embedded housekeeping")

    async def _start_server(self, name: str) -> None:
        password = self.secrets.nats_password if name == "nats" else self.secrets.redis_password

        def recipe() -> Recipe:
            self.ports[name] = self._choose(name, 0)
            env = {**self._options.env, **self._options.service_env.get(name, {})}
            log_file = self.data_dir.log_file(name)
            return servers.RECIPES[name](
                servers.ServerSpec(self.data_dir.server(name), log_file, self.ports[name], password, env=env)
            )

        await self._start_part(recipe)

    async def _start_service(self, service: services.Service, part: str) -> None:
        def recipe() -> Recipe:
            self._choose_ports(service, part)
            return self._recipe(service, part)

        await self._start_part(recipe)

    async def _start_part(self, make: Callable[[], Recipe]) -> str:
        """Starts a child, again on other ports when another program took one in between."""
        for attempt in range(1, _BIND_TRIES + 1):
            recipe = make()
            if attempt == 1:
                if recipe.name in self._keepers:
                    raise EmbeddedError(f"there is a part named {recipe.name} already")
                logfile.begin_anew(recipe.log_file)
            keeper = Keeper(Child(recipe, self._guardian), self._on_event)
            self._keepers[recipe.name] = keeper
            try:
                await keeper.start()
            except StartError as error:
                if attempt == _BIND_TRIES or not servers.lost_the_port(error.log_tail):
                    raise
                continue
            return recipe.name
        raise AssertionError("unreachable")

    def _recipe(self, service: services.Service, part: str) -> Recipe:
        given = {**services.configuration(self.data_dir.config), **self._options.env}
        env = {
            "CORDUM_INSTANCE_ID": part,
            # One file per process: it holds the audit events Redis could not take.
            "CORDUM_AUDIT_SPOOL_PATH": str(self.data_dir.path / f"audit-{part}.jsonl"),
            # Somebody at this machine edits the policy and wants to see what it does.
            "SAFETY_POLICY_RELOAD_INTERVAL": "1s",
            **given,
            **services.connections(self.ports, self.secrets),
            **service.addresses(part, self.ports),
            **({"CORDUM_API_KEYS": services.api_keys(self.secrets)} if service.name == services.GATEWAY else {}),
            "PYTHONUNBUFFERED": "1",
            **self._options.service_env.get(service.name, {}),
            **self._options.service_env.get(part, {}),
        }
        port = self.ports[f"{part}.{service.ready_at}"]
        return Recipe(
            name=part,
            command=service.command(),
            env=env,
            probe=lambda: probes.http_ready(port),
            log_file=self.data_dir.log_file(part),
            directory=self.data_dir.path,
        )

    def _choose_ports(self, service: services.Service, part: str) -> None:
        for item in service.listeners:
            key = f"{part}.{item.purpose}"
            if key not in self.ports or not is_free(self.ports[key]):
                wanted = item.preferred if self._options.default_ports and part == service.name else 0
                self.ports[key] = self._choose(key, wanted)

    def _choose(self, key: str, preferred: int) -> int:
        fixed = self._options.fixed_ports.get(key, 0)
        if fixed:
            if not is_free(fixed):
                raise PortTakenError(f"{key}: port {fixed} is taken by another program")
            return fixed
        taken = set(self.ports.values())
        for candidate in (preferred, self._remembered.get(key, 0)):
            if candidate and candidate not in taken and is_free(candidate):
                return candidate
        while (port := free_port()) in taken:
            pass
        return port

    def _keeper(self, part: str) -> Keeper:
        try:
            return self._keepers[part]
        except KeyError:
            raise EmbeddedError(f"there is no part named {part}; there are {', '.join(self._keepers)}") from None

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING)
            for keeper in self._keepers.values():
                logfile.shorten(keeper.child.recipe.log_file)


async def _all(work: Sequence[Awaitable[object]]) -> None:
    """Does everything at once; the first failure ends the rest and is raised."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _replicas(name: str, count: int) -> list[str]:
    return [name, *(f"{name}-{number}" for number in range(2, count + 1))] if count > 0 else []


def _service_of(part: str) -> str:
    base, _, number = part.rpartition("-")
    return base if number.isdigit() and base else part


__all__ = ["Event", "Options", "Phase", "Stack", "clean_environment", "operator_environment"]
