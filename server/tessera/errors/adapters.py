"""What can go wrong with LoRA adapters."""

from __future__ import annotations

from tessera.errors.rejections import InvalidRequest, Unavailable


class AdapterMissing(InvalidRequest):
    """No adapter of that name is loaded."""

    status = 404
    code = "adapter_not_found"


class AdapterLoaded(InvalidRequest):
    """An adapter of that name is loaded, and was not to be replaced."""

    code = "adapter_already_loaded"


class AdaptersUnsupported(InvalidRequest):
    """The model's workers were started without ``--enable-lora``."""

    code = "adapters_unsupported"


class AdapterNotLoaded(InvalidRequest):
    """A worker's engine refuses the adapter, in its own words."""

    code = "adapter_not_loaded"


class AdaptersQuotaExceeded(InvalidRequest):
    """There are ``TESSERA_MAX_ADAPTERS``."""

    status = 429
    code = "adapters_quota_exceeded"


class AdapterPending(Unavailable):
    """Some worker has not done it yet; it goes on."""

    code = "adapter_pending"


class AdapterUnavailable(Unavailable):
    """The worker that took the request cannot load the adapter now."""

    code = "adapter_unavailable"
