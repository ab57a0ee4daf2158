"""Who asks: by the key in a request's head, before anything of its body is read."""

from __future__ import annotations

import hmac
from copy import deepcopy
from typing import Any

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from tessera.errors import AdministrationOff, InvalidAPIKey, TesseraError
from tessera.gateway.dialect import dialect_of
from tessera.gateway.schema import described
from tessera.settings import DEFAULT_TENANT, Settings
from tessera.telemetry import http
from tessera.tenants import KeyRing

log = structlog.get_logger()

# Whoever probes or scrapes has no key; all else needs one, also what is not there.
PROBES = frozenset({"/livez", "/readyz", "/health", "/ping"})
METRICS = frozenset({"/metrics", "/sd/workers"})
# All below it asks for the operator's own key, also what is not there, and where clients need none.
ADMINISTRATION = "/admin"
# As vLLM spells them.
ADAPTERS = frozenset({"/v1/load_lora_adapter", "/v1/unload_lora_adapter"})
_SCHEME = b"bearer"
_SCHEMES = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "Key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def open_paths(settings: Settings) -> frozenset[str]:
    """Paths that answer without a key."""
    return PROBES if settings.metrics_auth else PROBES | METRICS


class Authentication:
    """ASGI middleware that puts the name of who asks into ``scope["state"]["tenant"]``, or answers 401.

    Args:
        keys: where it requires none, all are the tenant ``default``.
        exempt: paths, as they are routed, that need no key.
        admin_key: opens what is below ``/admin``; empty: nothing does.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, exempt: frozenset[str], admin_key: str):
        self._app = app
        self._keys = keys
        self._exempt = exempt
        self._admin_key = admin_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "lifespan":
            state = scope.setdefault("state", {})
            try:
                if is_administration(scope["path"]):
                    self._check_operator(scope["headers"])
                elif not self._keys.required:
                    state["tenant"] = DEFAULT_TENANT
                elif scope["path"] not in self._exempt:
                    state["tenant"] = self._identify(scope["headers"])
                    bind_contextvars(tenant=state["tenant"])
            except (InvalidAPIKey, AdministrationOff) as error:
                await self._refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refuse(self, error: TesseraError, scope: Scope, receive: Receive, send: Send) -> None:
        http.requests_refused.labels(error.code).inc()
        client = scope["client"][0] if scope.get("client") else None
        log.info("request_refused", status=error.status, code=error.code, client=client)
        body = dialect_of(scope["path"]).body(error)
        await JSONResponse(body, error.status, error.headers())(scope, receive, send)

    def _check_operator(self, headers: list[tuple[bytes, bytes]]) -> None:
        if not self._admin_key:
            raise AdministrationOff("This server has no administration: its operator has not set TESSERA_ADMIN_KEY.")
        keys = [key for name, value in headers if (key := _key_in(name, value))]
        if not keys or not all(hmac.compare_digest(key, self._admin_key) for key in keys):
            raise InvalidAPIKey("This path asks for the operator's key: `Authorization: Bearer KEY`, or `x-api-key`.")

    def _identify(self, headers: list[tuple[bytes, bytes]]) -> str:
        keys = [key for name, value in headers if (key := _key_in(name, value))]
        if not keys:
            raise InvalidAPIKey(
                "The request has no API key. Send one as `Authorization: Bearer KEY`, or as `x-api-key`."
            )
        tenants = {self._keys.tenant_of(key) for key in keys}
        # Of several keys none may be wrong, and all have to be one tenant's: it is not for the server to choose.
        tenant = tenants.pop()
        if tenant is None or tenants:
            raise InvalidAPIKey("The request's API key is not valid here.")
        return tenant


def is_administration(path: str) -> bool:
    """Whether it is the operator's alone."""
    return path == ADMINISTRATION or path.startswith(f"{ADMINISTRATION}/") or path in ADAPTERS


def _key_in(name: bytes, value: bytes) -> bytes | None:
    """The key in a header, where it is one for keys. Another scheme than Bearer may be a proxy's."""
    if name == b"x-api-key":
        return value.strip() or None
    if name == b"authorization":
        scheme, _, key = value.strip().partition(b" ")
        return key.strip() or None if scheme.lower() == _SCHEME else None
    return None


def describe_keys(api: dict[str, Any]) -> None:
    """Put into the description of the API how keys are sent, and to what."""
    api.setdefault("components", {})["securitySchemes"] = _SCHEMES
    answer = described("No API key, or none that is valid, where the server asks for one.")
    for path, operations in api["paths"].items():
        if path in PROBES:
            continue
        for operation in operations.values():
            # The last one: not every server asks its clients for a key.
            anybody: list[dict[str, list[str]]] = [] if is_administration(path) else [{}]
            operation["security"] = [*({name: []} for name in _SCHEMES), *anybody]
            operation["responses"]["401"] = deepcopy(answer)
