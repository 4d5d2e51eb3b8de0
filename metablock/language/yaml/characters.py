"""The characters that a spec may contain."""

from __future__ import annotations

import re

# Control characters; YAML's exotic line breaks, which make our line numbers differ from an editor's; byte order marks inside
# the text; half surrogates; the marks that turn the direction of writing, with which a file shows other text than it holds.
FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|\r(?!\n)"
)


def forbidden(char: str) -> str:
    return f"the character U+{ord(char):04X} may not stand in a spec"
