"""The base of everything that is read from a JSON or YAML document: records, manifests, suites, the leaderboard."""

from __future__ import annotations

import pydantic


class Part(pydantic.BaseModel):
    """A part of a document. An unknown key is an error, and so is a number that is not finite; nothing can be set."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
