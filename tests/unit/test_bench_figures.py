"""What a bench run tells: medians, ratios, goals, the table, the page, the document and the picture."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.bench import report
from mediavault.bench.cases import CASES, Plan, plan
from mediavault.bench.chart import svg
from mediavault.bench.figures import ASIDE, BY_CLOCK, PER_CORE, Goal, Row, Spread, throughput
from mediavault.bench.running import rows_of
from mediavault.errors import InvalidRequest

positive = st.floats(min_value=1e-3, max_value=1e9)
ROW = Row("hot-1m", "hot 1 MB", "MB/s", PER_CORE, Goal(1.0), "nginx", (90.0, 100.0, 130.0), (100.0, 80.0, 100.0))
HERD = Row("herd", "herd: first byte", "ms", "first_byte_ms", Goal(0.05, at_least=False), "nginx", (10.0,), (1000.0,))
MEMORY = Row("slow", "memory", "MB", "rss_mb", Goal(200, relative=False, at_least=False), "nginx", (250.0,), (25.0,))


def test_a_spread_is_the_median_and_the_extremes():
    assert Spread.of([3.0, 1.0, 2.0, 9.0]) == Spread(2.5, 1.0, 9.0)


@given(st.lists(positive, min_size=1))
def test_a_median_lies_between_the_extremes(values):
    spread = Spread.of(values)
    assert spread.low <= spread.median <= spread.high


def test_ratios_are_of_each_rounds_pair_not_of_the_medians():
    assert ROW.ratio == Spread(1.25, 0.9, 1.3)
    assert ROW.vault.median / ROW.other.median == 1.0


def test_rounds_that_are_not_pairs_are_refused():
    with pytest.raises(ValueError):
        replace(ROW, peer_rounds=(1.0,)).ratio  # noqa: B018


@pytest.mark.parametrize(
    ("goal", "value", "reached"),
    [
        (Goal(0.9), 0.9, True),
        (Goal(0.9), 0.899, False),
        (Goal(0.7, at_least=False), 0.7, True),
        (Goal(0.7, at_least=False), 0.71, False),
    ],
)
def test_a_goal_is_a_limit_on_one_side(goal, value, reached):
    assert goal.reached(value) is reached


def test_a_relative_goal_looks_at_the_ratio_and_another_at_the_vault_alone():
    assert ROW.reached
    assert HERD.reached
    assert not MEMORY.reached
    assert replace(MEMORY, vault_rounds=(199.0,)).reached


@given(positive, positive, positive)
def test_throughput_counts_work_by_both_clocks(amount, cpu, wall):
    figures = throughput(amount, cpu, wall)
    assert figures[PER_CORE] * cpu == pytest.approx(amount)
    assert figures[BY_CLOCK] * wall == pytest.approx(amount)


def test_no_cpu_time_is_no_figure():
    with pytest.raises(ValueError):
        throughput(10, 0.0, 1.0)


@pytest.mark.parametrize(
    ("value", "text"), [(0.04812, "0.0481"), (1.0, "1"), (12.345, "12.3"), (123.6, "124"), (1e6, "1,000,000")]
)
def test_numbers_have_three_digits_or_more(value, text):
    assert report.number(value) == text


def test_a_single_round_has_no_spread():
    assert report.spread(Spread.of([0.5]), unit=" ×") == "0.5 ×"
    assert report.spread(Spread.of([0.5, 1.0]), unit=" ×") == "0.75 × (0.5–1)"


def test_a_row_has_the_metric_of_its_goal_and_the_other_count_beside_it():
    case = CASES["cold-100m"]
    ours, theirs = [{PER_CORE: 3.0, BY_CLOCK: 4.0}], [{PER_CORE: 6.0, BY_CLOCK: 2.0}]
    (row,) = rows_of(case, Plan((case,)), ours, theirs)
    assert (row.vault_rounds, row.peer_rounds, row.ratio.median) == ((4.0,), (2.0,), 2.0)
    assert row.ratio_aside == Spread(0.5, 0.5, 0.5)
    assert "2 × | per core 0.5 ×" in report.table([row])


def test_every_case_has_rows_with_figures_it_measures():
    for case in CASES.values():
        figures = {measure.metric: 1.0 for measure in case.measures}
        figures |= {ASIDE[metric]: 1.0 for metric in figures if metric in ASIDE}
        rows = rows_of(case, Plan((case,)), [figures], [figures])
        assert [row.title.format() for row in rows] == [row.title for row in rows]
        assert {row.peer for row in rows} == {case.peer}
        assert all(len(row.title) <= 44 for row in rows)  # as much as the picture has room for


def test_the_table_says_what_is_reached_and_what_is_not():
    lines = report.table([ROW, HERD, MEMORY]).splitlines()
    widths = {line.count("|") for line in lines}
    assert len(widths) == 1
    assert lines[2] == "| hot 1 MB | MB/CPU s | 100 | 100 | 1.25 × (0.9–1.3) |  | ≥ 1 × | reached |"
    assert lines[3] == "| herd: first byte | ms | 10 | 1,000 | 0.01 × |  | ≤ 0.05 × | reached |"
    assert lines[4] == "| memory | MB | 250 | 25 | 10 × |  | ≤ 200 MB | **missed** |"


def test_a_bar_in_a_text_does_not_break_the_table():
    assert r"a \| b" in report.table([replace(ROW, title="a | b")])


def test_the_page_has_the_command_the_picture_and_the_machine():
    text = report.page([ROW], {"processor": "Z80 | fast"}, command="mediavault bench --quick", picture="it.svg")
    for part in ("```sh\nmediavault bench --quick\n```", "](it.svg)", "| processor | Z80   fast |", "| hot 1 MB |"):
        assert part in text


def test_the_document_has_every_round():
    document = json.loads(msgspec.json.encode(report.document([ROW], {"date": "today"})))
    assert document["machine"] == {"date": "today"}
    (row,) = document["rows"]
    assert row["rounds"] == {"vault": [90.0, 100.0, 130.0], "nginx": [100.0, 80.0, 100.0]}
    assert row["ratio"] == {"median": 1.25, "low": 0.9, "high": 1.3}


def _lengths(picture: ElementTree.Element, kind: str) -> list[float]:
    bars = [bar for bar in picture.iter("{http://www.w3.org/2000/svg}rect") if bar.get("class") == kind]
    return [float(bar.attrib["width"]) for bar in bars if bar.get("height") != "14"]


def test_the_picture_is_svg_with_bars_in_proportion_that_stay_inside():
    picture = ElementTree.fromstring(svg([ROW, HERD, MEMORY], 'An <odd> & "quoted" machine'))  # noqa: S314 - our own
    ours, theirs = _lengths(picture, "vault"), _lengths(picture, "peer")
    assert ours[0] == theirs[0] == 400.0
    assert ours[1] == pytest.approx(theirs[1] * 10 / 1000)
    assert theirs[2] == pytest.approx(ours[2] / 10)
    tops = [float(bar.attrib["y"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect") if bar.get("rx") == "2"]
    assert max(tops) < float(picture.attrib["height"])
    assert "".join(picture.itertext()).count('An <odd> & "quoted" machine') == 1


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=12))
def test_any_figures_give_a_picture_within_its_frame(pairs):
    rows = [replace(ROW, vault_rounds=(ours,), peer_rounds=(theirs,)) for ours, theirs in pairs]
    picture = ElementTree.fromstring(svg(rows, ""))  # noqa: S314 - our own
    assert all(1.0 <= length <= 400.0 for length in _lengths(picture, "vault") + _lengths(picture, "peer"))
    lines = [float(line.attrib["y1"]) for line in picture.iter("{http://www.w3.org/2000/svg}line")][1:]
    separators = [y for y in lines if (y - 78) % 52 == 0]
    assert all(after - before == 52 for before, after in pairwise(separators))


def test_a_plan_takes_all_cases_or_those_named_in_the_tables_order():
    assert [case.name for case in plan([], quick=False, rounds=None).cases] == list(CASES)
    assert [case.name for case in plan(["herd", "head"], quick=True, rounds=3).cases] == ["head", "herd"]
    assert plan([], quick=False, rounds=None).rounds >= 5
    assert plan([], quick=True, rounds=3).rounds == 3


def test_an_unknown_case_is_told_with_those_there_are():
    with pytest.raises(InvalidRequest, match=r"'hed'.*hot-32k.*slow-readers"):
        plan(["hed"], quick=False, rounds=None)


def test_no_two_cases_ask_for_the_same_cold_objects():
    """The second would find them cached."""
    cold = [group.name for case in CASES.values() if not case.is_hot for group in case.groups]
    assert len(cold) == len(set(cold))
