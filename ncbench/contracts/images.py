"""Where a dataset's images lie before they are decoded."""

from __future__ import annotations

from typing import Protocol


class ImageFile(Protocol):
    """The content of an image file: a path, or what lies inside another file, such as a row of a parquet file.

    Its ``str`` says where it is, for messages.
    """

    def read_bytes(self) -> bytes:
        """Return the encoded image; of what is no path, it may be called by several threads at once.

        Raises:
            DataError: The file around it is damaged.
        """
