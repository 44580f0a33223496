from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam.runtime.credentials import Credentials
from nodeipam.runtime.errors import CredentialsError
from nodeipam.runtime.execplugin import ExecPlugin
from nodeipam.runtime.http import HTTPTransport
from nodeipam.runtime.kubeconfig import from_kubeconfig, kubeconfig_exists
from nodeipam.runtime.transport import Call

from .loopback import Authority, answer, replies, serve

# The first import of kubernetes_asyncio, which the first test pays for.
pytestmark = pytest.mark.timeout(60)


def document(*, user: Any = None, cluster: Mapping[str, Any] | None = None, **top: Any) -> dict[str, Any]:
    """A kubeconfig of one user, cluster and context."""
    found: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "contexts": [{"name": "main", "context": {"cluster": "home", "user": "me"}}],
        "clusters": [{"name": "home", "cluster": cluster or {"server": "https://api.example:6443"}}],
        "users": [{"name": "me", "user": user if user is not None else {"token": "s3cret"}}],
    }
    return {**found, **top}


def write(path: Path, content: Any) -> str:
    """Write a kubeconfig, and return its path."""
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


@asynccontextmanager
async def opened(path: str, **options: Any) -> AsyncIterator[Credentials]:
    """Credentials that are closed at the end."""
    credentials = await from_kubeconfig(path, **options)
    try:
        yield credentials
    finally:
        await credentials.close()


async def token(credentials: Credentials) -> str:
    """What is sent as authorization."""
    return (await credentials.headers()).get("Authorization", "none")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens outside of this process."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


async def becomes(wanted: str, credentials: Credentials) -> None:
    """Wait until this is what is sent as authorization."""
    async with asyncio.timeout(20):
        while await token(credentials) != wanted:  # noqa: ASYNC110 - asking is what makes it happen
            await asyncio.sleep(0.01)


class TestFiles:
    async def test_token(self, tmp_path: Path) -> None:
        """The current context's server and token are used."""
        async with opened(write(tmp_path / "config", document())) as found:
            assert ("https://api.example:6443", "Bearer s3cret") == (found.server, await token(found))
            assert (None, None) == (found.server_name, found.proxy)

    async def test_password(self, tmp_path: Path) -> None:
        """User name and password become basic authentication."""
        path = write(tmp_path / "config", document(user={"username": "me", "password": "pw"}))
        async with opened(path) as found:
            assert "Basic " + base64.b64encode(b"me:pw").decode() == await token(found)

    async def test_another_context_and_server(self, tmp_path: Path) -> None:
        """A context is chosen by name, and a server replaces the cluster's."""
        content = document()
        content["contexts"].append({"name": "other", "context": {"cluster": "away", "user": "you"}})
        content["clusters"].append({"name": "away", "cluster": {"server": "https://away"}})
        content["users"].append({"name": "you", "user": {"token": "yours"}})
        path = write(tmp_path / "config", content)
        async with opened(path, context="other") as found:
            assert ("https://away", "Bearer yours") == (found.server, await token(found))
        async with opened(path, server="https://elsewhere:1/x") as found:
            assert ("https://elsewhere:1/x", "Bearer s3cret") == (found.server, await token(found))

    async def test_several_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """KUBECONFIG may name several files, some missing; paths in each are relative to that file."""
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "token").write_text("from b\n".replace(" ", "-"))
        first = document(users=None)
        second = {"users": [{"name": "me", "user": {"tokenFile": "token"}}]}
        paths = [
            write(tmp_path / "a" / "config", first),
            str(tmp_path / "missing"),
            write(tmp_path / "b" / "config", second),
        ]
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join(paths))
        assert kubeconfig_exists()
        credentials = await from_kubeconfig()
        assert "Bearer from-b" == await token(credentials)
        await credentials.close()

    async def test_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without path and KUBECONFIG it is ~/.kube/config."""
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert not kubeconfig_exists()
        (tmp_path / ".kube").mkdir()
        write(tmp_path / ".kube" / "config", document())
        assert kubeconfig_exists()
        credentials = await from_kubeconfig()
        assert "Bearer s3cret" == await token(credentials)
        await credentials.close()

    async def test_plain_http_without_a_user(self, tmp_path: Path) -> None:
        """A server behind plain http, such as kubectl proxy, needs neither TLS nor user."""
        content = document(
            cluster={"server": "http://127.0.0.1:8001"},
            contexts=[{"name": "main", "context": {"cluster": "home"}}],
            users=None,
        )
        async with opened(write(tmp_path / "config", content)) as found:
            assert (None, {}) == (found.ssl_context(), await found.headers())

    async def test_cluster_settings(self, tmp_path: Path) -> None:
        """The server's name and a proxy are taken from the cluster."""
        cluster = {
            "server": "https://10.0.0.1",
            "tls-server-name": "kubernetes",
            "proxy-url": "http://proxy:3128",
        }
        async with opened(write(tmp_path / "config", document(cluster=cluster))) as found:
            assert ("kubernetes", "http://proxy:3128") == (found.server_name, found.proxy)

    async def test_repr(self, tmp_path: Path) -> None:
        """The repr names file and server, never the token."""
        path = write(tmp_path / "config", document())
        async with opened(path) as found:
            assert f"<Kubeconfig {path} for https://api.example:6443>" == repr(found)
            assert "s3cret" not in repr(vars(found))

    async def test_nobodys_loggers_are_touched(self, tmp_path: Path) -> None:
        """Reading a kubeconfig doesn't change the levels of the host's loggers."""
        loggers = [logging.getLogger(name) for name in ("client", "urllib3")]
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        async with opened(write(tmp_path / "config", document())):
            assert [logging.DEBUG] * 2 == [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.NOTSET)


