"""The picture of a run as SVG: readable on light and dark pages, no scripts, no fonts of others. Pure."""

from collections.abc import Sequence
from html import escape

from mediavault.bench.figures import Row
from mediavault.bench.report import number

_WIDTH = 960
_LABEL_WIDTH = 330
_BAR_WIDTH = 400
_ROW_HEIGHT = 52
_BAR_HEIGHT = 15
_TOP = 78

_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 }
.quiet { fill: #59636e }
.page { fill: #ffffff }
.vault { fill: #0969da }
.peer { fill: #9aa4af }
.goal { stroke: #bc4c00; stroke-width: 3 }
.line { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .quiet { fill: #9198a1 }
  .page { fill: #0d1117 }
  .vault { fill: #4493f8 }
  .peer { fill: #656c76 }
  .goal { stroke: #f0883e }
  .line { stroke: #3d444d }
}"""


def svg(rows: Sequence[Row], subtitle: str) -> str:
    """Two bars a row, the longer one full: the vault's, with a mark where its goal is, and its peer's."""
    height = _TOP + len(rows) * _ROW_HEIGHT + 16
    body = [_row(row, _TOP + place * _ROW_HEIGHT) for place, row in enumerate(rows)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img" aria-labelledby="title description">',
            '<title id="title">The vault beside its peers</title>',
            f'<desc id="description">{escape("; ".join(_told(row) for row in rows))}</desc>',
            f"<style>\n{_STYLE}\n</style>",
            f'<rect class="page" width="{_WIDTH}" height="{height}" rx="8"/>',
            '<text class="title" x="20" y="30">The vault beside its peers, medians</text>',
            f'<text class="quiet" x="20" y="52">{escape(subtitle)}</text>',
            *_legend(),
            *body,
            "</svg>",
            "",
        ]
    )


def _told(row: Row) -> str:
    return f"{row.title}: vault {number(row.vault.median)}, {row.peer} {number(row.other.median)} {row.unit}"


def _legend() -> list[str]:
    at = _WIDTH - 300
    return [
        f'<rect class="vault" x="{at}" y="19" width="14" height="14" rx="2"/><text x="{at + 20}" y="31">vault</text>',
        f'<rect class="peer" x="{at + 75}" y="19" width="14" height="14" rx="2"/>'
        f'<text x="{at + 95}" y="31">nginx, constant</text>',
        f'<line class="goal" x1="{at + 212}" x2="{at + 212}" y1="17" y2="35"/><text x="{at + 222}" y="31">goal</text>',
    ]


def _row(row: Row, top: int) -> str:
    ours, theirs = row.vault.median, row.other.median
    goal = row.goal.limit * theirs if row.goal.relative else row.goal.limit
    longest = max(ours, theirs, goal)
    better = "more is better" if row.goal.at_least else "less is better"
    left, goal_at = _LABEL_WIDTH, _LABEL_WIDTH + goal / longest * _BAR_WIDTH
    text_at = _LABEL_WIDTH + _BAR_WIDTH + 14
    unit = row.unit + (" a core" if row.is_per_core else "")
    ratio = f"{number(row.ratio.median)} ×"
    return "\n".join(
        [
            f'<line class="line" x1="20" x2="{_WIDTH - 20}" y1="{top}" y2="{top}"/>',
            f'<text x="20" y="{top + 21}">{escape(row.title)}</text>',
            f'<text class="quiet" x="20" y="{top + 40}">{escape(unit)}, {better}</text>',
            _bar("vault", left, top + 8, ours / longest),
            _bar("peer", left, top + 28, theirs / longest),
            f'<line class="goal" x1="{goal_at:.1f}" x2="{goal_at:.1f}" y1="{top + 5}" y2="{top + 26}"/>',
            f'<text x="{text_at}" y="{top + 20}">{number(ours)}</text>',
            f'<text class="quiet" x="{text_at}" y="{top + 40}">{number(theirs)}</text>',
            f'<text x="{_WIDTH - 20}" y="{top + 30}" text-anchor="end">{ratio}</text>',
        ]
    )


def _bar(kind: str, x: int, y: int, share: float) -> str:
    width = max(1.0, share * _BAR_WIDTH)
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width:.1f}" height="{_BAR_HEIGHT}" rx="2"/>'
