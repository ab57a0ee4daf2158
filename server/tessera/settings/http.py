"""Connections of the gateway's clients."""

from __future__ import annotations

from ipaddress import ip_network

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from tessera.settings.lists import listed


class HttpSettings(BaseSettings):
    """What one connection may send, how long it may take for it, and how many there may be."""

    max_head_bytes: int = Field(65_536, gt=0, description="Largest request line and headers together.")
    max_headers: int = Field(128, gt=0, description="Most headers of a request.")
    head_timeout_s: float = Field(20.0, gt=0, description="Longest arrival of a request's head.")
    body_gap_timeout_s: float = Field(60.0, gt=0, description="Longest gap in the arrival of a request's body.")
    body_timeout_s: float = Field(600.0, gt=0, description="Longest arrival of a request's body, gaps or not.")
    client_stall_s: float = Field(
        60.0,
        gt=0,
        description="How long a client may take nothing of an answer that waits for it before it is cut off.",
    )
    # Clients and balancers keep idle connections for 60 to 90 s: what they send as the other side closes is lost.
    keep_alive_timeout_s: float = Field(120.0, gt=0, description="How long connections are kept between requests.")
    max_connections: int = Field(
        16_384, gt=0, description="Most open connections; fewer where the limit on file descriptors demands it."
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses and networks of proxies (10.0.0.0/8), separated by commas, whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed; empty: none.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _check_trusted_proxies(cls, value: str) -> str:
        # What uvicorn cannot read it takes for a name, and then believes nobody without a word.
        for item in listed(value):
            try:
                ip_network(item)
            except ValueError:
                raise ValueError(f"{item!r} is neither an address nor a network, such as 10.0.0.0/8") from None
        return value

    def believed_proxies(self) -> list[str]:
        """Those of ``TESSERA_TRUSTED_PROXIES``, one by one."""
        return listed(self.trusted_proxies)
