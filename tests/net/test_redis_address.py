"""The address of the store, logins and TLS, and notes on weak server settings.

No message of the store may contain a password.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.net.canned_server import canned_server
from tests.net.redis_proxy import proxy_to
from tests.net.redis_server import RedisServer, redis_server
from tests.require import executable
from yak_core.ids import BrokerEpoch
from yak_core.metadata.store_calls import MetaOutcome, Read, RenewLease, StoreOk, Unknown
from yak_net.metadata.embedded import EmbeddedMetadata
from yak_net.metadata.redis_store import RedisStore
from yak_net.metadata.store_findings import findings_of

LONG_US = 30_000_000
PASSWORD = "s3cret p/w:@é%#?"
CODED = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def password_server() -> Iterator[RedisServer]:
    """Yield a server with a password, on a port and a socket."""
    with redis_server("--requirepass", PASSWORD, tcp=True) as server:
        yield server


async def notes_of(store: RedisStore) -> tuple[str, ...]:
    return tuple(str(finding) for finding in await findings_of(store))


def probe(url: str) -> tuple[MetaOutcome, str, tuple[str, ...]]:
    """Return the outcome of a lease renewal, the problem and the notes."""

    async def main() -> tuple[MetaOutcome, str, tuple[str, ...]]:
        store = RedisStore(url, "c", LONG_US)
        try:
            return (
                await store.call(RenewLease("n1", BrokerEpoch(1), None)),
                store.problem,
                await notes_of(store),
            )
        finally:
            await store.close()

    return asyncio.run(main())


def addresses(server: RedisServer, login: str) -> tuple[str, str]:
    """Return the server's two addresses with ``user:password`` in them."""
    user, _, password = login.partition(":")
    query = f"?username={user}&password={password}" if login else ""
    login = f"{login}@" if login else ""
    return (f"redis://{login}127.0.0.1:{server.port}/0", f"unix://{server.socket}{query}")


def test_right_password_is_accepted(password_server: RedisServer) -> None:
    for login in (f"default:{CODED}", f":{CODED}"):
        outcome, problem, notes = probe(addresses(password_server, login)[0])
        assert (type(outcome), problem, notes) == (StoreOk, "", ())
    outcome, problem, _ = probe(addresses(password_server, f"default:{CODED}")[1])
    assert (type(outcome), problem) == (StoreOk, "")


@pytest.mark.parametrize("login", ["default:wr0ng", "", "nobody:wr0ng"])
def test_a_wrong_or_missing_password_is_unknown_and_not_shown(
    password_server: RedisServer, login: str
) -> None:
    for url in addresses(password_server, login):
        outcome, problem, notes = probe(url)
        assert outcome == Unknown()
        assert "password" in problem
        assert "wr0ng" not in problem
        assert notes == (problem,)


async def test_a_password_that_the_server_echoes_is_not_shown() -> None:
    """Method: old servers quote the arguments of an unknown command."""

    echo = f"-ERR unknown command 'AUTH', with args: {PASSWORD}\r\n".encode()
    async with canned_server(echo) as where:
        store = RedisStore(f"redis://:{CODED}@{where}", "c", LONG_US)
        assert await store.call(Read()) == Unknown()
        assert PASSWORD not in store.problem
        assert "***" in store.problem
        await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        f"http://:{CODED}@localhost",
        f"redis://:{PASSWORD}@localhost",
        "redis://:s3cret/more@localhost:6379",
        "redis://:s3cret@localhost:port",
        "redis://:s3cret@[::1",
        "redis://:s3cret@localhost:99999",
        "redis://:s3cret@localhost/main",
        "redis://:s3cret@localhost?retry_on_timeout=yes",
        "redis://:s3cret@localhost?socket_timeout=s3cret",
        "redis://:s3cret@localhost?decode_responses=True",
        "redis://:s3cret@localhost?connection_class=s3cret",
        "redis://:s3cret@localhost?ssl_ca_certs=/s3cret",
        "rediss://:s3cret@localhost?ssl_cert_reqs=s3cret",
        "redis://localhost?s3cret=1",
        "unix://",
        "unix://?password=s3cret",
    ],
)
def test_error_of_an_invalid_address_hides_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^the .*Redis URL.*[^.]$") as caught:
        RedisStore(url, "c", LONG_US)
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__ or error.__context__


