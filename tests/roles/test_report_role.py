# SPDX-License-Identifier: GPL-3.0-or-later
"""The role report, run by ansible-playbook on this machine: what it writes, for one host and for several."""

from __future__ import annotations

import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import report_cases
import yaml
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal, _report_document, _report_text
from role_play import play_roles

ROOT = Path(__file__).resolve().parents[2]
STYLE = (ROOT / "roles" / "report" / "templates" / "style.css.j2").read_text(encoding="utf-8")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">{{ 6 * 7 }}{% raw %}&amp;\'"\x1b[31m</td>\u202eevil'
PLANTED = ("sk-proj-Qm7xR2vT9wZ4kL8nB3cY6", "hunter2-in-an-address", "kZ3v0Y7qWm1xUu2a9c4Q8rT5yB6nL0pEabc")
LEAKS = f"OPENAI {PLANTED[0]} redis://:{PLANTED[1]}@redis:6379 X-API-Key: {PLANTED[2]}"
EMPTY = ("meta", "link", "br", "img", "hr", "input", "line", "rect", "circle", "path")


class Page(HTMLParser):
    """A page as a browser's parser sees it; an element that is not closed in order is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "docs" / name).read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def variables(folder: Path, **changes: Any) -> dict[str, Any]:
    """What the roles before the report leave of a host."""
    (folder / "project").mkdir(exist_ok=True)
    return {
        "application_project_src": str(folder / "project"),
        "application_state_dir": str(folder / "state"),
        "report_dir": str(folder / "report"),
        "verify_before": report_cases.before(),
        "verify_results": report_cases.after(),
        "verify_workers": report_cases.worker_info(2, 362, 402, 0, 0),
        "monitor_findings": {**report_cases.monitor(), **report_cases.LATER},
        **changes,
    }


def written(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Let the host have a journal."""
    state = Path(_journal.project_folder(str(folder / "state"), str(folder / "project")))
    state.mkdir(parents=True)
    (state / "journal.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def checked(page: str) -> Page:
    """A page that shows nothing of its own accord, and is readable for everybody."""
    seen = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert seen.all("html") == [{"lang": "en"}]
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY}
    assert policy in seen.all("meta")
    # Nothing to run, nothing to fetch.
    assert not {tag for tag, _attributes in seen.elements} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
    }
    for tag, attributes in seen.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "xlink:href")]
        if "href" in attributes:
            assert tag == "a" and re.fullmatch(r"#left-\d+|[\w.-]+\.html", attributes["href"] or "")
    assert "://" not in STYLE and "url(" not in STYLE and "@import" not in STYLE
    # Headings in order, one of the first rank.
    ranks = [int(tag[1]) for tag, _attributes in seen.elements if re.fullmatch("h[1-6]", tag)]
    assert ranks[0] == 1 and ranks.count(1) == 1
    assert all(later <= sooner + 1 for sooner, later in zip(ranks, ranks[1:]))
    identities = [attributes["id"] for _tag, attributes in seen.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    for _tag, attributes in seen.elements:
        for identity in (attributes.get("aria-labelledby") or "").split():
            assert identity in identities
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in identities
    # Every header says what it heads; every drawing has a name, a description and its figures as a table.
    assert all(attributes.get("scope") in ("row", "col") for attributes in seen.all("th"))
    drawings = [attributes for attributes in seen.all("svg") if "viewbox" not in attributes]
    assert all(
        attributes["role"] == "img" and len((attributes["aria-labelledby"] or "").split()) == 2
        for attributes in drawings
    )
    assert len(seen.all("title")) == 1 + len(drawings) == 1 + len(seen.all("desc"))
    return seen


def test_a_report_holds_the_run_and_what_the_monitor_saw(tmp_path: Path) -> None:
    written(tmp_path, report_cases.journal())
    done = play_roles(tmp_path, ["report"], {"droplet": variables(tmp_path)})
    assert done.returncode == 0, done.stdout
    assert stat.S_IMODE((tmp_path / "report").stat().st_mode) == 0o750
    report = json.loads((tmp_path / "report" / "droplet.json").read_text())
    validator("report.schema.json").validate(report)
    assert report["interruption"]["status"] == "bridged"
    assert [step["action"] for step in report["timeline"]["entries"]][:2] == ["run began", "present"]
    assert len(report["monitor"]["series"]) == 288
    page = checked((tmp_path / "report" / "droplet.html").read_text())
    for words in (
        "Nothing failed; 1 not observable",
        "a copy of the new container served from 10:56:05 to 10:56:19 UTC; 0 connections were cut",
        "since then: degraded",
        "Memory against the limit",
        "Deaths: 3",
        "98.6 %",
        "OPENAI_API_KEY is labelled as a development or test key.",
    ):
        assert words in page.text
    assert len(page.all("svg")) - len([svg for svg in page.all("svg") if "viewbox" in svg]) == 5
    shown = done.stdout[done.stdout.index("Hot-fix summary") : done.stdout.index("Nothing failed;")].splitlines()
    assert max(map(_report_text.width, shown)) <= 80
    assert str(tmp_path / "report" / "droplet.html") in "".join(line.strip() for line in shown)
    assert not (tmp_path / "report" / "index.html").exists()


def test_nothing_is_written_without_a_folder_and_in_check_mode(tmp_path: Path) -> None:
    done = play_roles(tmp_path, ["report"], {"droplet": variables(tmp_path, report_dir="")})
    assert done.returncode == 0, done.stdout
    assert "Nothing failed; 1 not observable. The monitor says: degraded." in done.stdout
    assert ".html" not in done.stdout
    assert "Not measured: the journal on the host has no entry of this run" in done.stdout
    done = play_roles(tmp_path, ["report"], {"droplet": variables(tmp_path)}, "--check")
    assert done.returncode == 0, done.stdout
    assert ".html" not in done.stdout[done.stdout.index("Hot-fix summary") :].partition("TASK")[0]
    assert list((tmp_path / "report").iterdir()) == []


@pytest.mark.parametrize(("named", "names"), [("./report", ("one", "two")), ("~/report", ("one",))])
def test_a_folder_is_relative_to_where_the_operator_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, names: tuple[str, ...]
) -> None:
    plays, started = tmp_path / "plays", tmp_path / "started"
    plays.mkdir()
    started.mkdir()
    monkeypatch.setenv("HOME", str(started))
    hosts = {name: variables(tmp_path) for name in names}
    roles = ["report:check", "report", "report:again"]
    done = play_roles(plays, roles, hosts, "-e", f"report_dir={named}", start=started)
    assert done.returncode == 0, done.stdout
    shown = "".join(line.strip() for line in done.stdout.splitlines())
    assert shown.count(f"{started}/report/one.html") == 2
    pages = (*names, "index") if len(names) > 1 else names
    assert {path.name for path in (started / "report").iterdir()} == {
        f"{name}.{ending}" for name in pages for ending in ("html", "json")
    }
    assert shown.count(f"{started}/report/index.html") == (2 if len(names) > 1 else 0)
    assert not (plays / "report").exists()


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    folder.chmod(0o2775)
    done = play_roles(tmp_path, ["report"], {"droplet": variables(tmp_path)})
    assert done.returncode == 0, done.stdout
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2775


