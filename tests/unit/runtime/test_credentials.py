from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodeipam.runtime import credentials as under_test
from nodeipam.runtime.credentials import Credentials, from_configuration, in_cluster, is_in_cluster, namespace
from nodeipam.runtime.errors import CredentialsError
from nodeipam.testing.loop import run_virtual

from .loopback import Authority

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """The folder of a service account."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(Authority(tmp_path).pem)
    (folder / "token").write_text("one\n")
    (folder / "namespace").write_text("kube-system\n")
    return folder


def tokens(*steps: Callable[[], object] | float, of: Credentials) -> list[str]:
    """The tokens after each step: something done, or seconds waited."""

    async def main() -> list[str]:
        found = [(await of.headers())["Authorization"]]
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                step()
            found.append((await of.headers())["Authorization"])
        return found

    return run_virtual(main())


class TestInCluster:
    @pytest.mark.parametrize(
        "host, port, server",
        [
            ("10.96.0.1", "443", "https://10.96.0.1:443"),
            ("fd00::1", "6443", "https://[fd00::1]:6443"),
            ("api.example", "443", "https://api.example:443"),
        ],
    )
    def test_server(self, pod: Path, host: str, port: str, server: str) -> None:
        """The server comes from the environment, an IPv6 address in brackets."""
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        assert server == in_cluster(environ=environ, folder=pod).server

    @pytest.mark.parametrize(
        "environ",
        [
            {},
            {"KUBERNETES_SERVICE_HOST": "10.96.0.1"},
            {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": "443"},
            {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "https"},
        ],
    )
    def test_not_in_a_cluster(self, pod: Path, environ: dict[str, str]) -> None:
        """Where the variables are missing or odd, the message names them."""
        with pytest.raises(CredentialsError, match="KUBERNETES_SERVICE_HOST and "):
            in_cluster(environ=environ, folder=pod)

    def test_is_in_cluster(self, pod: Path) -> None:
        """It takes both the variable and a token to be in a cluster."""
        assert is_in_cluster(environ=POD, folder=pod)
        assert not is_in_cluster(environ={}, folder=pod)
        assert not is_in_cluster(environ=POD, folder=pod / "elsewhere")

    def test_token_is_reread_each_minute(self, pod: Path) -> None:
        """A renewed token is noticed within a minute, and not looked for more often."""

        def renew() -> None:
            (pod / "token").write_text("two")

        found = tokens(30.0, renew, 31.0, of=in_cluster(environ=POD, folder=pod))
        assert ["Bearer one", "Bearer one", "Bearer one", "Bearer two"] == found

    def test_refresh_rereads_at_once(self, pod: Path) -> None:
        """After a 401 the token is read again at once."""
        credentials = in_cluster(environ=POD, folder=pod)
        (pod / "token").write_text("two")
        run_virtual(credentials.refresh())
        assert ["Bearer two"] == tokens(of=credentials)

    @pytest.mark.parametrize("content", [None, b"", b" \n", b"a b", b"a\nb", b"\xff", "tökén".encode()])
    def test_no_token(self, pod: Path, content: bytes | None) -> None:
        """A token that is missing, empty or none is refused with its path, and without its text."""
        if content is None:
            (pod / "token").unlink()
        else:
            (pod / "token").write_bytes(content)
        with pytest.raises(CredentialsError, match=str(pod / "token")) as caught:
            in_cluster(environ=POD, folder=pod)
        assert "a b" not in str(caught.value)

    @pytest.mark.parametrize("content", [None, b"", b"no certificate"])
    def test_no_ca(self, pod: Path, content: bytes | None) -> None:
        """A CA that is missing or none is refused with its path."""
        (pod / "ca.crt").unlink() if content is None else (pod / "ca.crt").write_bytes(content)
        with pytest.raises(CredentialsError, match=str(pod / "ca.crt")):
            in_cluster(environ=POD, folder=pod)

    def test_a_token_that_goes_missing(self, pod: Path, caplog: pytest.LogCaptureFixture) -> None:
        """While the token can't be read the old one goes on serving, and a warning says so once a minute."""
        credentials = in_cluster(environ=POD, folder=pod)
        with caplog.at_level(logging.WARNING):
            found = tokens(
                (pod / "token").unlink,
                61.0,
                1.0,
                lambda: (pod / "token").write_text("two"),
                61.0,
                of=credentials,
            )
        assert ["Bearer one"] * 5 + ["Bearer two"] == found
        assert 1 == len(caplog.records)

    def test_refresh_of_a_missing_token(self, pod: Path) -> None:
        """A refresh that was asked for fails with the path."""
        credentials = in_cluster(environ=POD, folder=pod)
        (pod / "token").unlink()
        with pytest.raises(CredentialsError, match=str(pod / "token")):
            run_virtual(credentials.refresh())

    def test_a_new_ca(self, pod: Path, tmp_path: Path) -> None:
        """A renewed CA makes a new context; the same CA keeps the old one."""
        credentials = in_cluster(environ=POD, folder=pod)
        first = credentials.ssl_context()
        run_virtual(credentials.refresh())
        second = credentials.ssl_context()
        (pod / "ca.crt").write_bytes(Authority(tmp_path, "next").pem)
        run_virtual(credentials.refresh())
        assert first is second is not credentials.ssl_context()

    def test_verification(self, pod: Path) -> None:
        """The context verifies certificate and name, from TLS 1.2 on, without OpenSSL's strict mode."""
        context = in_cluster(environ=POD, folder=pod).ssl_context()
        assert context is not None
        assert (ssl.CERT_REQUIRED, True) == (context.verify_mode, context.check_hostname)
        assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT

    def test_namespace(self, pod: Path) -> None:
        """The namespace of the Pod is read without its newline."""
        assert "kube-system" == namespace(folder=pod)

    def test_no_namespace(self, pod: Path) -> None:
        """A missing namespace is refused with its path."""
        (pod / "namespace").unlink()
        with pytest.raises(CredentialsError, match=str(pod / "namespace")):
            namespace(folder=pod)

    def test_repr(self, pod: Path) -> None:
        """The repr names the server and the file, never the token."""
        (pod / "token").write_text("s3cret")
        text = repr(in_cluster(environ=POD, folder=pod))
        assert f"<ServiceAccount of https://10.96.0.1:443, token in {pod}/token>" == text


