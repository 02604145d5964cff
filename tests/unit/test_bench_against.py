"""The benchmark beside other systems: medians, ratios, the table, the plot, and the tally that workers keep."""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benches.peers.command import main
from benches.peers.figures import Figures, Row, from_json, ratio, table, to_json
from benches.peers.plot import plot
from benches.peers.rounds import Extent
from benches.peers.systems import SYSTEMS, WARRENER
from benches.peers.tally import Counts, Tally

OTHERS = {system.name: system for system in SYSTEMS}
README = Path(__file__).parents[2] / "scripts" / "README.md"


def figures(tasks_per_s: float, ms: float = 2.0) -> Figures:
    return Figures(tasks_per_s=tasks_per_s, cpu_s_per_1000=0.5, start_p50_ms=ms, start_p99_ms=2 * ms)


OURS = Row(WARRENER, 10_000, (figures(4000, 8), figures(2000, 10), figures(3000, 9)))
THEIRS = Row(OTHERS["celery"], 6_000, (figures(1000), figures(1000), figures(600)))
FAILED = Row(OTHERS["taskiq"], 10_000, problem="it ended; its log:\nNo module named a | b")


def test_the_median_of_each_figure_is_over_all_rounds() -> None:
    assert OURS.medians == figures(3000, 9)
    assert FAILED.medians is None


def test_a_ratio_is_taken_within_the_round_before_the_median() -> None:
    assert ratio(THEIRS, OURS, "tasks_per_s") == pytest.approx(0.25)  # of 0.25, 0.5 and 0.2; of the medians 0.33


def test_a_ratio_takes_the_rounds_that_both_have() -> None:
    assert ratio(replace(THEIRS, rounds=THEIRS.rounds[:2]), OURS, "tasks_per_s") == pytest.approx(0.375)
    assert ratio(FAILED, OURS, "tasks_per_s") is None


def test_a_ratio_to_nothing_is_none() -> None:
    idle = Row(WARRENER, 100, (replace(figures(1), cpu_s_per_1000=0.0),))
    assert ratio(THEIRS, idle, "cpu_s_per_1000") is None


def test_the_table_says_what_each_keeps_and_compares_with_warrener() -> None:
    lines = table([OURS, THEIRS]).splitlines()
    assert lines[2] == "| Warrener | every task, its moves and its result, in PostgreSQL | 3,000 | 0.50 | 9.0 | 18.0 |"
    assert lines[3] == "| Celery | nothing | 1,000 (0.25×) | 0.50 (1.00×) | 2.0 (0.22×) | 4.0 (0.22×) |"
    assert lines[-1].endswith("Medians of 3 rounds.")


def test_every_line_of_the_table_has_its_six_cells_even_if_one_failed() -> None:
    lines = table([OURS, THEIRS, FAILED]).splitlines()[:5]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {8}
    assert "| No module named a \\| b |" in lines[-1]


def test_one_that_failed_later_keeps_its_figures_and_says_when() -> None:
    row = replace(THEIRS, rounds=THEIRS.rounds[:1], problem="gone")
    assert "| Celery (failed in round 2) | nothing | 1,000" in table([OURS, row])


def test_without_warrener_there_are_figures_and_no_ratios() -> None:
    assert "×" not in table([THEIRS]).splitlines()[2]
    assert json.loads(to_json(THEIRS, [THEIRS]))["to_warrener"] == {}
    broken = replace(OURS, rounds=(), problem="no broker")
    assert "×" not in table([broken, THEIRS]).splitlines()[3]


@pytest.mark.parametrize("row", [OURS, THEIRS, FAILED], ids=lambda row: row.system.name)
def test_a_line_of_json_is_read_as_it_was_written(row: Row) -> None:
    assert from_json(to_json(row, [OURS, THEIRS, FAILED])) == row


def test_lines_printed_before_are_shown_again_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = "\n".join(to_json(row, [OURS, THEIRS]) for row in (OURS, THEIRS))
    (tmp_path / "lines").write_text(f"{printed}\n\n{table([OURS, THEIRS])}\n")  # the whole output will do
    words = ["--against", "--read", str(tmp_path / "lines"), "--plot", str(tmp_path / "plot.svg")]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{printed}\n\n{table([OURS, THEIRS])}\n"
    assert (tmp_path / "plot.svg").read_text() == plot([OURS, THEIRS])


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--tasks", "99"], ["--singles", "1"], ["--against", "cellery"]])
def test_what_gives_no_figure_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--against", *words])
    assert "error:" in capsys.readouterr().err


def texts_of(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_plot_is_a_drawing_with_every_figure_and_who_it_belongs_to() -> None:
    texts = texts_of(plot([THEIRS, OURS, FAILED]))
    assert texts[0] == "Warrener"
    assert {"Celery", "3,000", "1,000", "9.0 / 18.0", "2.0 / 4.0"} <= set(texts)
    assert "Taskiq" not in texts


def test_bars_are_as_long_as_their_figures_and_stay_inside() -> None:
    drawing = ET.fromstring(plot([OURS, THEIRS]))
    bars = [bar for bar in drawing.iter("{http://www.w3.org/2000/svg}rect") if bar.get("class") in {"ours", "other"}]
    ours, theirs = (float(bar.get("width", "")) for bar in bars[:2])
    assert ours / theirs == pytest.approx(3, rel=0.01)
    assert all(float(bar.get("x", "")) + float(bar.get("width", "")) < float(drawing.get("width", "")) for bar in bars)


def test_the_plot_has_colours_for_dark_pages_for_everything_that_it_colours() -> None:
    svg = plot([OURS, THEIRS])
    light, dark = svg[svg.index("<style>") : svg.index("</style>")].split("@media (prefers-color-scheme: dark)")
    used = set(re.findall(r'class="([\w-]+)"', svg))
    for style in (light, dark):
        assert used <= set(re.findall(r"\.([\w-]+) \{", style))


def test_a_plot_of_nothing_is_still_a_drawing() -> None:
    assert ET.fromstring(plot([FAILED])).tag.endswith("svg")


def test_a_slow_system_has_fewer_tasks_in_whole_runs() -> None:
    extent = Extent(rounds=1, tasks=10_000, singles=2, budget_s=1)
    assert extent.tasks_of(WARRENER) == 10_000
    assert extent.tasks_of(OTHERS["celery-postgresql"]) == 2_000
    assert replace(extent, tasks=100).tasks_of(OTHERS["celery-postgresql"]) == 100


def test_every_system_has_its_settings_explained() -> None:
    text = README.read_text()
    assert [system.title for system in SYSTEMS if f"| {system.title}" not in text] == []


def test_workers_of_all_processes_are_counted_together(tmp_path: Path) -> None:
    counts, tally = Counts(tmp_path), Tally(tmp_path)
    assert (counts.done, counts.last_done_ns, counts.last_start_ns) == (0, 0, 0)
    tally.started()
    tally.done()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of forking beside other threads
        child = os.fork()
    if not child:
        try:
            tally.done()  # in a file of its own, though the parent's was open
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert counts.done == 2
    assert len(list(tmp_path.iterdir())) == 2
    assert counts.last_done_ns >= counts.last_start_ns > 0