async def test_each_database_number_is_a_separate_store(password_server: RedisServer) -> None:
    url = addresses(password_server, f":{CODED}")[0]

    one, other = RedisStore(url, "c", LONG_US), RedisStore(f"{url[:-1]}5", "c", LONG_US)
    beats = [
        await store.call(RenewLease("db", BrokerEpoch(1), None))
        for store in (one, other, other)
    ]
    counts = [beat.value.renewals_of("db") for beat in beats if isinstance(beat, StoreOk)]
    assert counts == [1, 1, 2]
    await one.close()
    await other.close()


async def test_tls_checks_the_server(password_server: RedisServer, tmp_path: Path) -> None:
    """Method: a TLS proxy, with a known and with an unknown certificate."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [executable("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=yak", "-keyout", str(key)]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async with proxy_to(str(password_server.socket), context) as proxy:
        url = proxy.url.replace("://", f"://:{CODED}@")
        known = RedisStore(f"{url}?ssl_ca_certs={cert}", "c", LONG_US)
        assert isinstance(await known.call(Read()), StoreOk), known.problem
        await known.close()
        stranger = RedisStore(url, "c", LONG_US)
        assert await stranger.call(Read()) == Unknown()
        assert "certificate" in stranger.problem.lower()
        assert PASSWORD not in stranger.problem
        await stranger.close()


# Notes


def test_weak_settings_are_noted(password_server: RedisServer) -> None:
    """Method: weaken each setting alone, then all."""
    weak = {"appendonly": "no", "appendfsync": "everysec", "maxmemory-policy": "allkeys-lru"}
    good = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    url = addresses(password_server, f":{CODED}")[0]
    with password_server.client() as client:
        client.auth(PASSWORD)
        try:
            for name, value in weak.items():
                client.config_set(name, value)
                (note,) = probe(url)[2]
                assert f"{name} {value}" in note
                assert f"{name} {good[name]}" in note
                client.config_set(name, good[name])
            for name, value in weak.items():
                client.config_set(name, value)
            assert len(probe(url)[2]) == 3
        finally:
            for name, value in good.items():
                client.config_set(name, value)
    assert probe(url)[2] == ()


@pytest.mark.parametrize(
    ("forbidden", "unknown"),
    [
        ("-config", ["appendfsync"]),
        ("-config -info", ["appendfsync", "appendonly", "maxmemory-policy"]),
    ],
)
def test_unreadable_settings_are_noted_as_unknown(
    password_server: RedisServer, forbidden: str, unknown: list[str]
) -> None:
    """Goal: the finding names what could not be checked; INFO has some of the settings, too."""
    with password_server.client() as client:
        client.auth(PASSWORD)
        allowed = ["+@all", *forbidden.split()]
        client.acl_setuser("yak", True, passwords=["+pw"], keys=["*"], commands=allowed)
    outcome, problem, notes = probe(addresses(password_server, "yak:pw")[0])
    assert (type(outcome), problem) == (StoreOk, "")
    (note,) = notes
    assert "CONFIG GET" in note
    names = ("appendfsync", "appendonly", "maxmemory-policy")
    assert [name for name in names if name in note] == unknown


def test_the_embedded_server_is_noted_as_not_durable() -> None:
    with EmbeddedMetadata() as embedded:
        outcome, _, notes = probe(embedded.url)
    assert isinstance(outcome, StoreOk)
    (note,) = notes
    assert "not durable" in note


@pytest.mark.parametrize("reply", [b"+OK\r\n", b":1\r\n", b"*0\r\n", b"$-1\r\n", b"-ERR no\r\n"])
def test_warnings_of_a_server_with_invalid_replies(reply: bytes) -> None:
    async def main() -> tuple[str, ...]:
        async with canned_server(reply) as where:
            store = RedisStore(f"redis://{where}", "c", LONG_US)
            try:
                return await notes_of(store)
            finally:
                await store.close()

    (note,) = asyncio.run(main())
    assert "CONFIG GET" in note
