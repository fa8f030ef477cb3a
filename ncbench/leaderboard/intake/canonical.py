"""The canonical form of a record, and the hash that names its file.

Keys sorted, no spaces, ASCII, one trailing newline: equal content gives equal bytes, so that the SHA-256 of the bytes
is that of the content.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pydantic

from ncbench.data.files import first_fault
from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.records.archive import parse_json, refuse_too_many_entries
from ncbench.records.record import Record


def canonical(content: Any) -> bytes:
    """Return the canonical bytes of parsed JSON.

    Raises:
        ValueError: A number is not finite.
        RecursionError: It is nested too deeply.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def content_hash(data: bytes) -> str:
    """Return the name of a record: the SHA-256 of its canonical bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def parse_record(data: bytes) -> Record:
    """Parse and validate a record in any layout.

    Raises:
        RefusedError: It is not JSON, has too many entries, a key appears twice, or it does not fit the schema.
    """
    try:
        refuse_too_many_entries(data)
        # Strict: a count given as text is an error, not something to convert.
        record = Record.model_validate_json(data, strict=True)
        # Of a key that came twice one is kept, so that written again the text has fewer quotation marks; other layouts
        # have as many, but for those that are escaped by number. To look at every key takes four times as long.
        if b"\\u0022" in data or data.count(b'"') != record.model_dump_json(exclude_unset=True).count('"'):
            parse_json(data)
    except pydantic.ValidationError as error:
        raise RefusedError(*first_fault(error)) from None
    except (ValueError, RecursionError) as error:
        raise RefusedError("", f"it is not JSON of a record ({error})") from None
    if "schema_version" not in record.model_fields_set:
        raise RefusedError("schema_version", "it is missing")  # the schema has a default; a file must say what it is
    return record


def is_canonical(data: bytes) -> bool:
    """Whether a record is written in the one way that gives its content a single hash."""
    return canonical(parse_json(data)) == data
