"""The gateway and simulated workers on Redis as operators run it: certificates and users, Sentinels, a Cluster."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from tessera.queue import Broker, Job, connect
from tessera.settings import SIMULATED, Settings
from tessera.worker.replica import Replica
from tests.e2e.media import image_part
from tests.gateway.conftest import StartGateway
from tests.gateway.scripted import Gateway, chat
from tests.polling import eventually
from tests.queue.topologies import Authority, Cluster, Server, Watched, cluster, watched

# What redis-py had begun when its server went, it leaves to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
TOKENS = 40
CLIENTS = 16
# Each of them afterwards gets so many more answers.
AFTERWARDS = 2
# What operations.md says that a user of Redis has to be allowed.
ACL = re.search(r"^user tessera (.*)$", (Path(__file__).parents[2] / "docs/operations.md").read_text(), re.MULTILINE)


def settings_for(url: str, **more: object) -> Settings:
    return Settings(
        redis_url=url,
        engine=SIMULATED,
        # Longer than it takes to notice that a server hangs, or whoever waits for that is taken for dead.
        lease_s=4.0,
        redis_timeout_s=1.0,
        media_transfer_timeout_s=1.0,
        redis_outage_s=30.0,
        simulated_answer_tokens=TOKENS,
        simulated_decode_step_ms=25.0,
        media_sandbox="off",
        drain_notice_s=0,
        drain_timeout_s=5,
        **more,
    )


class Load:
    """Clients that ask again and again, for streams, some about an image, and ask once more where they are refused."""

    def __init__(self, gateway: Gateway, model: str):
        self._gateway = gateway
        self._model = model
        self.outcomes: Counter[str] = Counter()
        self._over = asyncio.Event()

    async def client(self, number: int) -> None:
        left = AFTERWARDS
        while left:
            left -= self._over.is_set()
            parts = [image_part()] if number % 4 == 0 else []
            answer = await self._gateway.post(chat(self._model, *parts, stream=True))
            while answer.status == 503:
                self.outcomes["refused"] += 1
                await asyncio.sleep(0.2)
                answer = await self._gateway.post(chat(self._model, *parts, stream=True))
            said = re.findall(r'"content":" ([^"]*)"', answer.body.decode())
            whole = [int(token.split(".")[1]) for token in " ".join(said).split()] == list(range(TOKENS))
            done = answer.body.endswith(b"data: [DONE]\n\n")
            self.outcomes["answered" if whole and done else f"lost: {answer.body[-300:]!r}"] += 1

    async def begun(self) -> bool:
        """Whether all of them are in the middle of something."""
        return self.outcomes["answered"] >= CLIENTS and self._gateway.open_streams >= CLIENTS // 2

    def stop(self) -> None:
        self._over.set()


@asynccontextmanager
async def served(start_gateway: StartGateway, settings: Settings) -> AsyncIterator[Gateway]:
    """A gateway, and two workers."""
    async with AsyncExitStack() as stack:
        for _ in range(2):
            replica = Replica(settings)
            stack.push_async_callback(replica.stop)
            await replica.start()
        gateway = await start_gateway(settings)
        await eventually(lambda: is_ready(gateway), "a worker serves", within_s=20)
        yield gateway


async def is_ready(gateway: Gateway) -> bool:
    return (await gateway.get("/readyz"))[0] == 200


async def lose_nothing(gateway: Gateway, model: str, harm: Callable[[], Awaitable[None]]) -> None:
    """Harm Redis under load; each request is answered, whole."""
    load = Load(gateway, model)
    async with asyncio.timeout(150), asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(load.client(number))
        await eventually(load.begun, "all clients have streams", within_s=30)
        await harm()
        load.stop()
    assert set(load.outcomes) <= {"answered", "refused"}, load.outcomes


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "our own")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    """A server that takes nothing but TLS with a certificate, and a user who may do no more than is documented."""
    folder = tmp_path_factory.mktemp("redis")
    certificate, key = authority.issue("redis")
    tls = ("--port", 0, "--tls-cert-file", certificate, "--tls-key-file", key)
    server = Server(folder, *tls, "--tls-ca-cert-file", authority.certificate, "--save", "")
    assert ACL
    rules = ACL[1].replace("PASSWORD", "let-me-in")
    server.start("--tls-port", server.port, "--user", "default", "off", "--user", "tessera", *rules.split())
    yield server
    server.kill()


def certified(authority: Authority, **more: object) -> dict[str, object]:
    certificate, key = authority.issue(f"client-{secrets.token_hex(2)}")
    return {"redis_ca_file": authority.certificate, "redis_cert_file": certificate, "redis_key_file": key, **more}


async def test_tls_with_an_authority_of_our_own_and_a_user(
    start_gateway: StartGateway, secured: Server, authority: Authority
) -> None:
    login = certified(authority, redis_username="tessera", redis_password="let-me-in")
    settings = settings_for(f"rediss://127.0.0.1:{secured.port}/0", **login)
    async with served(start_gateway, settings) as gateway:
        answer = await gateway.post(chat(SIMULATED, image_part()))
        assert answer.status == 200, answer.body
        assert (await gateway.get("/readyz"))[1]["redis"] == "ok"
        assert await gateway.metric("tessera_redis_memory_bytes", redis="queue") > 0
        for certificate, file in (("client", settings.redis_cert_file), ("ca", settings.redis_ca_file)):
            assert file is not None
            end = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
            told = await gateway.metric("tessera_certificate_end_timestamp_seconds", certificate=certificate)
            assert told == end
        env = {f"TESSERA_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_unset=True).items()}
        argv = (sys.executable, "-m", "tessera", "dead", "list", "--json")
        listed = await asyncio.to_thread(
            subprocess.run, argv, env={**os.environ, **env}, capture_output=True, text=True, timeout=60
        )
        assert (listed.returncode, listed.stdout.strip()) == (0, "[]"), listed.stderr


@pytest.mark.parametrize(
    "changes",
    [{"redis_password": "wrong"}, {"redis_ca_file": None}, {"redis_cert_file": None, "redis_key_file": None}],
    ids=["password", "authority", "certificate"],
)
async def test_who_is_not_let_in(
    start_gateway: StartGateway, secured: Server, authority: Authority, changes: dict[str, object]
) -> None:
    login = certified(authority, redis_username="tessera", redis_password="let-me-in") | changes
    gateway = await start_gateway(settings_for(f"rediss://127.0.0.1:{secured.port}/0", **login))
    assert (await gateway.get("/readyz"))[1]["redis"] == "unreachable"
    answer = await gateway.post(chat(SIMULATED))
    assert (answer.status, answer.error["code"]) == (503, "queue_unavailable")


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("watched")) as made:
        yield made


@pytest.mark.parametrize("how", ["kill", "hang"])
async def test_sentinels_name_another_server(start_gateway: StartGateway, sentinels: Watched, how: str) -> None:
    before = sentinels.master()
    await eventually(lambda: before.replicas() > 0, "somebody can take over")
    async with served(start_gateway, settings_for(sentinels.url, redis_prefix=how)) as gateway:

        async def harm() -> None:
            getattr(before, how)()
            await eventually(lambda: sentinels.master() is not before, "another takes over", within_s=20)

        try:
            await lose_nothing(gateway, SIMULATED, harm)
        finally:
            before.kill()
        assert await is_ready(gateway)


async def test_sentinels_that_are_away_are_passed(sentinels: Watched) -> None:
    settings = settings_for(sentinels.url, redis_prefix="away")
    gone, *_ = sentinels.sentinels
    gone.hang()
    redis = connect(settings, name="test")
    try:
        assert await Broker(redis, settings).enqueue(Job("j", "m", "/v1/completions", b"{}"), reply_to="g") == 1
    finally:
        await redis.aclose()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


# On two busy cores the election of a new node sometimes takes longer than the test waits.
@pytest.mark.skipif("TESSERA_TEST_FAILOVER" not in os.environ, reason="make test-failover")
@pytest.mark.parametrize("how", ["kill", "hang"])
async def test_a_node_of_a_cluster_is_gone(start_gateway: StartGateway, nodes: Cluster, how: str) -> None:
    # Of those whose node has a replica yet.
    model = next(name for name in "abcdefgh" if nodes.owner(f"{how}:{{{name}}}:x").replicas())
    settings = settings_for(nodes.url, redis_prefix=how, served_model_name=model)
    keys = [f"{how}:{{{name}}}:x" for name in (model, "directory", "media")]
    assert len({nodes.owner(key).port for key in keys}) > 1, "what one request needs is in several places"
    async with served(start_gateway, settings) as gateway:
        owner = nodes.owner(keys[0])

        async def harm() -> None:
            getattr(owner, how)()
            await eventually(lambda: nodes.owner(keys[0]) is not owner, "its replica takes over", within_s=20)

        try:
            await lose_nothing(gateway, model, harm)
        finally:
            owner.kill()
        assert await is_ready(gateway)
        assert await gateway.metric("tessera_redis_up", redis="queue") == 1
