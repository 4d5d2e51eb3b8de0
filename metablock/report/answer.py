"""What all answers are: data that does not change, with the keys that ``--json`` prints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """An answer of a verb, or a part of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