def test_a_journal_that_cannot_be_read_does_not_stop_the_report(tmp_path: Path) -> None:
    written(tmp_path, [])
    (journal,) = (tmp_path / "state").glob("*/journal.jsonl")
    journal.unlink()
    journal.mkdir()
    done = play_roles(tmp_path, ["report"], {"droplet": variables(tmp_path)})
    assert done.returncode == 0, done.stdout
    found = json.loads((tmp_path / "report" / "droplet.json").read_text())["interruption"]
    assert found["status"] == "not measured" and "journal.jsonl" in found["text"]
    checked((tmp_path / "report" / "droplet.html").read_text())


def test_whatever_an_application_says_stays_text_and_no_secret_is_shown(tmp_path: Path) -> None:
    says = f"{HOSTILE} {LEAKS}"
    results = [
        *report_cases.after(),
        report_cases.check("API works", "health", "fail", says),
        report_cases.check("Production settings", "openai_api_key", "action", says),
    ]
    seen = {**report_cases.monitor(), **report_cases.LATER}
    seen["reasons"] = [says]
    seen["events"] = [{"time": says, "kind": says, "text": says}]
    seen["summary"]["errors"] = {says: 3}
    plan = {"workers": 2, "reasons": [says], "sizing": report_cases.report()["workers"]["sizing"]}
    update = {**report_cases.report()["revision"], "carried_over": [says]}
    update["commits"] = [{"revision": "a" * 40, "subject": says}]
    written(tmp_path, [*report_cases.journal(), report_cases.entry("10:56:30.000", says, says, files=[says])])
    given = variables(
        tmp_path,
        verify_results=results,
        monitor_findings=seen,
        workers_plan=plan,
        redis_fix_update=update,
        application_service=HOSTILE.replace("{", "").replace("%", ""),
    )
    # As a module's results are: nothing in them is a template, on any ansible-core.
    (tmp_path / "given.json").write_text(json.dumps(given))
    names = {name: f"{{{{ given.{name} }}}}" for name in given if not name.startswith(("report_dir", "application_p"))}
    load = {
        "ansible.builtin.set_fact": {
            "given": f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/given.json') | from_json }}}}"
        }
    }
    rest = {name: given[name] for name in ("report_dir", "application_project_src")}
    done = play_roles(tmp_path, [load, "report"], {"droplet": {**names, **rest}})
    assert done.returncode == 0, done.stdout
    text = (tmp_path / "report" / "droplet.html").read_text()
    page = checked(text)
    # Once for the issue and once for the action, at the least; and as it was written.
    assert page.text.count("<script>alert(1)</script><img src=x onerror=") >= 8
    assert "{{ 6 * 7 }}{% raw %}&amp;'\"" in page.text
    kept = (tmp_path / "report" / "droplet.json").read_text()
    validator("report.schema.json").validate(json.loads(kept))
    table = done.stdout[done.stdout.index("Hot-fix summary") : done.stdout.index("NOT everything is proven")]
    for output in (text, kept, table):
        assert "\x1b" not in output and "\u202e" not in output
        assert [secret for secret in PLANTED if secret in output] == []
    assert max(map(_report_text.width, table.splitlines())) <= 80


