"""Texts from outside, made fit for a wire, a line, a terminal."""

from __future__ import annotations

from tiered_llm.errors import TieredLLMError

_ERROR_CHARS = 500


def sendable(text: str) -> str:
    """The text without lone surrogates, which no wire takes."""
    return text.encode("utf-8", errors="replace").decode()


def in_one_line(text: str) -> str:
    """The text in one line, without what would move a terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def harmless(text: str) -> str:
    """The text with its lines and tabs, without what would command a terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def error_line(error: Exception) -> str:
    """An error in one line: ours in its own words, another's with its class."""
    said = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    said = said.replace(":; ", ": ")
    told = said if isinstance(error, TieredLLMError) else f"{type(error).__name__}: {said}"
    line = in_one_line(told)
    return line if len(line) <= _ERROR_CHARS else f"{line[: _ERROR_CHARS - 1]}…"


def error_text(error: Exception) -> str:
    """An error as a person reads it: ours with its lines, one for each attempt."""
    return harmless(str(error)) if isinstance(error, TieredLLMError) else error_line(error)


def counted(count: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
