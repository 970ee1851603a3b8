"""Logins of the store: from the URL, a file or the environment, and never shown.

The user of the ACL has the permissions that docs/redis.md lists.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.net.brokers import BrokerProcess, brokers, until
from tests.net.redis_sentinel import Sentinel, server_program
from tests.net.redis_server import RedisServer, redis_server
from tests.net.test_redis_docs import COMMANDS, run
from yak_core.ids import BrokerEpoch
from yak_core.metadata.store_calls import Publish, Read, RenewLease, StoreOk, Unknown
from yak_net.metadata.redis_login import variables_of, with_environment
from yak_net.metadata.redis_store import RedisStore
from yak_net.metadata.redis_url import public_form
from yak_net.metadata.store_findings import FindingName, check_store

LONG_US = 30_000_000
SHORT_US = 1_000_000
PASSWORD = "c4nary/p:w@é%#?"
CODED = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Yield a server with the user of docs/redis.md; others may do nothing."""
    with redis_server(tcp=True) as found:
        for line in COMMANDS:
            if "ACL" in line and "+wait" not in line:
                run(line.replace("'>PASSWORD'", f"'>{PASSWORD}'"), found)
        with found.client() as client:
            client.acl_setuser("default", enabled=False)
        yield found


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a file with the password."""
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n", "utf-8")
    return path


async def outcome_at(url: str) -> str:
    """Return the problem of a read, "" if there is none."""
    store = RedisStore(url, "c", LONG_US)
    try:
        outcome = await store.call(Read())
        assert isinstance(outcome, StoreOk | Unknown)
        assert isinstance(outcome, StoreOk) == (store.problem == "")
        return store.problem
    finally:
        await store.close()


async def test_the_user_of_the_page_may_do_all_that_brokers_do(server: RedisServer) -> None:
    """Goal: the permissions in docs/redis.md suffice; method: each call, the checks, a deletion."""
    url = f"redis://yak:{CODED}@127.0.0.1:{server.port}/0"
    store = RedisStore(url, "c", LONG_US)
    for request in (Read(), RenewLease("n1", BrokerEpoch(1), None), Publish((("hw", "1"),))):
        assert isinstance(await store.call(request), StoreOk), store.problem
    await store.delete_all()
    await store.close()
    assert await check_store(url, "c") == ()


async def test_each_source_of_a_password_works(
    server: RedisServer, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: URL, file, variable, and the variables of YAK, with a user in each place."""
    monkeypatch.setenv("OWN", PASSWORD)
    at = f"127.0.0.1:{server.port}/0"
    plain = f"redis://{at}"
    environments = [
        {"YAK_REDIS_USERNAME": "yak", "YAK_REDIS_PASSWORD_FILE": str(secret)},
        {"YAK_REDIS_USERNAME": "yak", "YAK_REDIS_PASSWORD": PASSWORD},
    ]
    monkeypatch.setenv("YAK_REDIS_PASSWORD", PASSWORD)
    urls = [
        f"valkey://yak:{CODED}@{at}",
        f"redis://yak@{at}?password_file={secret}",
        f"redis://{at}?username=yak&password_env=OWN",
        *(with_environment(plain, each) for each in environments),
    ]
    for url in urls:
        assert await outcome_at(url) == "", url
    assert await outcome_at(f"redis://yak:wr0ng@{at}") != ""
    assert await outcome_at(plain) != ""


def test_the_environment_adds_no_password_to_a_url(secret: Path) -> None:
    """Goal: the result may be in a state file or a log; a login of the URL is kept."""
    env = {"YAK_REDIS_USERNAME": "yak", "YAK_REDIS_PASSWORD": PASSWORD}
    url = with_environment("redis://h:1/0", env)
    assert (variables_of(url), CODED in url) == (("YAK_REDIS_PASSWORD",), False)
    assert with_environment(url, env) == url
    for given in ("redis://u:p@h", "redis://u@h?password_env=X", "redis://u@h?password_file=/x"):
        assert with_environment(given, env) == given
    assert with_environment("redis://other@h", env) == (
        "redis://other@h?password_env=YAK_REDIS_PASSWORD"
    )
    assert with_environment("not a URL", env) == "not a URL"
    with pytest.raises(ValueError, match="exclude each other"):
        with_environment("redis://h", env | {"YAK_REDIS_PASSWORD_FILE": str(secret)})
    sentinel = with_environment("redis+sentinel://h/s", {"YAK_REDIS_SENTINEL_PASSWORD": "x"})
    assert sentinel == "redis+sentinel://h/s?sentinel_password_env=YAK_REDIS_SENTINEL_PASSWORD"
    assert public_form(f"rediss+sentinel://u:{CODED}@h:1,i:2/s/0?a=b") == (
        "rediss+sentinel://h:1,i:2/s/0"
    )


