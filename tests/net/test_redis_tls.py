"""The store on a real redis-server with TLS, and each way in which TLS fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.certificates import Certificates
from tests.net.redis_server import RedisServer, redis_server
from yak_core.metadata.store_calls import MetaOutcome, Read, StoreOk, Unknown
from yak_net.metadata.redis_store import RedisStore
from yak_net.metadata.store_findings import FindingName, check_store

LONG_US = 30_000_000
SHORT_US = 200_000


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Return certificates of another CA."""
    return Certificates(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def server(known: Certificates) -> Iterator[RedisServer]:
    """Yield a server that requires TLS and a client certificate."""
    with redis_server(tls=known) as found:
        yield found


def read(url: str) -> tuple[MetaOutcome, str]:
    """Return the outcome of a read, and the problem."""

    async def main() -> tuple[MetaOutcome, str]:
        store = RedisStore(url, "c", LONG_US)
        try:
            return await store.call(Read()), store.problem
        finally:
            await store.close()

    return asyncio.run(main())


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_a_client_with_a_certificate_is_served(server: RedisServer, scheme: str) -> None:
    outcome, problem = read(server.url.replace("rediss", scheme))
    assert (type(outcome), problem) == (StoreOk, "")
    assert asyncio.run(check_store(server.url, "c")) == ()


def test_each_failure_of_tls_says_what_to_do(
    server: RedisServer, known: Certificates, stranger: Certificates
) -> None:
    """Method: one wrong file, host or scheme each; the reason of TLS and the advice are named."""
    base = f"rediss://127.0.0.1:{server.port}"
    mixed = f"ssl_ca_certs={known.ca}&{stranger.options(ca=False)}"
    wrong = {
        f"{base}?{known.options(ca=False)}": ("self-signed", "ssl_ca_certs"),
        f"{base}?{stranger.options()}": ("certificate", "ssl_ca_certs"),
        f"rediss://localhost:{server.port}?{known.options()}": ("localhost", "host name"),
        f"redis://127.0.0.1:{server.port}": ("reached", "rediss://"),
    }
    for url, (reason, advice) in wrong.items():
        outcome, problem = read(url)
        assert outcome == Unknown()
        assert reason in problem, url
        assert advice in problem, url
        assert f"127.0.0.1:{server.port}" in problem or "localhost" in problem
    # The server closes the connection: its alert about the client may be lost by that.
    for options in (mixed, known.options(client=False)):
        outcome, problem = read(f"{base}?{options}")
        assert outcome == Unknown()
        assert re.search("UNKNOWN_CA|CERTIFICATE_REQUIRED|closed|reset", problem)
        assert re.search("ssl_certfile|client certificate", problem)


async def test_tls_to_a_server_without_it_is_named(known: Certificates) -> None:
    """Method: a server that answers in plain text, and a Redis, which waits for a line end."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR Protocol error\r\n")
        await reader.read()
        writer.close()

    greeter = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = greeter.sockets[0].getsockname()[1]
    store = RedisStore(f"rediss://127.0.0.1:{port}?{known.options()}", "c", LONG_US)
    assert await store.call(Read()) == Unknown()
    assert "does not use TLS" in store.problem
    await store.close()
    greeter.close()
    with redis_server(tcp=True) as plain:
        url = f"rediss://127.0.0.1:{plain.port}?{known.options()}"
        store = RedisStore(url, "c", SHORT_US)
        assert await store.call(Read()) == Unknown()
        assert "that its port uses TLS" in store.problem
        await store.close()


def test_a_server_that_is_not_verified_is_served_on_request(
    server: RedisServer, known: Certificates
) -> None:
    """Goal: ssl_cert_reqs=none works, as redis-py documents it."""
    options = known.options(ca=False)
    outcome, _ = read(f"rediss://localhost:{server.port}?{options}&ssl_cert_reqs=none")
    assert isinstance(outcome, StoreOk)


def test_unusable_files_are_reported_before_a_connection(
    known: Certificates, stranger: Certificates, tmp_path: Path
) -> None:
    """Goal: a broker with such a file does not start; the message names option and file."""
    text = tmp_path / "text"
    text.write_text("not PEM")
    certificate, key = known.client
    options = {
        f"ssl_ca_certs={tmp_path}/absent": "absent",
        f"ssl_ca_certs={tmp_path}": str(tmp_path),
        f"ssl_ca_certs={text}": "PEM",
        f"ssl_certfile={certificate}&ssl_keyfile={stranger.client[1]}": "KEY_VALUES_MISMATCH",
        f"ssl_keyfile={key}": "ssl_certfile",
        "ssl_cert_reqs=maybe": "ssl_cert_reqs",
    }
    for each, reason in options.items():
        with pytest.raises(ValueError, match="Redis URL") as caught:
            RedisStore(f"rediss://localhost?{each}", "c", LONG_US)
        assert reason in str(caught.value)
        [finding] = asyncio.run(check_store(f"rediss://localhost?{each}", "c"))
        assert (finding.name, finding.is_error) == (FindingName.ADDRESS, True)
        assert finding.advice
