"""Apache Kafka itself as the embedded broker, where Java 17 and Maven are there: one KRaft node.

Its jars come from the Maven repository once and stay in the user's cache folder. It survives kill -9 without a
loss, which the small broker does not.
"""

import asyncio
import base64
import os
import re
import shutil
import uuid
from pathlib import Path

from orderflow.stack.errors import StackError
from orderflow.stack.kafka import broker_answers
from orderflow.stack.ports import LOOPBACK
from orderflow.stack.probes import child_environment
from orderflow.stack.processes import Spec
from orderflow.stack.records import write_private

VERSION = "4.4.0"
LEAST_JAVA = 17
JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>orderflow</groupId><artifactId>embedded-kafka</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
<version>2.25.5</version></dependency>
</dependencies></project>
"""


class ApacheBroker:
    """One broker and controller with its data in ``home/kafka-apache``."""

    def __init__(self, home: Path, port: int, controller_port: int) -> None:
        self.home = home
        self.port = port
        self.controller_port = controller_port
        self._folder = home / "kafka-apache"
        self._properties = self._folder / "server.properties"

    @property
    def bootstrap_servers(self) -> str:
        """For clients: host and port."""
        return f"{LOOPBACK}:{self.port}"

    async def initialise(self) -> None:
        """Fetch the jars if needed and format the storage once. Raises StackError without Java, Maven or network."""
        await _require_java()
        jars = await _fetch_jars()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._write_properties()
        if not (self._folder / "log" / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            await _run(
                "java", "-cp", f"{jars}/*", "kafka.tools.StorageTool", "format", "--cluster-id", cluster,
                "--config", str(self._properties), *self._format_options(),
            )  # fmt: skip

    def spec(self) -> Spec:
        """How to run it. Call ``initialise`` first."""
        return Spec(
            name="kafka",
            argv=["java", *JVM_OPTIONS, "-cp", f"{_cache()}/*", "kafka.Kafka", str(self._properties)],
            env=child_environment(),
            cwd=self._folder,
            ready=self._answers,
            stop_grace_seconds=30,
        )

    async def _answers(self) -> bool:
        """A probe: whether it can be used."""
        return await broker_answers(self.bootstrap_servers)

    def _format_options(self) -> list[str]:
        """What its storage is formatted with beside its configuration."""
        return []

    def _write_properties(self) -> None:
        write_private(self._properties, "".join(f"{name}={value}\n" for name, value in self._configuration().items()))

    def _configuration(self) -> dict[str, object]:
        """Its properties."""
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{LOOPBACK}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._folder / "log",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            # A restart after kill -9 takes 3-4 s with these two, 12 s without.
            "broker.session.timeout.ms": 1000,
            "broker.heartbeat.interval.ms": 200,
        }


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "orderflow" / f"kafka-{VERSION}"


async def _require_java() -> None:
    for program, package in (("java", f"Java {LEAST_JAVA} or later"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            raise StackError(
                f"ORDERFLOW_STACK_KAFKA=apache needs {package}, and there is no `{program}`: "
                "install it, or leave the setting at `noida`"
            )
    said = await _run("java", "-version")
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < LEAST_JAVA:
        raise StackError(f"Apache Kafka {VERSION} needs Java {LEAST_JAVA} or later; `java -version` says: {said}")


async def _fetch_jars() -> Path:
    cache = _cache()
    if not cache.exists():
        unfinished = cache.with_name(f".{cache.name}-{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            pom = unfinished / "pom.xml"
            pom.write_text(POM)
            await _run(
                "mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime",
                f"-DoutputDirectory={unfinished}",
            )  # fmt: skip
            if not cache.exists():
                unfinished.rename(cache)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return cache


async def _run(*argv: str) -> str:
    child = await asyncio.create_subprocess_exec(
        *argv,
        env=child_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = (await child.communicate())[0].decode(errors="replace").strip()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise StackError(f"{argv[0]} failed (exit code {child.returncode}): {output[-2000:]}")
    return output
