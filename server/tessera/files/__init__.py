"""Files that clients upload once and refer to by id: their bytes in a store, all else in Redis, by tenant.

The public surface: callers import from here and from nowhere below.
"""

from tessera.files.directory import DirectoryStore
from tessera.files.files import Files, open_files
from tessera.files.incoming import Incoming
from tessera.files.record import File, Upload, is_file_id
from tessera.files.store import FileStore
from tessera.files.uploads import MOST_PART_BYTES, Uploads

__all__ = [
    "MOST_PART_BYTES",
    "DirectoryStore",
    "File",
    "FileStore",
    "Files",
    "Incoming",
    "Upload",
    "Uploads",
    "is_file_id",
    "open_files",
]
