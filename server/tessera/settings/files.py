"""Files that clients upload."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB


class FileSettings(BaseSettings):
    """Where they are kept, for how long, and how much a tenant may have of them."""

    files_store_url: str = Field(
        "",
        pattern=r"^((file:///|s3://[^/]).+)?$",
        description="Where files are kept: `file:///…`, a directory that all gateways see, or object storage as "
        "`s3://bucket/prefix` (credentials and endpoint as usual, `AWS_…`); empty: nowhere, but beside its embedded "
        "Redis `tessera up` has a directory of its own.",
    )
    files_request_timeout_s: float = Field(60.0, gt=0, description="Longest request to the object storage of files.")
    files_max_bytes: int = Field(512 * MIB, gt=0, description="Largest file.")
    files_max_bytes_per_tenant: int = Field(10_240 * MIB, gt=0, description="What a tenant's files may take together.")
    files_max_per_tenant: int = Field(10_000, gt=0, description="Most files and unfinished uploads of a tenant.")
    files_ttl_s: int = Field(
        2_592_000, gt=0, description="How long a file is kept; a client may ask for less with `expires_after`."
    )
    files_upload_ttl_s: int = Field(3600, gt=0, description="How long the parts of an upload may take to come.")
    files_body_timeout_s: float = Field(3600.0, gt=0, description="Longest arrival of a file, or of a part of one.")
