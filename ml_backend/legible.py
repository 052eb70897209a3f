"""Text of strangers, made fit to be seen: class names, titles, notes, reasons.

Knows Unicode. Escaping is no business of its own: templates and the SVG writer do that.
"""

from __future__ import annotations

import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Besides control characters: what turns, hides or joins the text around it. A class name with a
# right-to-left override would otherwise rewrite the line that it stands in.
_TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
_HIDDEN = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}


def legible(text: object, limit: int = 200) -> str:
    """Return a text on one line, at most `limit` characters long, without characters that act.

    Control and direction characters become U+FFFD, so that one sees that something was there;
    line breaks and tabs become spaces.
    """
    shown = "".join(_shown(character) for character in str(text)[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _shown(character: str) -> str:
    if character in "\t\n\r":
        return " "
    acts = unicodedata.category(character) in _HIDDEN or ord(character) in _TURNING
    return REPLACEMENT if acts else character
