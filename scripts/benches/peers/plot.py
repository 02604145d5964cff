"""Draws the medians as bars, in SVG: readable on light and dark pages, at the width of a README."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from .figures import Figures, Row
from .systems import WARRENER

_WIDTH, _LABELS, _PANEL, _GAP = 880, 186, 312, 30
_TOP, _STEP, _BAR, _FOOT = 74, 34, 20, 58
_ROOM_FOR_FIGURES = 92
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
_NOTES = (
    "No-op tasks over one RabbitMQ node: durable queues, persistent messages, publisher confirms, acknowledged after",
    "the work. Warrener takes 100 tasks in a submission and commits every one; the others take one task in a message.",
)
_LIGHT = {
    "page": "fill: #ffffff; stroke: #d0d7de", "text": "fill: #1f2328", "faint": "fill: #59636e",
    "ours": "fill: #1a7f64", "ours-far": "fill: #1a7f64; fill-opacity: 0.35",
    "other": "fill: #8c959f", "other-far": "fill: #8c959f; fill-opacity: 0.4", "axis": "stroke: #d0d7de",
}  # fmt: skip
_DARK = {
    "page": "fill: #0d1117; stroke: #30363d", "text": "fill: #e6edf3", "faint": "fill: #9198a1",
    "ours": "fill: #3fb950", "ours-far": "fill: #3fb950; fill-opacity: 0.4",
    "other": "fill: #6e7681", "other-far": "fill: #6e7681; fill-opacity: 0.5", "axis": "stroke: #30363d",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Panel:
    """`near` is the full bar; `far`, where there is one, a paler one behind it that reaches further."""

    left: int
    title: str
    hint: str
    near: Callable[[Figures], float]
    far: Callable[[Figures], float]
    said: Callable[[Figures], str]


_PANELS = (
    _Panel(
        _LABELS, "Tasks per second", "more is better",
        lambda figures: figures.tasks_per_s, lambda _: 0.0, lambda figures: f"{figures.tasks_per_s:,.0f}",
    ),
    _Panel(
        _LABELS + _PANEL + _GAP, "Start of a task at idle, ms", "p50, paler p99; less is better",
        lambda figures: figures.start_p50_ms, lambda figures: figures.start_p99_ms,
        lambda figures: f"{figures.start_p50_ms:.1f} / {figures.start_p99_ms:.1f}",
    ),
)  # fmt: skip


def plot(rows: Sequence[Row]) -> str:
    """Return the drawing; rows without figures are left out, and Warrener stands first."""
    shown = [(row, row.medians) for row in sorted(rows, key=lambda row: row.system is not WARRENER)]
    drawn = [(row, medians) for row, medians in shown if medians is not None]
    height = _TOP + _STEP * len(drawn) + _FOOT
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        f' role="img" aria-label="{escape(_in_words(drawn))}" font-family="{_FONT}" font-size="13">'
    )
    lines = [
        opening,
        f"<style>{_style(_LIGHT)} @media (prefers-color-scheme: dark) {{ {_style(_DARK)} }}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
        *_labels(drawn),
        *(line for panel in _PANELS for line in _bars(panel, drawn)),
        *(
            f'<text class="faint" x="20" y="{height - _FOOT + 24 + 17 * number}" font-size="12">{note}</text>'
            for number, note in enumerate(_NOTES)
        ),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _labels(drawn: Sequence[tuple[Row, Figures]]) -> Iterator[str]:
    for number, (row, _) in enumerate(drawn):
        middle = _TOP + _STEP * number + _BAR / 2
        weight = ' font-weight="600"' if row.system is WARRENER else ""
        yield f'<text class="text" x="20" y="{middle:g}"{weight}>{escape(row.system.title)}</text>'
        yield f'<text class="faint" x="20" y="{middle + 13:g}" font-size="11">{escape(row.system.keeps_label)}</text>'


def _bars(panel: _Panel, drawn: Sequence[tuple[Row, Figures]]) -> Iterator[str]:
    most = max((max(panel.near(figures), panel.far(figures)) for _, figures in drawn), default=1.0) or 1.0
    scale = (_PANEL - _ROOM_FOR_FIGURES) / most
    bottom = _TOP + _STEP * len(drawn) - (_STEP - _BAR) / 2
    yield f'<text class="text" x="{panel.left}" y="34" font-size="14" font-weight="600">{panel.title}</text>'
    yield f'<text class="faint" x="{panel.left}" y="52" font-size="12">{panel.hint}</text>'
    yield f'<line class="axis" x1="{panel.left}" x2="{panel.left}" y1="{_TOP - 6}" y2="{bottom:g}"/>'
    for number, (row, figures) in enumerate(drawn):
        top, kind = _TOP + _STEP * number, "ours" if row.system is WARRENER else "other"
        near, far = panel.near(figures) * scale, panel.far(figures) * scale
        if far:
            yield f'<rect class="{kind}-far" x="{panel.left}" y="{top}" width="{far:.1f}" height="{_BAR}" rx="2"/>'
        yield f'<rect class="{kind}" x="{panel.left}" y="{top}" width="{near:.1f}" height="{_BAR}" rx="2"/>'
        end = panel.left + max(near, far) + 7
        yield f'<text class="text" x="{end:.1f}" y="{top + 15}">{panel.said(figures)}</text>'


def _in_words(drawn: Sequence[tuple[Row, Figures]]) -> str:
    return "; ".join(
        f"{row.system.title}: {figures.tasks_per_s:,.0f} tasks per second, start after {figures.start_p50_ms:.1f} ms"
        for row, figures in drawn
    )


def _style(colours: dict[str, str]) -> str:
    return " ".join(f".{name} {{ {said}; }}" for name, said in colours.items())