@pytest.mark.parametrize(
    ("option", "noun"),
    [
        ("password_file={0}/absent", "absent"),
        ("password_file={0}", "directory"),
        ("password_file={0}/empty", "one line"),
        ("password_file={0}/two", "one line"),
        ("password_file={0}/bytes", "one line"),
        ("password_env=YAK_ABSENT", "YAK_ABSENT"),
        ("password_env=YAK_ABSENT&password_file=/x", "one of them"),
        ("sentinel_password_env=X", "unsupported"),
    ],
)
async def test_a_password_that_cannot_be_read_ends_the_start(
    option: str, noun: str, tmp_path: Path
) -> None:
    """Goal: a sentence that names the option, before any connection."""
    (tmp_path / "empty").touch()
    (tmp_path / "two").write_text(f"{PASSWORD}\nmore\n", "utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    url = f"redis://yak@h?{option.format(tmp_path)}"
    with pytest.raises(ValueError, match="Redis URL") as caught:
        RedisStore(url, "c", LONG_US)
    assert noun in str(caught.value)
    assert PASSWORD not in str(caught.value)
    [finding] = await check_store(url, "c")
    assert finding.name is FindingName.ADDRESS


def texts_of(broker: BrokerProcess) -> str:
    """Return all that a broker shows: its output, its arguments, its answers over HTTP."""
    found = [broker.output]
    for path in ("/health", "/readyz", "/livez", "/v1/cluster"):
        try:
            with urllib.request.urlopen(broker.url + path, timeout=10) as answer:
                found.append(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                found.append(error.read().decode())
    found.append(Path(f"/proc/{broker.process.pid}/cmdline").read_bytes().decode())
    return "\n".join(found)


def test_a_broker_shows_no_password(server: RedisServer, tmp_path: Path) -> None:
    """Method: the right and a wrong password, in the URL and in a variable; search all texts."""
    wrong = f"{PASSWORD}wrong"
    with brokers() as start:
        for number, password in enumerate((PASSWORD, wrong)):
            env = {
                "YAK_REDIS_URL": f"redis://yak:{quote(password, safe='')}@127.0.0.1:{server.port}"
            }
            if number == 0:
                env = {
                    "YAK_REDIS_URL": f"redis://127.0.0.1:{server.port}",
                    "YAK_REDIS_USERNAME": "yak",
                    "YAK_REDIS_PASSWORD": password,
                }
            words = ("--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / f"data{number}"))
            broker = start(tmp_path / f"log{number}", *words, "--verbose", env=env)
            if number == 0:
                broker.wait_until_ready()
            else:
                until(lambda broker=broker: "denied access" in broker.output, "the refusal")  # type: ignore[misc]
            texts = texts_of(broker)
            assert "c4nary" not in texts


def test_an_invalid_url_is_refused_without_its_password(tmp_path: Path) -> None:
    """Method: white space at the end, which is shown; an unknown scheme; exit code 2."""
    for url in (f"redis://yak:{CODED}@h:1/0\x07", f"http://yak:{CODED}@h:1/0"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "yak_cli", "broker", "--redis", url],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "edis" in done.stderr
        assert "c4nary" not in done.stdout + done.stderr


def test_sentinels_have_their_own_login(tmp_path: Path) -> None:
    """Method: a Sentinel with a password; with the right one, only a copy is missing."""
    with redis_server(tcp=True) as primary:
        sentinel = Sentinel(
            tmp_path, server_program("redis-server"), primary, "requirepass 0therc4nary"
        )
        try:
            asyncio.run(_check_sentinel(sentinel))
        finally:
            sentinel.close()


async def _check_sentinel(sentinel: Sentinel) -> None:
    expected = {
        "": "Sentinel",
        "?sentinel_password=wr0ng0therc4nary": "Sentinel",
        "?sentinel_password=0therc4nary": "no replica",
    }
    for options, reason in expected.items():
        store = RedisStore(sentinel.url + options, "c", SHORT_US)
        async with asyncio.timeout(30):
            while await store.call(Read()) == Unknown() and "reached" in store.problem:
                await asyncio.sleep(0.05)  # the Sentinel starts
        assert reason in store.problem
        assert "0therc4nary" not in store.problem
        await store.close()