class TestRefused:
    @pytest.mark.parametrize(
        "content, message",
        [
            ("", "isn't shaped like one"),
            ("[1, 2]", "isn't shaped like one"),
            ("just text", "isn't shaped like one"),
            ("a: [1,", "in line 1"),
            ("users:\n\t- token: s3cret", "in line 2"),
            ("\0", "can't be read"),
            ("users: [{user: {token: s3cret}}]", "no current-context"),
            ("contexts: [s3cret]", "name one of its contexts .none."),
            ("contexts: [s3cret, 7]", "isn't shaped like one"),
            (document(users=["s3cret"]), "no user 'me'; there are: none"),
            ("users: 7", "isn't shaped like one"),
            (
                {**document(), "current-context": None},
                "no current-context: name one of its contexts .'main'.",
            ),
            ({**document(), "current-context": "mian"}, "no context 'mian'; there are: 'main'"),
            (document(contexts=[]), "no context 'main'; there are: none"),
            (document(contexts=[{"name": "main"}]), "context 'main' is empty"),
            (document(clusters=None), "no cluster 'home'; there are: none"),
            (document(clusters=[{"name": "home"}]), "cluster 'home' is empty"),
            (
                document(users=[{"name": "you", "user": {"token": "s3cret"}}]),
                "no user 'me'; there are: 'you'",
            ),
            (
                document(contexts=[{"name": "main", "context": {"cluster": "home"}}]),
                "context 'main' names no user: it needs one of .'me'.",
            ),
            (document(cluster={"x": 1}), "the server of cluster 'home' is None: .*https://host:6443"),
            (document(cluster={"server": "api:6443"}), "is 'api:6443'"),
            (document(cluster={"server": 7}), "is 7"),
            (
                document(cluster={"server": "https://a", "insecure-skip-tls-verify": True}),
                "insecure-skip-tls-verify isn't supported.*certificate-authority",
            ),
            (document(cluster={"server": "https://a", "proxy-url": "socks5://u:s3cret@p"}), "'socks5'"),
            (
                document(cluster={"server": "https://a", "certificate-authority": "/nowhere/ca"}),
                "/nowhere/ca",
            ),
            (
                document(cluster={"server": "https://a", "certificate-authority-data": "%%%s3cret"}),
                "malformed|certificates",
            ),
            (document(user={"client-certificate": "/nowhere/a.crt"}), "/nowhere/a.crt"),
            (document(user={"tokenFile": "/nowhere/token"}), "/nowhere/token"),
            (document(user={"token": "s3cret with spaces"}), "holds no token"),
            (document(user={"token": ["s3cret"]}), "holds no token"),
            (document(user={"token": "s3cret", "as": "admin"}), "impersonation .as."),
            (document(user={"auth-provider": {"name": "gcp"}}), "'gcp' was removed in Kubernetes 1.26"),
            (
                document(user={"auth-provider": {"name": "oidc", "config": {}}}),
                "config of auth-provider oidc",
            ),
            (document(user={"exec": {"command": "x"}}), "exec is malformed.*apiVersion"),
            (
                document(user={"exec": {"command": "x", "apiVersion": "v1"}}),
                "should be client.authentication",
            ),
            (document(user="s3cret"), "user 'me' is empty"),
        ],
    )
    async def test_message(self, tmp_path: Path, content: Any, message: str) -> None:
        """What is missing or wrong is named, with the file and what would be right, and without secrets."""
        path = write(tmp_path / "config", content)
        with pytest.raises(CredentialsError, match=message) as caught:
            await from_kubeconfig(path)
        error: BaseException | None = caught.value
        assert path in str(error)
        while error is not None:
            assert "s3cret" not in str(error).replace(path, "")
            error = error.__cause__

    async def test_missing(self, tmp_path: Path) -> None:
        """A missing file is named, with what would help."""
        with pytest.raises(CredentialsError, match=f"{tmp_path}/none doesn't exist: .*KUBECONFIG"):
            await from_kubeconfig(str(tmp_path / "none"))

    async def test_a_folder(self, tmp_path: Path) -> None:
        """A folder isn't a kubeconfig."""
        with pytest.raises(CredentialsError, match=r"can't be read: .*directory"):
            await from_kubeconfig(str(tmp_path))


