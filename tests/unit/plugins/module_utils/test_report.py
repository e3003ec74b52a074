# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report says and how it is drawn: nothing but what was noted or measured, whatever the texts are."""

from __future__ import annotations

import copy
import html
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import report_cases
from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _checks,
    _report_charts,
    _report_document,
    _report_page,
    _report_table,
    _report_text,
    _report_timeline,
    _report_verdict,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_cases import COPY, MIB, WORKERS, entry

DOCS = Path(__file__).resolve().parents[4] / "docs"
SCHEMA = json.loads((DOCS / "report.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
ANYTHING = st.one_of(st.text(), st.text(alphabet="<>&\"'/{}% \n\t=aé界🔥️\u0301\x1b\u202e", max_size=60))


def away(entries: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    steps = _report_timeline.timeline(entries)
    return _report_timeline.interruption(steps["entries"], problem=steps["note"], **more)


class TestInterruption:
    def test_a_recreate_is_bounded_by_what_the_journal_noted(self) -> None:
        found = away(report_cases.recreate())
        # Compose took 1.5 s and ended at 10:56:07.946; it was found healthy at 10:56:12.094.
        assert (found["status"], found["way"], found["seconds"]) == ("estimated", "recreate", 5.6)
        assert found["text"].startswith("At most about 5.6 s, from 10:56:06 to 10:56:12 UTC: ")
        assert "not measured by requests" in found["text"]

    def test_of_a_handover_nothing_is_claimed_but_what_was_noted(self) -> None:
        found = away(report_cases.journal())
        assert (found["status"], found["way"], found["seconds"]) == ("bridged", "handover", None)
        expected = (
            "None that is known of: a copy of the new container served from 10:56:05 to 10:56:19 UTC; 0 connections "
            "were cut. Not measured by requests."
        )
        assert found["text"] == expected
        cut = [
            {**step, "result": f"{COPY} removed, 1 connections cut"} if step["action"] == "handover ended" else step
            for step in report_cases.journal()
        ]
        assert "1 connection was cut" in away(cut)["text"]

    def test_a_rolling_replacement(self) -> None:
        found = away(
            [
                entry("10:00:00.000", "rolling begun", "container b takes over from a"),
                entry("10:00:09.000", "rolling ended", "container a removed, 2 connections open"),
                entry("10:00:10.000", "healthy"),
            ]
        )
        assert (found["status"], found["way"], found["windows"]) == ("bridged", "rolling", [])
        assert "from 10:00:00 to 10:00:09 UTC; 2 connections were left when it went" in found["text"]

    @pytest.mark.parametrize("result", ["changed", "failed"])
    def test_a_container_that_did_not_become_healthy_is_not_measured(self, result: str) -> None:
        steps = [
            entry("10:00:05.000", "recreated", result, seconds="2.0"),
            entry("10:05:00.000", "run ended", "failed"),
        ]
        found = away(steps)
        assert (found["status"], found["seconds"]) == ("not measured", None)
        assert found["text"].startswith("Not measured: the container was replaced at 10:00:03 UTC, and")

    def test_a_way_back_adds_its_own_time(self) -> None:
        steps = [
            entry("10:00:05.000", "recreated", "changed", seconds="2.0"),
            entry("10:01:00.000", "recreated", "changed", seconds="1.0"),
            entry("10:01:04.000", "healthy"),
            entry("10:02:00.000", "recreated", "changed", seconds="1.0"),
            entry("10:02:01.000", "healthy"),
        ]
        found = away(steps)
        assert [window["seconds"] for window in found["windows"]] == [61.0, 2.0]
        assert (found["status"], found["seconds"]) == ("estimated", 63.0)
        assert "63 s, from 10:00:03 to 10:01:04 UTC and from 10:01:59 to 10:02:01 UTC" in found["text"]

    def test_a_recreate_after_the_copy_has_gone_is_not_covered_by_it(self) -> None:
        steps = [
            *report_cases.journal(),
            entry("10:57:00.000", "recreated", "changed", seconds="1.0"),
            entry("10:57:03.000", "healthy"),
        ]
        found = away(steps)
        assert [window["bridged"] for window in found["windows"]] == [True, False]
        assert (found["status"], found["seconds"]) == ("estimated", 4.0)

    def test_a_copy_of_an_earlier_run_is_named_and_not_relied_on(self) -> None:
        steps = [step for step in report_cases.journal() if step["action"] != "handover begun"]
        found = away(steps)
        assert found["status"] == "estimated"
        assert found["text"].endswith("A copy that an earlier run had left may have served in that time.")

    def test_a_restart_begins_after_what_was_noted_before_it(self) -> None:
        steps = [
            entry("10:00:00.000", "recreated", "unchanged"),
            entry("10:00:04.000", "restarted"),
            entry("10:00:09.000", "healthy"),
        ]
        found = away(steps)
        assert (found["status"], found["way"], found["seconds"]) == ("estimated", "restart", 9.0)
        assert "reckoned from when the restart began" in found["text"]

    def test_none_where_nothing_was_touched(self) -> None:
        untouched = [entry("10:00:00.000", "recreated", "unchanged"), entry("10:00:02.000", "healthy")]
        found = away(untouched)
        assert (found["status"], found["seconds"], found["windows"]) == ("none", 0.0, [])
        scaled = away([entry("10:00:00.000", "workers scaled", "from 4 to 2"), *untouched])
        assert (scaled["status"], scaled["way"]) == ("none", "live")
        first = away(report_cases.recreate(), existed=False)
        assert (first["status"], first["text"]) == ("none", "None: no container of the service ran before.")

    def test_without_entries_nothing_is_claimed(self) -> None:
        assert away([])["text"] == "Not measured: the journal on the host has no entry of this run."
        found = report_cases.report(journal={"msg": "cannot read it."}, monitor=report_cases.monitor())["interruption"]
        assert (found["status"], found["text"]) == ("not measured", "Not measured: cannot read it.")

    def test_what_the_monitor_saw_at_that_time_is_told(self) -> None:
        seen = report_cases.monitor(600)
        start = _report_text.instant("2026-11-28T10:55:00Z") or 0
        for at, point in enumerate(seen["series"]):
            point.update(time=_report_text.rfc3339(start + at), up=at not in (68, 69), latency_ms=1)
        found = report_cases.report(journal={"entries": report_cases.recreate()}, monitor=seen)["interruption"]
        assert found["asked"] == {"stretches": 8, "without_answer": 2}
        assert found["text"].endswith("The monitor, which asked every 10 s, got no answer in 2 of 8 stretches.")
        later = report_cases.report(journal={"entries": report_cases.recreate()}, monitor=report_cases.monitor())
        assert later["interruption"]["asked"] is None

    def test_entries_that_are_damaged_are_left_out(self) -> None:
        steps = _report_timeline.timeline([{"action": "healthy"}, *report_cases.journal(), {"time": "x"}, {}])
        assert len(steps["entries"]) == len(report_cases.journal())
        assert steps["began"] == "2026-11-28T10:55:22.584Z" and steps["ended"] is None
        assert steps["entries"][0]["text"] == "The run began"
        assert (steps["by"], steps["playbook"]) == ("root@vm", "composeops.hotfix.apply")

    def test_what_a_run_says_twice_is_told_once(self) -> None:
        twice = [entry("10:00:00.000", "present", "changed"), entry("10:00:09.000", "present", "continued")]
        assert [step["text"] for step in _report_timeline.timeline(twice)["entries"]] == [
            "The state to return to was kept"
        ]
        assert len(_report_timeline.timeline(twice[1:])["entries"]) == 1
        assert _report_timeline.timeline([entry("10:00:00.000", "pruned")])["entries"] == []

    def test_a_step_that_failed_says_so(self) -> None:
        (built,) = _report_timeline.timeline([entry("10:00:00.000", "built", "failed", seconds="3")])["entries"]
        assert (built["text"], built["failed"], built["seconds"]) == ("The image was built without success", True, 3.0)


class TestTable:
    def test_it_names_severity_what_is_left_and_the_page(self) -> None:
        lines = _report_table.summary_table(report_cases.report(monitor=report_cases.monitor()), "/r/droplet.html")
        assert "Production settings   high      FAIL            ACTION          no. 1" in lines
        assert "Workers dying         medium    FAIL            PASS            -" in lines
        assert "  page    /r/droplet.html" in lines
        assert "  run     10 steps from 10:55:22 to 10:56:24 UTC, 63 s in all." in lines
        assert any(line.startswith("  away    None that is known of") for line in lines)
        assert any(line.startswith("  left 4  Give the mobile") for line in lines)
        assert any(line.startswith("  monitor degraded: 3 workers died") for line in lines)

    def test_what_fails_refers_to_the_action_about_it(self) -> None:
        failed = [*report_cases.after(), report_cases.check("API works", "health", "fail", "no answer")]
        summary = _checks.summarise(failed, [], "droplet")
        report = _report_document.document(summary, {})
        row = next(row for row in report["rows"] if row["issue"] == "API works")
        assert row["left"][0] == "not proven: health"
        lines = _report_table.summary_table(report)
        assert "API works             critical  NOT OBSERVABLE  FAIL            no. 1, 3" in lines
        assert lines[-1].startswith("NOT everything")

    @given(ANYTHING, ANYTHING)
    @settings(max_examples=200)
    def test_it_fits_whatever_is_said(self, text: str, other: str) -> None:
        results = [report_cases.check("API works", "health", "action", text * 4)]
        summary = _checks.summarise(results, results, other, [other, text])
        lines = _report_table.summary_table(_report_document.document(summary, {"time": other}), f"/{text}/x.html")
        assert max(map(_report_text.width, lines)) <= 80
        assert not [line for line in lines if "\x1b" in line or "\n" in line or "\u202e" in line]
        reports = {other: {}, text: _report_document.document(summary, {})}
        overview = _report_document.overview(reports, [text], "")
        assert max(map(_report_text.width, _report_document.overview_table(overview, text * 3))) <= 80


class TestText:
    @pytest.mark.parametrize(
        ("text", "columns"),
        [("abc", 3), ("é", 1), ("e\u0301", 1), ("界", 2), ("🔥", 2), ("⚠\ufe0f", 2), ("✓", 1), ("a\u200bb", 2)],
    )
    def test_columns(self, text: str, columns: int) -> None:
        assert _report_text.width(text) == columns

    @example("00000\ufe0f", 12)
    @given(ANYTHING, st.integers(12, 90))
    def test_wrapping_loses_nothing(self, text: str, columns: int) -> None:
        cleaned = _report_text.clean(text)
        lines = _report_text.wrapped("  now  ", cleaned, columns)
        assert max(map(_report_text.width, lines)) <= columns
        assert "".join("".join(lines).split()) == "now" + "".join(cleaned.split())

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(0, "0 s"), (0.44, "0.4 s"), (9.0, "9 s"), (13.2, "14 s"), (185, "3 min 5 s"), (86280, "23 h 58 min")],
    )
    def test_spans(self, seconds: float, expected: str) -> None:
        assert _report_text.lasting(seconds) == expected

    def test_sizes_and_figures(self) -> None:
        assert [_report_text.size(count) for count in (12, 2048, 512 * MIB, 1536 * MIB)] == [
            "12 B",
            "2 KiB",
            "512 MiB",
            "1.50 GiB",
        ]
        assert [_report_text.number(value) for value in (1, 2.5, True, "3", None, float("nan"))] == [
            1,
            2.5,
            *[None] * 4,
        ]

    def test_evidence_of_the_checks_is_not_taken_for_secrets(self) -> None:
        texts = [check["evidence"] for check in (*report_cases.before(), *report_cases.after())]
        texts += ["the running container holds an unsafe VALID_API_KEYS. VALID_API_KEYS is printed in documentation."]
        assert [_report_text.clean(text) for text in texts] == texts

    @given(ANYTHING)
    def test_nothing_moves_a_cursor_or_turns_text(self, text: str) -> None:
        kept = {unicodedata.category(character) for character in _report_text.clean(text)}
        assert not kept & {"Cc", "Cs", "Zl", "Zp"}


class TestFileNames:
    @pytest.mark.parametrize("name", ["droplet", "web-1.example.com", "Web_1", "10.0.0.1"])
    def test_a_plain_name_stays(self, name: str) -> None:
        assert _report_document.file_name(name) == name

    @given(ANYTHING)
    def test_any_name_is_safe(self, name: str) -> None:
        made = _report_document.file_name(name)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", made)
        assert made.lower() != "index"

    @pytest.mark.parametrize("name", ["index", "Index", "INDEX"])
    def test_the_overview_keeps_its_own(self, name: str) -> None:
        assert _report_document.file_name(name).startswith(f"{name}-")

    def test_no_two_hosts_share_a_file(self) -> None:
        names = ["a/b", "a-b", "a b", "a:b", "../a/b", "index", "Index", "", "-", "a" * 200, "a" * 201, "é", "è", ".a"]
        assert len({_report_document.file_name(name) for name in names}) == len(names)


class TestSchema:
    def reports(self) -> Iterator[dict[str, Any]]:
        yield report_cases.report()
        yield report_cases.report(monitor=report_cases.monitor())
        yield report_cases.report(monitor=report_cases.monitor(calm=True), journal={"entries": report_cases.recreate()})
        yield report_cases.report(journal={}, findings={}, workers={}, monitor={"status": "absent"})
        yield report_cases.report(
            journal=None, monitor={"status": "running", "more": 1, "series": [{}], "events": [{}]}
        )

    def test_it_is_a_schema_and_reports_keep_to_it(self) -> None:
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        for report in self.reports():
            VALIDATOR.validate(report)
            VALIDATOR.validate(_report_document.published(report))

    def test_what_was_there_before_is_there(self) -> None:
        report = report_cases.report()
        summary = _checks.summarise(report_cases.after(), report_cases.before(), "droplet", report_cases.ACTIONS)
        assert {name: report[name] for name in ("host", "fixed", "actions")} == {
            name: summary[name] for name in ("host", "fixed", "actions")
        }
        assert [{**row, "left": None} for row in report["rows"]] == [{**row, "left": None} for row in summary["rows"]]
        assert report["revision"]["before"] == "221165a829af934b2e00382eea8e2b8895a8172d"

    def test_each_object_refuses_what_it_does_not_know_and_misses_what_is_gone(self) -> None:
        whole = report_cases.report(monitor=report_cases.monitor(8))
        optional = {"revision", "workers", "series", "events"} | set(SCHEMA["properties"]["revision"]["properties"])
        free = {"worker_memory", "errors"}

        def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
            if isinstance(data, dict) and (not path or path[-1] not in free):
                yield path
                for name, value in data.items():
                    yield from places(value, (*path, name))
            elif isinstance(data, list) and data:
                yield from places(data[0], (*path, 0))

        tried = 0
        for path in places(whole):
            more = copy.deepcopy(whole)
            part = more
            for step in path:
                part = part[step]
            part["unknown"] = 1
            assert not VALIDATOR.is_valid(more), path
            del part["unknown"]
            for name in set(part) - optional:
                value = part.pop(name)
                assert not VALIDATOR.is_valid(more), (*path, name)
                part[name] = value
                tried += 1
        assert tried > 80

    @pytest.mark.parametrize(
        ("name", "value"),
        [("schema_version", 2), ("fixed", "yes"), ("generated", "yesterday"), ("actions", "none"), ("monitor", {})],
    )
    def test_a_wrong_value_is_seen(self, name: str, value: Any) -> None:
        assert not VALIDATOR.is_valid({**report_cases.report(), name: value})


def texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for name, value in data.items():
            yield from texts(name)
            yield from texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from texts(value)


class TestKept:
    def test_what_is_published_lacks_the_course_of_the_watch_alone(self) -> None:
        whole = report_cases.report(monitor=report_cases.monitor())
        short = _report_document.published(whole)
        assert set(whole["monitor"]) - set(short["monitor"]) == {"series", "events"}
        assert {**short, "monitor": None} == {**whole, "monitor": None}
        assert _report_document.published(report_cases.report()) == report_cases.report()

    def test_entries_of_another_run_are_not_added(self) -> None:
        kept = report_cases.report()
        more = [entry("10:56:50.000", "run ended", "ok"), {**entry("11:00:00.000", "restored"), "run": "ffffffffffff"}]
        found = _report_document.renewed(kept, {"journal": {"entries": [*report_cases.journal(), *more]}, "time": "x"})
        assert [step["action"] for step in found["timeline"]["entries"]][-2:] == ["committed", "run ended"]
        others = {name: value for name, value in found.items() if name not in ("timeline", "generated")}
        assert others == {name: kept[name] for name in others}

    def test_what_the_monitor_saw_during_the_run_is_added_once(self) -> None:
        seen = report_cases.monitor(600)
        start = _report_text.instant("2026-11-28T10:55:00Z") or 0
        for at, point in enumerate(seen["series"]):
            point.update(time=_report_text.rfc3339(start + at), up=True)
        kept = report_cases.report(journal={"entries": report_cases.recreate()})
        once = _report_document.renewed(kept, {"monitor": seen})
        assert once["interruption"]["asked"] == {"stretches": 8, "without_answer": 0}
        assert _report_document.renewed(once, {"monitor": seen}) == once
        assert _report_document.renewed(_report_document.published(once), {})["interruption"] == once["interruption"]


class TestPage:
    @given(ANYTHING)
    @settings(max_examples=50)
    def test_every_text_is_escaped(self, text: str) -> None:
        said = f"<b>{text}"
        results = [report_cases.check("API works", "health", "fail", said)]
        seen = report_cases.monitor(4)
        seen.update(reasons=[said], events=[{"time": said, "kind": said, "text": said}], status=said, started_at=said)
        seen["summary"]["errors"] = {said: 1}
        steps = [*report_cases.journal(), entry("10:57:00.000", said, said, files=[said], playbook=said)]
        summary = _checks.summarise(results, results, said, [said])
        report = _report_document.document(
            summary, report_cases.observed(monitor=seen, journal={"entries": steps}, application={"service": said})
        )
        shown = [
            *texts(_report_page.page(report)),
            *texts(_report_page.overview_page(_report_document.overview({said: report, "x": {}}, [], said))),
        ]
        assert len([text for text in shown if "&lt;b&gt;" in text]) >= 12
        assert not [text for text in shown if re.search(r"[<>\"']|&(?!(lt|gt|amp|quot|#x27);)", text)]

    def test_the_headline_claims_no_more_than_is_known(self) -> None:
        def told(**changes: Any) -> dict[str, str]:
            view = _report_page.page(report_cases.report(**changes))
            return {figure["label"]: html.unescape(figure["value"]) for figure in view["counts"]}

        assert told() == {"Issues fixed": "4 of 5", "Not proven": "1", "Interruption": "none known", "Left to do": "4"}
        assert told(journal={"entries": report_cases.recreate()})["Interruption"] == "≤ 5.6 s"
        assert told(journal={})["Interruption"] == "not measured"

    def test_what_fails_comes_first_in_its_issue(self) -> None:
        results = [*report_cases.after(), report_cases.check("API works", "other", "fail", "no answer")]
        view = _report_page.page(_report_document.document(_checks.summarise(results, [], "droplet"), {}))
        (row,) = [row for row in view["rows"] if row["issue"] == "API works"]
        assert [check["status"] for check in row["after"]["checks"]] == ["fail", "not observable", "pass"]

    def test_without_the_monitor_it_says_how_to_have_it(self) -> None:
        view = _report_page.page(report_cases.report())
        assert view["monitor"] is None and "composeops.hotfix.monitor" in view["no_monitor"]

    def test_the_figures_of_the_drawings_are_there_as_well(self) -> None:
        seen = report_cases.monitor()
        view = _report_page.page(report_cases.report(monitor=seen))["monitor"]
        assert len(view["rows"]) == len(seen["series"])
        assert {row["up"] for row in view["rows"]} == {"yes", "no", "not asked"}
        assert sum(int(row["deaths"]) for row in view["rows"] if row["happened"]) == 3
        assert (view["badge"]["state"], view["badge"]["word"]) == ("action", "degraded")
        assert "8400 samples, 240 missed." in view["span"]


class TestDrawings:
    @given(st.floats(0.001, 1e12), st.sampled_from([2, 10]))
    def test_ticks_are_few_and_reach_the_top(self, top: float, base: int) -> None:
        steps = _report_charts.ticks(top, base=base)
        assert steps[0] == 0 and steps[-1] >= top * (1 - 1e-6) and 2 <= len(steps) <= 6
        assert steps[-2] < top

    @given(st.floats(0, 2e9), st.floats(1, 4e7))
    def test_times_are_within_and_few(self, begin: float, span: float) -> None:
        moments = _report_charts.time_ticks(begin, begin + span)
        assert len(moments) <= 6
        assert all(begin - 1e-3 <= moment <= begin + span + 1e-3 for moment in moments)

    def test_a_line_is_broken_where_nothing_is_known(self) -> None:
        assert _report_charts.path([(0, 1), (1, 2), (2, None), (3, 4)]) == "M0.0 1.0 L1.0 2.0M3.0 4.0h2"
        assert _report_charts.path([]) == ""
        drawn = _report_charts.area([(0, 1), (1, 2), (2, None), (3, 4)], 9)
        assert drawn == "M0.0 9.0 L0.0 1.0 L1.0 2.0 L1.0 9.0ZM3.0 9.0 L3.0 4.0 L5.0 4.0 L5.0 9.0Z"

    def test_nothing_lies_outside(self) -> None:
        seen = report_cases.monitor()
        drawings = [
            _report_charts.latency(seen["series"], seen["summary"]),
            _report_charts.memory(seen["series"]),
            _report_charts.happenings(seen["series"]),
        ]
        for drawing in drawings:
            assert drawing is not None
            for name in ("line", "workers", "edge", "used", "limit"):
                for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", drawing.get(name, "")):
                    assert 0 <= float(x) <= _report_charts.ACROSS
                    assert drawing["top"] <= float(y) <= drawing["floor"]
            assert [band["kind"] for band in drawing["bands"]] == ["gap", "down"]
            for band in drawing["bands"]:
                assert float(band["x"][:-1]) + float(band["width"][:-1]) <= 100.01

    def test_the_highest_figure_is_the_highest_point(self) -> None:
        seen = report_cases.monitor()
        drawing = _report_charts.latency(seen["series"], seen["summary"])
        assert drawing is not None
        heights = [float(y) for _x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawing["line"])]
        figures = [point["latency_ms"] for point in seen["series"] if point["latency_ms"] is not None]
        assert heights.index(min(heights)) == figures.index(max(figures))
        top = drawing["floor"] - (drawing["floor"] - drawing["top"]) * max(figures) / 400
        assert min(heights) == pytest.approx(top, abs=0.1)

    def test_the_limit_is_above_what_was_used(self) -> None:
        drawing = _report_charts.memory(report_cases.monitor()["series"])
        assert drawing is not None and drawing["limit_at"]["label"] == "limit 512 MiB"
        used = [float(y) for _x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawing["used"])]
        workers = [float(y) for _x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawing["edge"])]
        assert drawing["limit_at"]["y"] < min(used) < min(workers)

    def test_happenings_are_counted(self) -> None:
        drawing = _report_charts.happenings(report_cases.monitor()["series"])
        assert drawing is not None
        assert {row["name"]: row["total"] for row in drawing["rows"]} == {
            "deaths": 3,
            "oom_kills": 1,
            "restarts": 1,
            "errors": 9,
        }
        for row in drawing["rows"]:
            assert sum(mark["count"] for mark in row["marks"]) == row["total"]

    @pytest.mark.parametrize("series", [[], [{"time": "x"}], report_cases.monitor()["series"][:1]])
    def test_too_little_is_not_drawn(self, series: list[dict[str, Any]]) -> None:
        assert _report_charts.latency(series, {}) is None
        assert _report_charts.memory(series) is None
        assert _report_charts.happenings(series) is None
        assert _report_charts.timeline([], []) is None
        assert _report_charts.bars({"before": None, "after": None}) is None

    def test_marks_of_a_timeline_do_not_touch(self) -> None:
        steps = _report_timeline.timeline(report_cases.journal())["entries"]
        drawing = _report_charts.timeline(steps, away(report_cases.journal())["windows"])
        assert drawing is not None
        assert [mark["number"] for mark in drawing["marks"]] == list(range(1, 11))
        rows: dict[int, list[float]] = {}
        for mark in drawing["marks"]:
            rows.setdefault(mark["row"], []).append(float(mark["x"][:-1]))
        for places in rows.values():
            assert all(right - left >= _report_charts.NEAR - 0.02 for left, right in zip(places, places[1:]))
        (window,) = drawing["away"]
        assert window["bridged"] is True
        # 10:56:06.4 to 10:56:12.1 of 62 s and 3 % on each side.
        assert float(window["x"][:-1]) == pytest.approx(69.5, abs=0.3)

    def test_bars_are_as_long_as_what_they_stand_for(self) -> None:
        report = report_cases.report()
        drawing = _report_charts.bars(report["memory"])
        assert drawing is not None
        before, after = drawing["rows"]
        assert [part["kind"] for part in before["parts"]] == ["worker"] * 3 + ["rest"]
        assert [part["kind"] for part in after["parts"]] == ["worker"] * 2 + ["rest"]
        assert float(before["limit"][:-1]) == float(after["limit"][:-1]) == 80
        ends = [float(row["parts"][-1]["x"][:-1]) + float(row["parts"][-1]["width"][:-1]) for row in (before, after)]
        assert ends == pytest.approx([497 / 6.4, 362 / 6.4], abs=0.02)

    def test_before_comes_first_in_a_report_that_was_read_from_its_file_too(self) -> None:
        report = json.loads(json.dumps(report_cases.report(), sort_keys=True))
        drawing = _report_charts.bars(report["memory"])
        assert drawing is not None and [row["name"] for row in drawing["rows"]] == ["before", "after"]
        assert [row["name"] for row in _report_page.page(report)["memory_rows"]] == ["before", "after"]

    def test_memory_without_a_limit_or_without_a_diagnosis(self) -> None:
        free = report_cases.worker_info(2, 300, 310, 0, 0)
        free["memory"]["limit"] = None
        report = report_cases.report(findings={}, workers=free)
        drawing = _report_charts.bars(report["memory"])
        assert drawing is not None and [row["name"] for row in drawing["rows"]] == ["after"]
        assert drawing["rows"][0]["limit"] is None
        plain = report_cases.report(findings={}, workers={}, container={"memory": free["memory"]})["memory"]
        assert plain["before"] is None and plain["after"]["workers"] == [] and plain["after"]["usage"] == 300 * MIB