def test_awx_gets_the_report_of_each_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "true")
    monkeypatch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", "json")
    hosts = {name: variables(tmp_path, report_dir="") for name in ("one", "two")}
    done = play_roles(tmp_path, ["report"], hosts)
    assert done.returncode == 0, done.stdout
    shown = done.stdout[done.stdout.index("CUSTOM STATS") :].partition("RUN:")[2]
    published = json.loads(shown)["composeops_hotfix"]
    assert set(published) == set(hosts)
    for name, report in published.items():
        assert report["host"] == name and report["monitor"]["verdict"] == "degraded"
        assert "series" not in report["monitor"]


HOSTS = ("canary", "../../etc/x", "index", "sick", "last one")


@pytest.mark.parametrize("serial", ["100%", [1, "100%"]])
def test_several_hosts_get_a_page_each_and_an_overview(tmp_path: Path, serial: Any) -> None:
    unproven = [*report_cases.after(), report_cases.check("API works", "health", "fail", "no answer")]
    hosts = {name: variables(tmp_path, host_is=name) for name in HOSTS}
    hosts["index"]["verify_results"] = unproven
    sick = {"ansible.builtin.command": {"argv": ["test", "{{ host_is }}", "!=", "sick"]}, "changed_when": False}
    done = play_roles(tmp_path, [sick, "report"], hosts, serial=serial)
    assert done.returncode == 2, done.stdout
    folder = tmp_path / "report"
    names = [_report_document.file_name(name) for name in HOSTS if name != "sick"]
    expected = {f"{name}.{ending}" for name in ("index", *names) for ending in ("html", "json")}
    assert {path.name for path in folder.iterdir()} == expected
    assert len(expected) == 10
    overview = json.loads((folder / "index.json").read_text())
    validator("report-index.schema.json").validate(overview)
    assert [host["host"] for host in overview["hosts"]] == list(HOSTS)
    assert {host["host"]: host["state"] for host in overview["hosts"]} == {
        **dict.fromkeys(HOSTS, "pass"),
        "index": "fail",
        "sick": "not observable",
    }
    assert overview["fixed"] is False
    page = checked((folder / "index.html").read_text())
    assert "not all proven" in page.text and "monitor: degraded" in page.text
    assert "no report: the run failed there before its report" in page.text
    for link in page.all("a"):
        assert checked((folder / str(link["href"])).read_text()).all("a")[0] == {"href": "index.html"}
    assert len(page.all("a")) == 4
    last = done.stdout[done.stdout.rindex("Overview of 5 hosts") :].partition("\n\n")[0].splitlines()
    assert max(map(_report_text.width, last)) <= 80
    assert any(line.startswith("?     sick") for line in last)
    assert any(line.startswith("FAIL  index") for line in last)
    assert "nothing failed; 1 not observable; the monitor says degraded" in " ".join(" ".join(last).split())


