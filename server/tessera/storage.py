"""Directories and object storage, in one way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore


def open_storage(url: str, *, timeout_s: float) -> ObjectStore:
    """A store for ``file:///path``, which is made where it is missing, or ``s3://bucket/prefix``.

    Credentials, region and endpoint of S3, or of what speaks its protocol, come from the environment, as its own tools
    take them (``AWS_ACCESS_KEY_ID``, ``AWS_REGION``, ``AWS_ENDPOINT_URL`` …), or from the machine's role.

    Args:
        url: where.
        timeout_s: longest request.

    Raises:
        ValueError: nothing that can be opened.
        OSError: the directory cannot be made.
    """
    # Not at the top: it takes a moment, and few need it.
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore, S3Store

    try:
        if url.startswith("file://"):
            return LocalStore(unquote(urlsplit(url).path), mkdir=True)
        limit = timedelta(seconds=timeout_s)
        # Without TLS only where the operator's own endpoint has none.
        client: ClientConfig = {"timeout": limit, "allow_http": True}
        return S3Store.from_url(url, client_options=client, retry_config={"max_retries": 2, "retry_timeout": limit})
    except BaseError as error:
        raise ValueError(str(error)) from error
