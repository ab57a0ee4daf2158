"""What can go wrong with other names of models."""

from __future__ import annotations

from tessera.errors.rejections import InvalidRequest


class AliasMissing(InvalidRequest):
    """Nobody has set an alias of that name."""

    status = 404
    code = "alias_not_found"


class AliasesQuotaExceeded(InvalidRequest):
    """There are ``TESSERA_MAX_ALIASES``."""

    status = 429
    code = "aliases_quota_exceeded"