class TestChanges:
    async def test_token_file(self, tmp_path: Path) -> None:
        """A token file wins over a token, is stripped, and is read again after a 401."""
        (tmp_path / "token").write_text("one\n\n")
        path = write(tmp_path / "config", document(user={"tokenFile": "token", "token": "static"}))
        async with opened(path) as found:
            assert "Bearer one" == await token(found)
            (tmp_path / "token").write_text("second\n")
            assert "Bearer one" == await token(found)
            await found.refresh()
            assert "Bearer second" == await token(found)

    async def test_each_minute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The files are looked at again after a while, in the background."""
        monkeypatch.setattr("nodeipam.runtime.kubeconfig._REREAD", 0.01)
        (tmp_path / "token").write_text("one")
        async with opened(write(tmp_path / "config", document(user={"tokenFile": "token"}))) as found:
            (tmp_path / "token").write_text("second")
            await becomes("Bearer second", found)

    async def test_the_kubeconfig_itself(self, tmp_path: Path) -> None:
        """A new token in the kubeconfig is used; while the file is broken the old one serves."""
        path = write(tmp_path / "config", document())
        async with opened(path) as found:
            write(tmp_path / "config", "half a fi: [")
            with pytest.raises(CredentialsError, match="in line 1"):
                await found.refresh()
            assert "Bearer s3cret" == await token(found)
            write(tmp_path / "config", document(user={"token": "next"}))
            await found.refresh()
            assert "Bearer next" == await token(found)

    async def test_client_certificates(self, tmp_path: Path) -> None:
        """A client certificate is presented, and again once it was renewed on disk."""
        ca = Authority(tmp_path)
        ca.issue("first", stem="client")
        async with serve(replies(answer()), ca.context(clients=True)) as server:
            cluster = {"server": server.url, "certificate-authority": "ca.crt"}
            user = {"client-certificate": "client.crt", "client-key": "client.key"}
            found = await from_kubeconfig(write(tmp_path / "config", document(user=user, cluster=cluster)))
            async with HTTPTransport(found) as transport:
                await get(transport)
                ca.issue("second", stem="client")
                await found.refresh()
                await get(transport)
            assert ["first", "second"] == [asked.peer for asked in server.asked]

    async def test_embedded_certificates(self, tmp_path: Path) -> None:
        """Certificates may stand in the kubeconfig itself."""
        ca = Authority(tmp_path)
        certificate, key = ca.issue("embedded")
        async with serve(replies(answer()), ca.context(clients=True)) as server:
            cluster = {"server": server.url, "certificate-authority-data": encoded(ca.path)}
            user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
            found = await from_kubeconfig(write(tmp_path / "config", document(user=user, cluster=cluster)))
            async with HTTPTransport(found) as transport:
                await get(transport)
            assert ["embedded"] == [asked.peer for asked in server.asked]


def encoded(path: Path) -> str:
    """A file as base64."""
    return base64.b64encode(path.read_bytes()).decode()


async def get(transport: HTTPTransport) -> int:
    """The status of a GET."""
    async with transport.open(Call(method="GET", path="/version", timeout=5.0)) as found:
        while await found.read(1024):
            pass
        return found.status


CREDENTIAL = (
    """printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":%s}' """
)