def told(*statuses: str, monitor: dict[str, Any] | None = None) -> dict[str, Any]:
    """A report on checks with these statuses, with what the monitor saw."""
    results = [report_cases.check("API works", f"check_{at}", status, "x") for at, status in enumerate(statuses)]
    summary = _checks.summarise(results, [], "droplet")
    return _report_document.document(summary, {"time": "2026-11-28T10:56:46Z", "monitor": monitor or {}})


def seen(verdict: str, started: str = "11:00", last: str = "12:00") -> dict[str, Any]:
    """What the monitor saw on the day of the report."""
    return {
        **report_cases.monitor(4),
        "verdict": verdict,
        "started_at": f"2026-11-28T{started}:00Z",
        "last_sample_at": f"2026-11-28T{last}:00Z",
    }


BEFORE, ACROSS, SINCE = ("09:00", "10:00"), ("09:00", "12:00"), ("11:00", "12:00")
PROVEN = "Everything is proven on the running container"


class TestVerdict:
    @pytest.mark.parametrize(
        ("statuses", "fixed", "proven", "line", "badge"),
        [
            (["pass", "action"], True, True, "Everything is proven.", ("pass", PROVEN)),
            (
                ["pass", "not observable", "not enforced", "not observable"],
                True,
                False,
                "Nothing failed; 2 not observable, 1 not enforced.",
                ("unknown", "Nothing failed; 2 not observable, 1 not enforced"),
            ),
            ([], True, False, "Nothing was checked.", ("unknown", "Nothing was checked")),
            (
                ["fail", "not observable"],
                False,
                False,
                "NOT everything is proven; see above.",
                ("fail", "Not everything is proven"),
            ),
        ],
    )
    def test_all_is_proven_only_where_all_was_checked(
        self, statuses: list[str], fixed: bool, proven: bool, line: str, badge: tuple[str, str]
    ) -> None:
        report = told(*statuses)
        assert (report["fixed"], _report_verdict.proven(report)) == (fixed, proven)
        assert _report_table.summary_table(report)[-1] == line
        shown = _report_page.page(report)["verdict"]
        assert (shown["state"], shown["word"]) == badge
        overview = _report_document.overview({"a": report}, ["a"], "")
        assert (overview["fixed"], overview["hosts"][0]["proven"]) == (fixed, proven)
        page = _report_page.overview_page(overview)
        assert (page["verdict"]["state"] == "pass", page["hosts"][0]["word"] == "proven") == (proven, proven)
        assert page["hosts"][0]["note"] == ("" if proven else overview["hosts"][0]["text"])

    def test_an_issue_that_was_checked_before_only_is_not_proven(self) -> None:
        both = [report_cases.check("API works", "health", "pass", "x")]
        summary = _checks.summarise(both, [*both, report_cases.check(WORKERS, "no_oom_kill", "pass", "x")], "droplet")
        assert _report_table.summary_table(summary)[-1] == "Nothing failed; 1 not observable."

    @pytest.mark.parametrize("verdict", ["healthy", "degraded", "failed", "unknown"])
    @pytest.mark.parametrize(
        ("times", "when", "counts"),
        [
            (BEFORE, "Watched before the run", False),
            (ACROSS, "Watched since before the run", True),
            (SINCE, "Since then", True),
        ],
    )
    def test_the_monitor_speaks_of_the_time_in_which_it_watched(
        self, verdict: str, times: tuple[str, str], when: str, counts: bool
    ) -> None:
        report = told("pass", monitor=seen(verdict, *times))
        bad = counts and verdict in ("degraded", "failed")
        lines = _report_table.summary_table(report)
        head = "" if times is SINCE else f"{when.lower()}: "
        assert any(line.startswith(f"  monitor {head}{verdict}") for line in lines)
        expected = f"Everything was proven by the run. The monitor says: {verdict}." if bad else "Everything is proven."
        assert lines[-1] == expected
        view = _report_page.page(report)
        assert view["monitor"]["when"] == when
        assert (view["monitor"]["badge"] or {}).get("word") == (verdict if counts else None)
        assert view["verdict"]["word"] == (PROVEN.replace("is", "was", 1) if bad else PROVEN)
        (host,) = _report_document.overview({"a": report}, ["a"], "")["hosts"]
        assert host["monitor"] == (verdict if counts else None)
        assert host["text"] == (f"everything was proven; the monitor says {verdict}" if bad else "everything is proven")

    @pytest.mark.parametrize(("verdict", "mark"), [("failed", "FAIL"), ("degraded", "!"), ("healthy", "ok")])
    def test_the_overview_shows_what_the_monitor_says(self, verdict: str, mark: str) -> None:
        found = _report_document.overview({"a": told("pass", monitor=seen(verdict))}, ["a"], "2026-11-28T12:00:00Z")
        (line,) = _report_document.overview_table(found)[2:]
        assert line.startswith(f"{mark:<6}a ")
        assert (f"the monitor says {verdict}" in line) is (mark != "ok")
        page = _report_page.overview_page(found)
        assert page["hosts"][0]["since"]["word"] == verdict
        assert (f"the monitor says {verdict} of 1 host" in page["verdict"]["word"]) is (mark != "ok")

    def test_what_fails_and_what_the_monitor_says_are_both_told(self) -> None:
        lines = _report_table.summary_table(told("fail", monitor=seen("failed")))
        assert lines[-1] == "NOT everything is proven; see above. The monitor says: failed."


class TestOverview:
    def test_the_data_keeps_to_its_schema(self) -> None:
        schema = json.loads((DOCS / "report-index.schema.json").read_text(encoding="utf-8"))
        validator = jsonschema.Draft202012Validator(schema)
        validator.check_schema(schema)
        found = _report_document.overview({"a": report_cases.report(), "b": None}, ["a"], "2026-11-28T11:00:00Z")
        validator.validate(found)
        assert found["fixed"] is False
        assert not validator.is_valid({**found, "more": 1})
        assert not validator.is_valid({**found, "hosts": [{**found["hosts"][0], "more": 1}]})
        assert _report_document.overview({"a": report_cases.report()}, ["a"], "")["fixed"] is True
