"""OpenID Connect tokens of a kubeconfig (`auth-provider: oidc`), and their renewal with a refresh token.

kubernetes_asyncio's own renewal sends client secret and refresh token without verifying the identity
provider's certificate, can't use a CA of its own, and reads tokens with the wrong base64 alphabet.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from .credentials import bearer, check_server
from .errors import CredentialsError
from .execplugin import Identity
from .logs import get_logger
from .renewal import Fetched
from .tls import tls_context

__all__ = ["OIDC", "OIDCSettings", "parse_settings"]

log = get_logger(__name__)

_LIMIT = 1024 * 1024
_SOON = 10.0
"""A stored token that is good for fewer seconds than this is renewed before it is used."""

Persist = Callable[[Mapping[str, str]], Awaitable[None]]


class OIDCSettings(msgspec.Struct, rename="kebab", kw_only=True, frozen=True):
    """The `config` of a kubeconfig's oidc auth-provider."""

    idp_issuer_url: str
    client_id: str
    client_secret: str = ""
    id_token: str = ""
    refresh_token: str = ""
    idp_certificate_authority: str = ""
    """Path of the identity provider's CA."""
    idp_certificate_authority_data: str = ""
    """The same as base64, which wins. The system's CAs when both are empty."""

    def __repr__(self) -> str:
        return f"<OIDCSettings of {self.client_id} at {self.idp_issuer_url}>"


def parse_settings(config: Any, *, origin: str, folder: str) -> OIDCSettings:
    """Read the `config` of an auth-provider. `folder` is the kubeconfig's, to which a relative path refers.

    Raises:
        CredentialsError: something is missing.
    """
    try:
        found = msgspec.convert(config, OIDCSettings)
    except msgspec.ValidationError as error:
        raise CredentialsError(f"{origin}: the config of auth-provider oidc is malformed: {error}") from None
    if not found.idp_certificate_authority:
        return found
    return msgspec.structs.replace(
        found, idp_certificate_authority=str(Path(folder, found.idp_certificate_authority))
    )


class _Endpoints(msgspec.Struct):
    token_endpoint: str


class _Tokens(msgspec.Struct):
    id_token: str = ""
    refresh_token: str = ""


class _Claims(msgspec.Struct):
    exp: float | None = None


@dataclass(kw_only=True, slots=True)
class OIDC:
    """The identity behind an id-token: the stored one first, then those that the provider issues.

    `persist` is given the new tokens, since many providers accept a refresh token only once.
    """

    settings: OIDCSettings
    origin: str
    """The kubeconfig and user that it comes from, for messages."""
    persist: Persist = field(repr=False)
    timeout: float = 30.0
    """Seconds that a renewal may take."""
    _asked: bool = field(default=False, init=False)

    async def fetch(self) -> Fetched[Identity]:
        """The stored token when first asked, if it is still good; a new one otherwise.

        Raises:
            CredentialsError: there is no good token, and no way to get one.
        """
        first, self._asked = not self._asked, True
        stored = self.settings.id_token
        if stored and first:
            lifetime = self._lifetime(stored)
            if lifetime is None or lifetime > _SOON:
                return self._identity(stored, lifetime)
        if not self.settings.refresh_token:
            raise CredentialsError(
                f"{self.origin}: the id-token is missing, expired or refused, and there is no refresh-token: "
                "log in again"
            )
        token = await self._renew()
        return self._identity(token, self._lifetime(token))

    def _identity(self, token: str, lifetime: float | None) -> Fetched[Identity]:
        return Fetched(Identity(headers=bearer(token, f"{self.origin}: id-token")), lifetime)

    def _lifetime(self, token: str) -> float | None:
        """Seconds until the JWT's `exp`; None if it has none."""
        try:
            _, claims, _ = token.split(".")
            padded = claims + "=" * (-len(claims) % 4)
            end = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Claims).exp
        except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
            raise CredentialsError(f"{self.origin}: the id-token isn't a JSON Web Token") from None
        return None if end is None else end - datetime.now(UTC).timestamp()

    async def _renew(self) -> str:
        try:
            async with asyncio.timeout(self.timeout), self._session() as session:
                tokens = await self._tokens(session)
        except (aiohttp.ClientError, OSError, ValueError, msgspec.DecodeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            new = {"id-token": tokens.id_token, "refresh-token": tokens.refresh_token}
            new = {name: value for name, value in new.items() if value}
            self.settings = msgspec.convert({**msgspec.to_builtins(self.settings), **new}, OIDCSettings)
            await self._save(new)
            return tokens.id_token
        # Raised out here without its cause, which knows the request and so the secrets.
        raise CredentialsError(
            f"{self.origin}: {self.settings.idp_issuer_url} didn't renew the id-token ({reason})"
        )

    def _session(self) -> aiohttp.ClientSession:
        data = base64.b64decode(self.settings.idp_certificate_authority_data)
        context = tls_context(ca=self.settings.idp_certificate_authority or None, data=data.decode())
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,  # the identity provider may be outside, behind the proxy of the environment
        )

    async def _tokens(self, session: aiohttp.ClientSession) -> _Tokens:
        issuer = check_server(self.settings.idp_issuer_url.rstrip("/"), f"{self.origin}: idp-issuer-url")
        async with session.get(f"{issuer}/.well-known/openid-configuration", allow_redirects=False) as answer:
            found = msgspec.json.decode(await _body(answer), type=_Endpoints)
        endpoint = check_server(found.token_endpoint, "the identity provider's token_endpoint")
        if urlsplit(issuer).scheme == "https" != urlsplit(endpoint).scheme:
            raise ValueError(f"its token_endpoint {endpoint} isn't https")
        form = {"grant_type": "refresh_token", "refresh_token": self.settings.refresh_token}
        headers = {}
        client, secret = self.settings.client_id, self.settings.client_secret
        if secret:  # RFC 6749, 2.3.1
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form["client_id"] = client
        async with session.post(endpoint, data=form, headers=headers, allow_redirects=False) as answer:
            tokens = msgspec.json.decode(await _body(answer), type=_Tokens)
        if not tokens.id_token:
            raise ValueError("the answer has no id_token")
        return tokens

    async def _save(self, tokens: Mapping[str, str]) -> None:
        try:
            await self.persist(tokens)
        except OSError as error:
            log.warning(
                "can't store the renewed tokens in the kubeconfig", origin=self.origin, error=str(error)
            )


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = b""
    while chunk := await answer.content.read(_LIMIT):
        body += chunk
        if len(body) > _LIMIT:
            raise ValueError(f"the answer is longer than {_LIMIT} bytes")
    if answer.status != 200:
        raise ValueError(f"the answer to {answer.method} {answer.url.path} is {answer.status}")
    return body