def plugin(folder: Path, script: str, **settings: Any) -> dict[str, Any]:
    """A user whose plugin is a shell script."""
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
    path.chmod(0o755)
    spec = {"command": "./plugin", "apiVersion": "client.authentication.k8s.io/v1", **settings}
    return {"exec": {"interactiveMode": "Never", **spec}}


class TestExec:
    async def test_token(self, tmp_path: Path) -> None:
        """A plugin's token is used, and the plugin isn't asked again before there is a need."""
        script = "echo run >> runs\n" + CREDENTIAL + """'{"token":"t-'$(wc -l < runs)'"}'"""
        async with opened(write(tmp_path / "config", document(user=plugin(tmp_path, script)))) as found:
            assert ["Bearer t-1"] * 3 == [await token(found) for _ in range(3)]
            await found.refresh()
            assert "Bearer t-2" == await token(found)

    async def test_what_it_is_told(self, tmp_path: Path) -> None:
        """Arguments, environment and the exec info reach the plugin, which has no terminal."""
        script = (
            'echo "$1 $NAME $KUBERNETES_EXEC_INFO" > told; cat > input\n' + CREDENTIAL + """'{"token":"t"}'"""
        )
        settings = {"args": ["a b"], "env": [{"name": "NAME", "value": "v"}], "provideClusterInfo": True}
        user = plugin(tmp_path, script, **settings)
        async with opened(write(tmp_path / "config", document(user=user))):
            text = (tmp_path / "told").read_text()
        start, _, info = text.partition("{")
        told = yaml.safe_load("{" + info)
        assert ("a b v ", "ExecCredential", False) == (start, told["kind"], told["spec"]["interactive"])
        assert "https://api.example:6443" == told["spec"]["cluster"]["server"]
        assert "" == (tmp_path / "input").read_text()

    async def test_expiry(self, tmp_path: Path) -> None:
        """A token that is about to expire is renewed in the background."""
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
        script = (
            "echo run >> runs; n=$(wc -l < runs); later=2999-01-01T00:00:00Z; "
            f'[ $n = 1 ] && later={soon}\n{CREDENTIAL}"{{\\"token\\":\\"t-$n\\",'
            '\\"expirationTimestamp\\":\\"$later\\"}"'
        )
        async with opened(write(tmp_path / "config", document(user=plugin(tmp_path, script)))) as found:
            assert "Bearer t-1" == await token(found)
            await becomes("Bearer t-2", found)

    async def test_certificate(self, tmp_path: Path) -> None:
        """A plugin may say who we are by a certificate, and later by another."""
        ca = Authority(tmp_path)
        for name in ("p1", "p2"):
            certificate, key = ca.issue(name)
            status = {"clientCertificateData": certificate.read_text(), "clientKeyData": key.read_text()}
            credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
            (tmp_path / f"{name}.json").write_text(json.dumps({**credential, "status": status}))
        script = "echo run >> runs; cat p$(wc -l < runs).json"
        async with serve(replies(answer()), ca.context(clients=True)) as server:
            cluster = {"server": server.url, "certificate-authority": "ca.crt"}
            path = write(tmp_path / "config", document(user=plugin(tmp_path, script), cluster=cluster))
            found = await from_kubeconfig(path)
            async with HTTPTransport(found) as transport:
                await get(transport)
                await get(transport)
                await found.refresh()
                await get(transport)
            assert ["p1", "p1", "p2"] == [asked.peer for asked in server.asked]

    async def test_a_talkative_plugin(self, tmp_path: Path) -> None:
        """Megabytes of chatter on stderr don't block the plugin."""
        script = "head -c 2000000 /dev/zero >&2\n" + CREDENTIAL + """'{"token":"t"}'"""
        async with opened(write(tmp_path / "config", document(user=plugin(tmp_path, script)))) as found:
            assert "Bearer t" == await token(found)

    @pytest.mark.parametrize(
        "script, message",
        [
            ("echo 'log in first' >&2; exit 3", "ended with code 3: log in first"),
            ("exit 1", "it printed no reason"),
            ("echo s3cret", "printed no ExecCredential"),
            ("echo '{}'", "printed no ExecCredential.*kind"),
            (r"printf '{\"a\":\"\377\"}'", "printed no ExecCredential"),
            ("printf '{\"a\":'; head -c 9999 /dev/zero | tr '\\0' '['", "no ExecCredential: .*recursion"),
            (CREDENTIAL + "null", "neither a token nor a client certificate"),
            (CREDENTIAL + """'{"token":"s3cret token"}'""", "holds no token"),
            (CREDENTIAL + """'{"clientCertificateData":"s3cret"}'""", "and clientKeyData, or neither"),
            (
                CREDENTIAL + """'{"clientCertificateData":"s3cret","clientKeyData":"s3cret"}'""",
                "can't use the client certificate",
            ),
            (
                """echo '{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential"}'""",
                "printed ExecCredential of client.authentication.k8s.io/v1beta1, not",
            ),
        ],
    )
    async def test_failures(self, tmp_path: Path, script: str, message: str) -> None:
        """A plugin that fails is named with its reason, and what it printed isn't shown."""
        path = write(tmp_path / "config", document(user=plugin(tmp_path, script)))
        with pytest.raises(CredentialsError, match=message) as caught:
            async with opened(path) as found:
                found.ssl_context()
        assert "/plugin'" in str(caught.value) or path in str(caught.value)
        assert "s3cret" not in str(caught.value).replace(str(tmp_path), "")

    async def test_not_installed(self, tmp_path: Path) -> None:
        """A plugin that isn't there is named, with the kubeconfig's own advice."""
        user = plugin(tmp_path, "", command="no-such-plugin", installHint="Get it from the shop.")
        with pytest.raises(CredentialsError, match=r"'no-such-plugin'.*Get it from the shop\."):
            await from_kubeconfig(write(tmp_path / "config", document(user=user)))

    async def test_wants_a_terminal(self, tmp_path: Path) -> None:
        """A plugin that must talk to somebody is refused."""
        user = plugin(tmp_path, "", interactiveMode="Always")
        with pytest.raises(CredentialsError, match="wants a terminal"):
            await from_kubeconfig(write(tmp_path / "config", document(user=user)))

    async def test_cancelled(self, tmp_path: Path) -> None:
        """A plugin that hangs is killed, with its children, when nobody waits any more."""
        path = write(tmp_path / "config", document(user=plugin(tmp_path, "sleep 1000 & echo $! > pid; wait")))
        task = asyncio.ensure_future(from_kubeconfig(path))
        pid = tmp_path / "pid"
        await until(lambda: pid.exists() and pid.read_text().endswith("\n"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stat = Path("/proc", pid.read_text().strip(), "stat")
        await until(lambda: not stat.exists() or stat.read_text().split()[2] == "Z")

    async def test_too_slow(self, tmp_path: Path) -> None:
        """A plugin that takes too long is killed and named."""
        version = "client.authentication.k8s.io/v1"
        slow = ExecPlugin(command="sleep", args=("1000",), environ={}, api_version=version, timeout=0.05)
        with pytest.raises(CredentialsError, match=r"'sleep' took more than 0\.05 s and was killed"):
            await slow.fetch()


def jwt(lifetime: float, name: str = "me") -> str:
    """An id-token that nobody has signed. Some names need the URL alphabet of base64."""
    claims = json.dumps({"exp": int(time.time() + lifetime), "sub": name}, ensure_ascii=False)
    return "e30." + base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=") + ".sig"


class TestOIDC:
    def user(self, issuer: str, **config: str) -> dict[str, Any]:
        """A user of an OpenID provider."""
        settings = {"idp-issuer-url": issuer, "client-id": "us", **config}
        return {"auth-provider": {"name": "oidc", "config": settings}}

    @pytest.mark.parametrize("name", ["me", "?>?>?>", "ÿÿÿ"])
    async def test_stored_token(self, tmp_path: Path, name: str) -> None:
        """A stored id-token that is still good is used without asking the provider."""
        stored = jwt(3600, name)
        path = write(
            tmp_path / "config", document(user=self.user("https://nowhere.invalid", **{"id-token": stored}))
        )
        async with opened(path) as found:
            assert f"Bearer {stored}" == await token(found)

    async def test_renewal(self, tmp_path: Path) -> None:
        """An expired token is renewed over verified TLS, and both new tokens are stored."""
        ca = Authority(tmp_path)
        fresh = jwt(3600, "fresh")
        wires: list[bytes] = []

        async def provider(asked: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(wires.pop(0))

        async with serve(provider, ca.context()) as idp:
            wires += [
                answer(f'{{"token_endpoint":"{idp.url}/token"}}'),
                answer(f'{{"id_token":"{fresh}","refresh_token":"r2"}}'),
            ]
            config = {
                "client-secret": "s/3",
                "id-token": jwt(-5),
                "refresh-token": "r1",
                "idp-certificate-authority": "ca.crt",
            }
            path = write(tmp_path / "config", document(user=self.user(idp.url + "/", **config)))
            async with opened(path) as found:
                assert f"Bearer {fresh}" == await token(found)
        assert "/.well-known/openid-configuration" == idp.asked[0].target
        assert b"grant_type=refresh_token&refresh_token=r1" == idp.asked[1].body
        basic = base64.b64encode(b"us:s%2F3").decode()
        assert f"Basic {basic}" == idp.asked[1].headers["authorization"]
        stored = yaml.safe_load(Path(path).read_text())["users"][0]["user"]["auth-provider"]["config"]
        assert (fresh, "r2", "s/3") == (stored["id-token"], stored["refresh-token"], stored["client-secret"])

    async def test_embedded_authority(self, tmp_path: Path) -> None:
        """The provider's CA may stand in the kubeconfig; a public client has no secret."""
        ca = Authority(tmp_path)
        fresh = jwt(3600)
        wires: list[bytes] = []

        async def provider(asked: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(wires.pop(0))

        async with serve(provider, ca.context()) as idp:
            wires += [answer(f'{{"token_endpoint":"{idp.url}/t"}}'), answer(f'{{"id_token":"{fresh}"}}')]
            config = {"refresh-token": "r1", "idp-certificate-authority-data": encoded(ca.path)}
            path = write(tmp_path / "config", document(user=self.user(idp.url, **config)))
            async with opened(path) as found:
                assert f"Bearer {fresh}" == await token(found)
        assert b"grant_type=refresh_token&refresh_token=r1&client_id=us" == idp.asked[1].body

    async def test_an_unknown_provider(self, tmp_path: Path) -> None:
        """A provider whose certificate isn't trusted never sees a secret."""
        ca = Authority(tmp_path)
        async with serve(replies(answer()), ca.context()) as idp:
            config = {"client-secret": "s3cret", "refresh-token": "s3cret"}
            path = write(tmp_path / "config", document(user=self.user(idp.url, **config)))
            with pytest.raises(CredentialsError, match="didn't renew the id-token") as caught:
                await from_kubeconfig(path)
            assert ([], False) == (idp.asked, "s3cret" in str(caught.value))

    @pytest.mark.parametrize(
        "wires, message",
        [
            ([answer(b"{}", "500 Oops")], "is 500"),
            ([answer(b"<html>")], "malformed"),
            ([answer(b"{}")], "token_endpoint"),
            ([answer(b'{"a":' + b"[" * 9999)], "recursion"),
            ([answer(b'{"token_endpoint":"nowhere"}')], "'nowhere'"),
            ([answer(b"", "302 Found", location="http://elsewhere")], "is 302"),
        ],
    )
    async def test_a_provider_that_fails(self, tmp_path: Path, wires: list[bytes], message: str) -> None:
        """Whatever the provider answers instead, the message says it."""
        async with serve(replies(*wires)) as idp:
            path = write(tmp_path / "config", document(user=self.user(idp.url, **{"refresh-token": "r"})))
            with pytest.raises(CredentialsError, match=message):
                await from_kubeconfig(path)

    @pytest.mark.parametrize("stored", ["", "a.b", "a.b.c", "a.!!!.c", "a.eyJhIjpb" + "W1tb" * 3333 + ".c"])
    async def test_no_token(self, tmp_path: Path, stored: str) -> None:
        """Without a usable id-token and a refresh token somebody has to log in."""
        path = write(tmp_path / "config", document(user=self.user("https://idp", **{"id-token": stored})))
        with pytest.raises(CredentialsError, match=r"log in again|isn't a JSON Web Token"):
            await from_kubeconfig(path)