def test_a_host_whose_turn_has_not_come_is_named(tmp_path: Path) -> None:
    hosts = {name: variables(tmp_path, host_is=name) for name in ("canary", "second")}
    # The run ends at the canary's verdict, after its report.
    verdict = {"ansible.builtin.command": {"argv": ["test", "{{ host_is }}", "!=", "canary"]}, "changed_when": False}
    done = play_roles(tmp_path, ["report", verdict], hosts, serial=1)
    assert done.returncode == 2, done.stdout
    overview = json.loads((tmp_path / "report" / "index.json").read_text())
    assert overview["hosts"][1]["text"] == "no report: it was not its turn yet"


def test_a_report_is_made_once_more_with_what_the_monitor_has_seen_since(tmp_path: Path) -> None:
    entries = report_cases.journal()
    written(tmp_path, entries)
    given = variables(tmp_path, monitor_findings={})
    assert play_roles(tmp_path, ["report"], {"droplet": given}).returncode == 0
    file = tmp_path / "report" / "droplet.json"
    first = json.loads(file.read_text())
    assert first["monitor"] is None and first["timeline"]["ended"] is None
    file.write_text(json.dumps({**first, "generated": "2026-11-28T10:56:46Z", "checked": "2026-11-28T10:56:46Z"}))
    journal = next((tmp_path / "state").glob("*/journal.jsonl"))
    more = [report_cases.entry("10:56:50.000", "run ended", "ok"), {**entries[0], "run": "ffffffffffff"}]
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in [*entries, *more]))
    later = {name: value for name, value in given.items() if not name.startswith("verify_")}
    done = play_roles(tmp_path, ["report:again"], {"droplet": {**later, "monitor_findings": report_cases.monitor()}})
    assert done.returncode == 0, done.stdout
    report = json.loads(file.read_text())
    validator("report.schema.json").validate(report)
    assert report["timeline"]["ended"] == "2026-11-28T10:56:50.000Z" and report["timeline"]["run"] == report_cases.RUN
    assert report["rows"] == first["rows"] and report["checked"] == "2026-11-28T10:56:46Z" != report["generated"]
    assert report["monitor"]["verdict"] == "degraded"
    page = checked((tmp_path / "report" / "droplet.html").read_text())
    assert "checked on 28 November 2026, 10:56 UTC, report of" in page.text
    assert "since then: degraded" in page.text
    # Without a monitor, and with a journal that has forgotten the run, nothing that was known is lost.
    journal.unlink()
    assert play_roles(tmp_path, ["report:again"], {"droplet": later}).returncode == 0
    assert {**json.loads(file.read_text()), "generated": report["generated"]} == report


