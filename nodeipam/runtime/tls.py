"""How the server is verified, and with which certificate we present ourselves.

Every context verifies the server's certificate and name, against a CA or the system's; there is no switch.
"""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from .errors import CredentialsError

__all__ = ["TLSFiles", "fingerprint", "tls_context", "with_certificate"]


def tls_context(ca: str | None = None, *, data: str = "") -> ssl.SSLContext:
    """A context that trusts the CAs in `data` (PEM) or in file `ca`, or the system's when both are empty.

    Two flags differ from Python's defaults, towards what Go's programs accept: VERIFY_X509_STRICT (set since
    3.13) refuses the CAs of many clusters, and a root that is an intermediate CA is trusted (as since 3.13).

    Raises:
        OSError: `ca` can't be read, or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    if data:
        context.load_verify_locations(cadata=data)
    elif ca:
        context.load_verify_locations(cafile=ca)
    else:
        context.load_default_certs()
    return context


def with_certificate(ca: str | None, pem: bytes) -> ssl.SSLContext:
    """A context that presents the certificate in `pem`, which holds its private key too.

    OpenSSL reads certificates only from files, so `pem` lies in one (mode 0600) for as long as that takes.

    Raises:
        OSError: the certificate and key can't be used.
    """
    context = tls_context(ca)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name, password=_no_password)
    return context


class TLSFiles:
    """A context made of files, and made anew once these have changed.

    Raises:
        CredentialsError: the files can't be read, or don't fit together.
    """

    __slots__ = ("_seen", "context", "files")

    def __init__(
        self, *, ca: str | None = None, certificate: str | None = None, key: str | None = None
    ) -> None:
        self.files = (ca, certificate, key)
        self.context: ssl.SSLContext
        self._seen: tuple[object, ...] = ()
        self.reload()

    def __repr__(self) -> str:
        ca, certificate, key = self.files
        return f"<TLSFiles ca={ca} certificate={certificate} key={key}>"

    def reload(self) -> None:
        """Make a new `context` if a file has changed. After an error the old one stays, for the next try.

        Raises:
            CredentialsError: the files can't be read, or don't fit together (yet: they come one by one).
        """
        ca, certificate, key = self.files
        try:
            seen = tuple(fingerprint(path) for path in self.files if path)
            if self._seen and seen == self._seen:
                return
            context = tls_context(ca)
            if certificate:
                context.load_cert_chain(certificate, key, password=_no_password)
        except OSError as error:
            named = ", ".join(path for path in self.files if path) or "the system's CAs"
            raise CredentialsError(f"can't load certificates from {named}: {error}") from error
        self.context, self._seen = context, seen


def fingerprint(path: str) -> tuple[int, int, int]:
    """What tells that a file was replaced or written; symbolic links are followed.

    Raises:
        OSError: there is no such file.
    """
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    # Without this, OpenSSL would ask on the terminal.
    raise CredentialsError(
        "the private key is encrypted: remove its password, since nobody is there to type it"
    )
