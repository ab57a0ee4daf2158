"""What can go wrong with files and uploads."""

from __future__ import annotations

from tessera.errors.base import TesseraError
from tessera.errors.rejections import InvalidRequest, Unavailable


class FilesNotConfigured(TesseraError):
    """There is no ``TESSERA_FILES_STORE_URL``."""

    status = 501
    type = "invalid_request_error"
    code = "files_not_configured"


class FileMissing(InvalidRequest):
    """The tenant has no file of that id, or no longer."""

    status = 404
    code = "file_not_found"


class UploadMissing(InvalidRequest):
    """The tenant has no upload of that id, or no longer."""

    status = 404
    code = "upload_not_found"


class UploadNotPending(InvalidRequest):
    """The upload takes no more parts: it is completed, cancelled, or just being completed."""

    code = "upload_not_pending"


class UploadIncomplete(InvalidRequest):
    """The parts that an upload is to be made of are not what was announced."""

    code = "invalid_upload"


class InvalidForm(InvalidRequest):
    """A body that is not the ``multipart/form-data`` that the endpoint takes."""

    code = "invalid_multipart"


class OriginNotAllowed(InvalidRequest):
    """A form that a web page sends which may not."""

    status = 403
    code = "origin_not_allowed"


class FileTooLarge(InvalidRequest):
    """A file, or a part of an upload, above its limit."""

    status = 413
    code = "file_too_large"


class RangeNotSatisfiable(InvalidRequest):
    """A range of a file's content that is not in it."""

    status = 416
    code = "range_not_satisfiable"


class FilesQuotaExceeded(TesseraError):
    """The tenant has as many files, or bytes in them, as it may."""

    status = 429
    type = "insufficient_quota"
    code = "files_quota_exceeded"

    def headers(self) -> dict[str, str]:
        """As ever; OpenAI's clients, which send again what got a 429, are told that time alone changes nothing."""
        return {**super().headers(), "x-should-retry": "false"}


class FilesUnavailable(Unavailable):
    """The store of files does not take or give any at the moment."""

    code = "files_unavailable"
