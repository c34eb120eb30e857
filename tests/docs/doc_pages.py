"""Reading the project's Markdown: blocks of code, links, headings; each with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*(\S*)")
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_CODE = re.compile(r"`+[^`]+`+")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block; `line` is the number of its first line of text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks in order; an open one at the end of the page is an error."""
    found: list[Block] = []
    fence, language, start, inside = "", "", 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                text = "\n".join(inside) + "\n"
                found.append(Block(page=page, line=start, language=language, text=text))
                fence, inside = "", []
            else:
                inside.append(line)
        elif match := _FENCE.match(line):
            fence, language, start = match[1], match[2].lower(), number + 1
    assert not fence, f"{name_of(page)}:{start - 1}: the block is not closed"
    return found


def prose_of(page: Path) -> list[tuple[int, str]]:
    """The lines outside of blocks, with their numbers."""
    lines = page.read_text(encoding="utf-8").splitlines()
    inside = {
        number
        for block in blocks_of(page)
        for number in range(block.line - 1, block.line + block.text.count("\n") + 1)
    }
    return [(n, line) for n, line in enumerate(lines, start=1) if n not in inside]


def links_of(page: Path) -> list[tuple[int, str]]:
    """Targets of all links, with the lines they stand in."""
    return [
        (number, target)
        for number, line in prose_of(page)
        for target in _LINK.findall(_CODE.sub("`code`", line))
    ]


def anchors_of(page: Path) -> set[str]:
    """The anchors that a viewer makes of the headings."""
    found: set[str] = set()
    for _, line in prose_of(page):
        if match := _HEADING.match(line):
            base = anchor_of(match[1])
            anchor, number = base, 0
            while anchor in found:
                number += 1
                anchor = f"{base}-{number}"
            found.add(anchor)
    return found


def anchor_of(heading: str) -> str:
    """GitHub's rule: lower case, marks dropped, spaces to hyphens."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
