"""One etcd and one kube-apiserver, for a whole test run.

The server listens on loopback with RBAC on. It knows the users of `USERS` by token; a ServiceAccount's token
is asked of it, as a kubelet would. Its audit log tells what the users of `AUDITED` and ServiceAccounts did.
"""

import json
import secrets
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.controlplane.binaries import Binaries
from tests.e2e.controlplane.processes import Process, free_port, tail

# user -> groups. `limited` and `other` have no rights until a test binds some to them.
USERS: Mapping[str, tuple[str, ...]] = {
    "admin": ("system:masters",),
    "observer": ("system:masters",),
    "controller": ("system:masters",),
    "first": ("system:masters",),
    "second": ("system:masters",),
    "third": ("system:masters",),
    "limited": (),
    "other": (),
}

# One for each replica, where a test asks who did what.
AUDITED = ("first", "second", "third")

_AUDITED_WRITES = ("create", "update", "patch", "delete")
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Request", "users": AUDITED, "verbs": _AUDITED_WRITES},
        {"level": "Metadata", "users": AUDITED},
        {"level": "Request", "userGroups": ["system:serviceaccounts"], "verbs": _AUDITED_WRITES},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}


class ControlPlane:
    """etcd and kube-apiserver with their keys, tokens and logs in one folder.

    With `audited` the API server keeps an audit log, of which whoever has an answer finds it there; that has
    its price, so benchmarks go without. A folder may hold the data of a plane that was stopped: see `keep`.

    `start` returns once the server is ready; if it never is, it raises RuntimeError
    with the end of the log.
    """

    def __init__(self, binaries: Binaries, folder: Path, *, audited: bool = True) -> None:
        folder = folder.resolve()  # the addresses of sockets are absolute
        self.binaries = binaries
        self.folder = folder
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.tokens = {user: secrets.token_hex(16) for user in USERS}
        self.ca_file = folder / "certificates" / "apiserver.crt"
        self.audit_file = folder / "audit.jsonl"
        self._policy_file = folder / "audit-policy.yaml"
        self._audited = audited
        self._etcd_url = f"unix://{folder}/etcd.sock"
        self.etcd = Process("etcd", self._etcd_argv(), log=folder / "etcd.log")
        self.apiserver = Process("kube-apiserver", self._apiserver_argv(), log=folder / "kube-apiserver.log")

    def __repr__(self) -> str:
        return f"<ControlPlane {self.url} {self.apiserver!r} {self.etcd!r}>"

    def start(self) -> None:
        """Start both and wait until the API server is ready (about 4 s)."""
        self._write_keys()
        self._policy_file.write_text(json.dumps(_AUDIT_POLICY))  # JSON is YAML
        self.etcd.start()
        self.start_apiserver()

    def stop(self) -> None:
        """End both. Nothing of what they held is kept."""
        self.apiserver.stop(signal.SIGKILL)
        self.etcd.stop(signal.SIGKILL)

    def keep(self) -> Path:
        """End both in good order; returns the folder of what they held, `etcd` in another plane's folder."""
        self.apiserver.stop(signal.SIGKILL)
        self.etcd.stop(signal.SIGTERM, within=30.0)
        return self.folder / "etcd"

    def start_apiserver(self, *, within: float = 30.0) -> None:
        """Start the API server (again) on the same port and data, and wait until it is ready.

        It blocks, and not in a thread by purpose: the server dies with the thread that starts it.
        """
        self.apiserver.start()
        self._wait_ready(within)

    def stop_apiserver(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the API server; etcd and its data stay."""
        self.apiserver.stop(number, within=20.0)

    def freeze(self) -> None:
        """Stop the API server's process in its tracks: connections stay open, nothing is answered."""
        self.apiserver.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen API server go on."""
        self.apiserver.send(signal.SIGCONT)

    def ensure_running(self) -> None:
        """Whatever a test did to the API server: it is ready afterwards."""
        if self.apiserver.running:
            self.thaw()
            self._wait_ready(30.0)
        else:
            self.start_apiserver()

    def kubeconfig(self, user: str, *, server: str | None = None) -> Path:
        """Write a kubeconfig file for a user of `USERS`; `server`: another URL, such as a proxy's."""
        return self.kubeconfig_for_token(user, self.tokens[user], server=server)

    def kubeconfig_for_token(self, name: str, token: str, *, server: str | None = None) -> Path:
        """Write a kubeconfig file for the bearer of a token."""
        url = server or self.url
        cluster: dict[str, Any] = {"server": url}
        if url.startswith("https:"):
            cluster["certificate-authority"] = str(self.ca_file)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path = self.folder / f"kubeconfig-{name}-{secrets.token_hex(4)}.yaml"
        path.write_text(json.dumps(config, indent=2))  # JSON is YAML
        return path

    def tls(self) -> ssl.SSLContext:
        """A context that trusts this server's certificate."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        # The default from Python 3.13 on refuses the certificate that the server makes for itself.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def report(self, lines: int = 60) -> str:
        """The ends of both logs."""
        logs = ((process, tail(process.log, lines)) for process in (self.etcd, self.apiserver))
        return "\n".join(f"--- {process!r}\n{text}" for process, text in logs)

    def _etcd_argv(self) -> list[str]:
        peers = f"unix://{self.folder}/peer.sock"
        return [
            str(self.binaries.etcd),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _apiserver_argv(self) -> list[str]:
        return [
            str(self.binaries.apiserver),
            f"--etcd-servers={self._etcd_url}",
            f"--cert-dir={self.folder / 'certificates'}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--service-cluster-ip-range=172.30.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self.folder / 'service-accounts.key'}",
            f"--service-account-key-file={self.folder / 'service-accounts.pub'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--shutdown-watch-termination-grace-period=0s",
            "--profiling=false",
            *(self._audit_argv() if self._audited else ()),
        ]

    def _audit_argv(self) -> list[str]:
        return [
            f"--audit-policy-file={self._policy_file}",
            f"--audit-log-path={self.audit_file}",
            "--audit-log-mode=blocking-strict",  # whoever has an answer finds it in the log
        ]

    def _write_keys(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        (self.folder / "service-accounts.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (self.folder / "service-accounts.pub").write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        rows = [f'{self.tokens[user]},{user},{user},"{",".join(groups)}"' for user, groups in USERS.items()]
        (self.folder / "tokens.csv").write_text("\n".join(rows) + "\n")

    def _wait_ready(self, within: float) -> None:
        end = time.monotonic() + within
        while not self._ready():
            for process in (self.etcd, self.apiserver):
                if not process.running:
                    raise RuntimeError(f"{process!r} ended:\n{tail(process.log, 30)}")
            if time.monotonic() > end:
                raise RuntimeError(f"kube-apiserver isn't ready after {within:g} s\n{self.report(30)}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        if not self.ca_file.exists():
            return False
        request = urllib.request.Request(
            f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.tokens['admin']}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=2.0, context=self.tls()) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError, ssl.SSLError):
            return False
