"""Strangers' text comes out on one line, bounded, and without characters that act."""

from __future__ import annotations

from ml_backend.legible import legible


def test_ordinary_text_stays_as_it_is() -> None:
    assert legible("Größe <b> $5 日本 عربى 🐈") == "Größe <b> $5 日本 عربى 🐈"


def test_characters_that_turn_or_hide_text_show_as_a_mark() -> None:
    assert legible("a\u202eb\x00c\u2066d\ud800") == "a\ufffdb\ufffdc\ufffdd\ufffd"


def test_lines_become_one() -> None:
    assert legible("a\nb\tc") == "a b c"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert legible("x" * 10, 10) == "x" * 10
    assert legible("x" * 11, 10) == "x" * 9 + "…"
    assert legible(7) == "7"
