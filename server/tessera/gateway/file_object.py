"""Files and uploads as OpenAI's API shows them, and what a client says of them."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, Field

from tessera.errors import InvalidRequest, MissingField
from tessera.files import File, Upload
from tessera.files.uploads import Part

# OpenAI's.
PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")


class FileObject(BaseModel):
    """A file."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int = Field(description="Unix time in seconds, as is `expires_at`.")
    expires_at: int
    filename: str
    purpose: str
    status: str = "processed"

    @classmethod
    def of(cls, file: File) -> FileObject:
        """As clients see it."""
        times = {"created_at": file.created_s, "expires_at": file.expires_s}
        return cls(id=file.id, bytes=file.nbytes, filename=file.filename, purpose=file.purpose, **times)


class FileList(BaseModel):
    """Some of the files."""

    object: str = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(BaseModel):
    """A file that was deleted."""

    id: str
    object: str = "file"
    deleted: bool = True


class UploadObject(BaseModel):
    """A file that comes in parts."""

    id: str
    object: str = "upload"
    bytes: int = Field(description="What the file is to have.")
    created_at: int = Field(description="Unix time in seconds, as is `expires_at`.")
    expires_at: int
    filename: str
    purpose: str
    status: str = Field(description="`pending`, `completed` or `cancelled`.")
    file: FileObject | None = Field(description="Once it is completed.")

    @classmethod
    def of(cls, upload: Upload) -> UploadObject:
        """As clients see it."""
        known: dict[str, Any] = {"id": upload.id, "bytes": upload.nbytes, "filename": upload.filename}
        times = {"created_at": upload.created_s, "expires_at": upload.expires_s}
        file = None if upload.file is None else FileObject.of(upload.file)
        status = "pending" if upload.status == "completing" else upload.status
        return cls(**known, **times, purpose=upload.purpose, status=status, file=file)


class PartObject(BaseModel):
    """A part of an upload."""

    id: str
    object: str = "upload.part"
    created_at: int
    upload_id: str

    @classmethod
    def of(cls, part: Part) -> PartObject:
        """As clients see it."""
        return cls(id=part.id, created_at=part.created_s, upload_id=part.upload_id)


def read_purpose(given: Any) -> str:
    """What a file is for.

    Raises:
        MissingField, InvalidRequest
    """
    if given is None:
        raise MissingField(f"`purpose` must be one of {', '.join(PURPOSES)}.", param="purpose")
    if given not in PURPOSES:
        raise InvalidRequest(f"`purpose` must be one of {', '.join(PURPOSES)}.", param="purpose")
    return str(given)


def read_ttl(anchor: Any, seconds: Any, longest_s: int) -> int:
    """How long a file is to be kept, in seconds, by OpenAI's ``expires_after``.

    Args:
        seconds: a number, or a text as a form has it.

    Raises:
        InvalidRequest
    """
    if anchor is None and seconds is None:
        return longest_s
    if anchor != "created_at":
        raise InvalidRequest("`expires_after.anchor` must be `created_at`.", param="expires_after.anchor")
    if isinstance(seconds, str) and re.fullmatch(r"[0-9]{1,12}", seconds, re.ASCII):
        seconds = int(seconds)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= longest_s:
        raise InvalidRequest(
            f"`expires_after.seconds` must be a whole number from 1 to {longest_s}.", param="expires_after.seconds"
        )
    return seconds