def configuration(**settings: Any) -> SimpleNamespace:
    """Something like a kubernetes_asyncio Configuration."""
    found = SimpleNamespace(
        host="http://api.example:8080",
        verify_ssl=True,
        ssl_ca_cert=None,
        cert_file=None,
        key_file=None,
        tls_server_name=None,
        proxy=None,
        proxy_headers=None,
        value="Bearer one",
    )
    vars(found).update(settings)

    async def auth_settings() -> dict[str, dict[str, Any]]:
        return {"BearerToken": {"in": "header", "key": "authorization", "value": found.value}}

    found.auth_settings = auth_settings
    return found


class TestFromConfiguration:
    def test_the_real_thing(self, tmp_path: Path) -> None:
        """A Configuration, or an ApiClient that has one, is used as it is, and its hook is called."""
        ca = str(Authority(tmp_path).path)
        program = f"""
import asyncio
from kubernetes_asyncio.client import ApiClient, Configuration
from nodeipam.runtime.credentials import from_configuration

async def hook(configuration):
    configuration.api_key["BearerToken"] = configuration.api_key["BearerToken"] + "+"

async def main():
    configuration = Configuration(
        host="https://api.example:6443", api_key={{"BearerToken": "t"}}, ssl_ca_cert={ca!r}
    )
    configuration.api_key_prefix["BearerToken"] = "Bearer"
    configuration.refresh_api_key_hook = hook
    print((await from_configuration(configuration).headers())["Authorization"])
    async with ApiClient(configuration) as client:
        credentials = from_configuration(client)
        print((await credentials.headers())["Authorization"], credentials.server)

asyncio.run(main())
"""
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
        )
        assert "Bearer t+\nBearer t++ https://api.example:6443\n" == run.stdout

    def test_a_token_that_changes(self) -> None:
        """The token is asked for at every request, so that the application may change it."""
        given = configuration()
        found = tokens(lambda: setattr(given, "value", "Bearer two"), of=from_configuration(given))
        assert ["Bearer one", "Bearer two"] == found

    def test_no_token(self) -> None:
        """A configuration without a token sends none."""
        assert {} == run_virtual(from_configuration(configuration(value=None)).headers())

    def test_a_hook_that_fails(self) -> None:
        """What a hook raises is a CredentialsError."""
        given = configuration()

        def fail() -> None:
            raise LookupError("no vault")

        given.auth_settings = fail
        with pytest.raises(CredentialsError, match="no vault"):
            run_virtual(from_configuration(given).headers())

    @pytest.mark.parametrize(
        "settings, message",
        [
            ({"verify_ssl": False}, "set ssl_ca_cert"),
            ({"host": "api.example"}, "'api.example'"),
            ({"host": None}, "https://host:6443"),
            ({"host": "https://user:s3cret@api.example"}, "has a user name"),
            ({"proxy": "http://p", "proxy_headers": {"a": "b"}}, "proxy_headers"),
            ({"host": "https://a", "ssl_ca_cert": "/nowhere/ca.crt"}, "/nowhere/ca.crt"),
            ({"host": "https://a", "cert_file": "/nowhere/a.crt"}, "/nowhere/a.crt"),
        ],
    )
    def test_refused(self, settings: dict[str, Any], message: str) -> None:
        """What can't work, or wouldn't verify the server, is refused with the value."""
        with pytest.raises(CredentialsError, match=message) as caught:
            from_configuration(configuration(**settings))
        assert "s3cret" not in str(caught.value)

    def test_other_certificates(self, tmp_path: Path) -> None:
        """Certificates that the application changes, by file or by name, make a new context."""
        ca = Authority(tmp_path)
        given = configuration(host="https://a", ssl_ca_cert=str(ca.path))
        credentials = from_configuration(given)
        contexts = [credentials.ssl_context()]
        for change in (lambda: None, lambda: ca.issue("a"), lambda: ca.issue("a")):
            change()
            given.cert_file, given.key_file = (
                (str(tmp_path / "a.crt"), str(tmp_path / "a.key"))
                if (tmp_path / "a.crt").exists()
                else (None, None)
            )
            run_virtual(credentials.refresh())
            contexts.append(credentials.ssl_context())
        assert (1, 3) == (
            len({id(context) for context in contexts[:2]}),
            len({id(each) for each in contexts}),
        )

    def test_a_key_with_a_password(self, tmp_path: Path) -> None:
        """An encrypted key is refused at once: nobody is asked for its password."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        certificate, key = Authority(tmp_path).issue("a")
        key.write_bytes(
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"password"),
            )
        )
        with pytest.raises(CredentialsError, match="encrypted"):
            from_configuration(configuration(host="https://a", cert_file=str(certificate), key_file=str(key)))

    def test_repr(self) -> None:
        """The repr names the server, never the token."""
        text = repr(from_configuration(configuration(value="Bearer s3cret")))
        assert "<Credentials for http://api.example:8080 from a kubernetes_asyncio Configuration>" == text


def test_the_runtime_does_not_import_kubernetes_asyncio() -> None:
    """Neither kubernetes_asyncio (72 MiB) nor a YAML parser is imported before a kubeconfig is read."""
    modules = sorted(path.stem for path in Path(under_test.__file__).parent.glob("[a-z]*.py"))
    program = "\n".join(
        [
            "import importlib, sys",
            *(f"importlib.import_module('nodeipam.runtime.{name}')" for name in modules),
            "print(sorted({'kubernetes_asyncio', 'yaml'} & set(sys.modules)))",
        ]
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "[]\n" == run.stdout
