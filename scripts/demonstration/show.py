"""The oracle's shift, and what its labels were worth."""

from __future__ import annotations