def test_what_the_monitor_saw_before_the_run_is_not_said_of_what_runs_now(tmp_path: Path) -> None:
    past = {**report_cases.monitor(), "started_at": "2016-11-28T11:00:00Z", "last_sample_at": "2016-11-29T11:00:00Z"}
    done = play_roles(tmp_path, ["report"], {"droplet": variables(tmp_path, monitor_findings=past)})
    assert done.returncode == 0, done.stdout
    assert "  monitor watched before the run: degraded: 3 workers died" in done.stdout
    assert "The monitor says" not in done.stdout
    page = checked((tmp_path / "report" / "droplet.html").read_text())
    assert "Watched before the run" in page.text and not re.search(r"(?i)since then|! degraded", page.text)


def test_what_was_never_reported_is_not_reported_again(tmp_path: Path) -> None:
    done = play_roles(tmp_path, ["report:again"], {"droplet": variables(tmp_path)})
    assert done.returncode == 2
    said = " ".join(done.stdout.split())
    assert "There is no " in said and "droplet.json, the report of the last run on droplet" in said
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "droplet.json").write_text('{"host": "droplet", "rows": [], "fixed": true, "actions": []}')
    done = play_roles(tmp_path, ["report:again"], {"droplet": variables(tmp_path)})
    assert done.returncode == 2
    assert "droplet.json was written by another version of the collection" in " ".join(done.stdout.split())


# --- the style --------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_drawings_stand_out_in_both_themes(theme: int) -> None:
    roots = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    assert len(roots) == 2
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", roots[theme]))
    texts = ("text", "soft", "accent", "pass", "fail", "action", "unknown")
    assert {
        name: contrast(colour[name], colour["ground"])
        for name in texts
        if contrast(colour[name], colour["ground"]) < 4.5
    } == {}
    for state in ("pass", "fail", "action", "unknown"):
        assert contrast(colour[state], colour[f"{state}-ground"]) >= 4.5
    # The numbers on the marks, which have the colour of the ground.
    assert contrast(colour["ground"], colour["fail"]) >= 4.5
    # WCAG 1.4.11 for what is no text.
    for name in ("worker", "rest", "fail", "accent"):
        assert contrast(colour[name], colour["ground"]) >= 3
    assert set(re.findall(r"var\(--([\w-]+)\)", STYLE)) <= set(colour)


def test_the_style_has_a_theme_a_telephone_and_paper() -> None:
    for needed in (
        "@media screen and (prefers-color-scheme: dark)",
        "@media print",
        "@media screen and (max-width: 52rem)",
    ):
        assert needed in STYLE
    # Ansible would take these for the beginning of an expression.
    assert not re.search(r"\{[{%#]", STYLE)
    assert "overflow-x" not in STYLE


@pytest.mark.parametrize("name", ["page.html.j2", "index.html.j2"])
def test_a_template_inserts_only_what_is_escaped(name: str) -> None:
    text = (ROOT / "roles" / "report" / "templates" / name).read_text(encoding="utf-8")
    code = " ".join(re.findall(r"\{\{.*?\}\}|\{%.*?%\}", text, re.DOTALL))
    # Names that lead to other variables than the view, and filters that would undo it.
    assert set(re.findall(r"\breport_\w+", code)) <= {"report_page", "report_hosts_page", "report_overview_page"}
    undone = r"\|\s*(safe|forceescape|replace|regex_\w+|urldecode|b64decode)\b|hostvars|lookup|inventory_"
    assert not re.search(undone, code)


def test_the_playbooks_of_a_change_end_with_a_report() -> None:
    for name in ("apply", "rotate_keys", "retire_keys", "tune_workers"):
        play = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())[0]
        assert "composeops.hotfix.report" in json.dumps(play["tasks"])
