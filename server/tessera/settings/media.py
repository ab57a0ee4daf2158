"""The media stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from tessera.settings.units import MIB


class MediaSettings(BaseSettings):
    """What may be decoded, and how much of it is kept."""

    media_max_bytes: int = Field(32 * MIB, gt=0, description="Largest encoded image, video or audio.")
    media_max_image_pixels: int = Field(40_000_000, gt=0, description="Largest image.")
    media_max_video_s: float = Field(3600.0, gt=0, description="Longest video.")
    media_max_frame_pixels: int = Field(602_112, gt=0, description="Video frames above this are scaled down to it.")
    media_max_audio_s: float = Field(3600.0, gt=0, description="Longest audio.")
    media_max_text_bytes: int = Field(4 * MIB, gt=0, description="Largest text that comes as a file.")
    media_max_pages: int = Field(100, gt=0, le=4096, description="Most pages of a PDF document.")
    media_page_dpi: int = Field(
        144, gt=0, le=1200, description="Pixels an inch of a page; fewer where the model sees fewer."
    )
    media_max_page_pixels: int = Field(4_000_000, gt=0, description="Larger pages are painted in fewer pixels an inch.")
    media_decode_timeout_s: float = Field(
        60.0, gt=0, description="Longest decoding of one image, video or audio, or of one page of a PDF."
    )
    media_threads: int = Field(
        0, ge=0, description="Items decoded at once, beside one of the small ones; 0: one for each core."
    )
    media_sandbox: Literal["strict", "best_effort", "off"] = Field(
        "best_effort",
        description="Decode in confined processes. strict: the gateway does not start where the kernel cannot do all "
        "of it; best_effort: what it can; off: in threads of the gateway.",
    )
    media_sandbox_memory_bytes: int = Field(
        2048 * MIB, gt=0, description="Address space that one of these processes may take for media."
    )
    media_redis_url: str = Field(
        "",
        repr=False,
        description="Redis for decoded media, which needs no persistence; empty: TESSERA_REDIS_URL. User, password and "
        "certificates are those of the other one, unless the address says its own.",
    )
    media_store_max_bytes: int = Field(1024 * MIB, gt=0, description="Room for decoded media in Redis.")
    media_store_ttl_s: int = Field(
        600, gt=0, description="Media that no request needs is kept this long, or until its room is needed."
    )
    media_store_wait_s: float = Field(30.0, gt=0, description="Longest wait of a request for room in Redis.")
    media_transfer_timeout_s: float = Field(
        30.0, ge=0, description="Time to carry one item to or from Redis, beyond TESSERA_REDIS_TIMEOUT_S."
    )
    media_hold_lease_s: float = Field(
        60.0, gt=0, description="Media of a gateway that was silent this long may go when its room is needed."
    )
