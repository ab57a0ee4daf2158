"""Refusals of images, videos and sounds, and failures of what prepares and keeps them."""

from __future__ import annotations

from tessera.errors.rejections import InvalidRequest, Overloaded, Unavailable


class UnsupportedPart(InvalidRequest):
    """A content part of a type that the server does not know."""

    code = "unsupported_content_part"


class UnsupportedModality(InvalidRequest):
    """A content part of a modality that the model does not take."""

    code = "unsupported_modality"


class TooManyParts(InvalidRequest):
    """More media parts than the model allows in one request."""

    code = "too_many_media_parts"


class VisualBudgetTooSmall(InvalidRequest):
    """Fewer tokens are allowed for an image than its model can make of it."""

    code = "visual_budget_too_small"


class InvalidMedia(InvalidRequest):
    """Media that is pointed at in a way that leads nowhere: a malformed URL or data URL, text that is not base64."""

    code = "invalid_media"


class MediaTypeMismatch(InvalidMedia):
    """Media that is of another kind than its part or its media type says, or of none that is read."""

    code = "media_type_mismatch"


class MediaDecodeFailed(InvalidMedia):
    """Media that is damaged or cut short, of a kind that is not read, or that the decoder crashes on."""

    code = "media_decode_failed"


class MediaDecodeTimeout(InvalidRequest):
    """Media that takes longer to decode than ``TESSERA_MEDIA_DECODE_TIMEOUT_S``: a limit of the server's.

    No 503: clients that send again what got one would have it decoded as long again.
    """

    code = "media_decode_timeout"


class MediaTooLarge(InvalidRequest):
    """Media above a limit in bytes or pixels, or of more parts than one needs."""

    code = "media_too_large"


class MediaTooLong(MediaTooLarge):
    """Media above a limit in seconds or frames."""

    code = "media_too_long"


class MediaFetchFailed(InvalidRequest):
    """A media URL that cannot be fetched: unreachable, refused, redirecting without end or an HTTP error."""

    code = "media_fetch_failed"


class MediaFetchBlocked(MediaFetchFailed):
    """A media URL, or one that it redirects to, that leads where this server does not fetch from."""

    code = "media_fetch_blocked"


class MediaFetchTimeout(MediaFetchFailed):
    """A media URL that did not answer in full within ``TESSERA_MEDIA_FETCH_TIMEOUT_S``."""

    code = "media_fetch_timeout"


class MediaMemoryFull(Overloaded):
    """Media that is fetched or decoded takes all of ``TESSERA_MAX_MEDIA_BYTES_IN_MEMORY``."""

    code = "media_memory_full"


class MediaStoreUnavailable(Unavailable):
    """The Redis that keeps decoded media cannot be reached."""

    code = "media_store_unavailable"


class MediaStoreFull(Unavailable):
    """The media store has no room (``TESSERA_MEDIA_STORE_MAX_BYTES``)."""

    code = "media_store_full"


class MediaDecoderUnavailable(Unavailable):
    """No process to decode media in can be started."""

    code = "media_decoder_unavailable"
