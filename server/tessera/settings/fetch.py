"""Media URLs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings


class FetchSettings(BaseSettings):
    """Where media may be fetched from, and how."""

    media_fetch_timeout_s: float = Field(
        10.0, gt=0, description="Longest download of one media URL, with all that it redirects to."
    )
    media_max_redirects: int = Field(3, ge=0, le=20, description="Redirects that are followed; 0: none.")
    media_allow_private_networks: bool = Field(False, description="Fetch media URLs from non-public addresses.")
    media_allowed_ports: str = Field(
        "",
        pattern=r"^(\*|\d{1,5}( *, *\d{1,5})*)?$",
        description="Ports that media is fetched from, separated by commas; `*`: all; empty: 80 and 443, and all where "
        "non-public addresses are allowed.",
    )
    media_allowed_hosts: str = Field(
        "",
        description="Hosts that media is fetched from, separated by commas; `.example.com`: all below it; empty: all.",
    )
    media_denied_hosts: str = Field(
        "", description="Hosts that no media is fetched from, in the same form; they go before the allowed ones."
    )
    media_proxy: str = Field(
        "",
        description="HTTP proxy that media is fetched through, as `http://user:password@host:port`. It then has to see "
        "to it that names do not lead to non-public addresses.",
    )
    media_buckets: str = Field(
        "",
        pattern=r"^( *(s3|gs)://[^,\s]+ *(, *(s3|gs)://[^,\s]+ *)*)?$",
        description="Buckets, or parts of them, from which `s3://` and `gs://` URLs are read with this server's own "
        "access, separated by commas: `s3://photos,gs://clips/public`. Whoever may use the server may read them. "
        "Empty: none.",
    )
    media_headers_file: Path | None = Field(
        None,
        description="JSON file of headers for single hosts, such as "
        '`{"images.example.com": {"Authorization": "Bearer …"}}`.',
    )
