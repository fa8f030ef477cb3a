"""The canonical form of a record, and the hash that names its file.

Keys sorted, no spaces, ASCII, one trailing newline: equal content gives equal bytes, so that the SHA-256 of the bytes
is that of the content.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pydantic
import pydantic_core

from ncbench.leaderboard.intake.problems import RefusedError
from ncbench.records.record import Epoch, Group, Record

_VERSION = re.compile(rb'"schema_version"\s*:\s*1\s*[,}]')
_UNUSUAL = (b"\\", b"\t", b"\r", b" :")

# Only the required keys, which are there: to count too few costs time, to count too many would hide a double.
_GROUP_KEYS = sum(field.is_required() for field in Group.model_fields.values())
_EPOCH_KEYS = sum(field.is_required() for field in Epoch.model_fields.values())


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
        RefusedError: It is not JSON, a key appears twice, or it does not fit the schema.
    """
    try:
        # Strict: a count given as text is an error, not something to convert.
        record = Record.model_validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise RefusedError(".".join(map(str, first["loc"])), first["msg"]) from None
    except (ValueError, RecursionError) as error:
        raise RefusedError("", f"it is not JSON ({error})") from None
    # The schema has a default, and takes true and 1.0 for 1; a file must say what it is.
    if not _VERSION.match(data, max(data.rfind(b'"schema_version"'), 0)):
        raise RefusedError("schema_version", "it is missing, or not the integer 1")
    # Of a key that came twice the record keeps one. In text without escapes and without space before a colon, every key
    # ends in '":'; a value that looks like one only leads to the slow way. A hook on every object costs four times as
    # much as counting.
    if (
        data.find(b"\n") < len(data) - 1
        or any(unusual in data for unusual in _UNUSUAL)
        or data.count(b'":') != _count_keys(record)
    ):
        parse_any(data)
    return record


def parse_any(data: bytes) -> Any:
    """Parse JSON in any layout.

    Raises:
        RefusedError: It is not JSON, a key appears twice, or a number is not finite.
    """
    try:
        # The stricter parser first: it takes no NaN, no lone surrogates, nothing but UTF-8 and no deep nesting.
        pydantic_core.from_json(data, allow_inf_nan=False)
        return json.loads(data, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise RefusedError("", f"it is not JSON ({error})") from None


def require_canonical(data: bytes) -> None:
    """Refuse JSON in another layout than the canonical one.

    Raises:
        RefusedError: It is in another layout, or not JSON at all.
    """
    content = parse_any(data)
    try:
        same = canonical(content) == data
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise RefusedError("", "it is not in the canonical form (sorted keys, no spaces) that 'submit' writes")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RefusedError(twice, "the key appears twice")
    return found


def _count_keys(record: Record) -> int:
    """Return how many keys of the JSON are left in the record. The long parts are counted without a call an object."""
    count = len(record.model_fields_set)
    for groups in record.groups.values():
        count += 1 + _GROUP_KEYS * len(groups)
    for epoch in record.history:
        count += _EPOCH_KEYS + len(epoch.losses) + len(epoch.seconds) + len(epoch.metrics)
        count += sum(map(len, epoch.metrics.values()))
    short = [value for name, value in record if name not in {"groups", "history"}]
    return count + sum([_count_nested(value) for value in short])


def _count_nested(value: Any) -> int:
    """Return how many keys the JSON of a part has, at any depth."""
    if isinstance(value, pydantic.BaseModel):
        return len(value.model_fields_set) + sum([_count_nested(part) for _, part in value])
    if isinstance(value, dict):
        return len(value) + sum([_count_nested(part) for part in value.values()])
    if isinstance(value, list):
        return sum([_count_nested(part) for part in value])
    return 0
