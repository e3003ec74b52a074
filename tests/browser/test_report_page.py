# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of a report in a real browser: both themes, from a telephone to a wide screen, and on paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
import report_cases
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal
from role_play import play_roles

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
THEMES = {"dark": 0, "light": 1}
GROUNDS = {"dark": (0x14, 0x16, 0x1A), "light": (0xFC, 0xFC, 0xFB)}
LONG = "an_unbroken_word_of_a_log_" * 8
MEASURE = """<!DOCTYPE html><style>body {{ margin: 0 }} iframe {{ width: {width}px; height: 900px; border: 0 }}</style>
<iframe id="page" src="{name}"></iframe><pre id="found"></pre><script>
addEventListener("load", function () {{
  const page = document.getElementById("page").contentDocument, root = page.documentElement;
  for (const one of page.querySelectorAll("details")) one.open = true;
  const wide = [...page.querySelectorAll("body *")].filter(one => !one.closest("svg, .hidden, thead")
    && one.getBoundingClientRect().right > {width} + 0.5).map(one => one.outerHTML.slice(0, 90));
  const thin = [...page.querySelectorAll("caption, p, li, dd, h1, h2, h3")].filter(one =>
    one.offsetWidth && one.offsetWidth < 90 && one.offsetHeight > 130).map(one => one.outerHTML.slice(0, 90));
  document.getElementById("found").textContent = JSON.stringify(
    {{scroll: root.scrollWidth, wide: wide.slice(0, 3), thin: thin, tall: root.scrollHeight}});
}});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"none of {', '.join(NAMES)} is installed; apt-get install chromium"
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page of a host, of one that a hostile application runs on, and their overview."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "project").mkdir()
    state = Path(_journal.project_folder(str(folder / "state"), str(folder / "project")))
    state.mkdir(parents=True)
    (state / "journal.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in report_cases.journal()))
    common = {
        "application_project_src": str(folder / "project"),
        "application_state_dir": str(folder / "state"),
        "report_dir": str(folder / "report"),
        "diagnose_findings": {**report_cases.worker_info(3, 497, 512, 8, 8), "problem": "none was asked for"},
        "verify_before": report_cases.before(),
        "verify_results": report_cases.after(),
        "verify_workers": report_cases.worker_info(2, 362, 402, 0, 0),
        "monitor_findings": {**report_cases.monitor(), **report_cases.LATER},
        "api_keys_rotation": {"rotated": True, "new_fingerprint": "sha256:4d9dbbd4 len=43"},
        "api_keys_handoff": {"dest": "/srv/handoff/droplet.vault.yml"},
        "deploy_lock": {"run": report_cases.RUN},
    }
    unproven = [*report_cases.after(), report_cases.check("API works", "health", "fail", f"<b>{LONG}</b>")]
    hosts = {
        "droplet": common,
        "hostile": {**common, "verify_results": unproven, "application_service": LONG},
        f"host-{LONG[:60]}": common,
    }
    done = play_roles(folder, ["report"], hosts)
    assert done.returncode == 0, done.stdout
    return folder / "report"


def run(browser: str, folder: Path, url: str, *options: str) -> str:
    command = [
        *(
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
        ),
        *(f"--user-data-dir={folder / 'profile'}", *options, url),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def picture(browser: str, folder: Path, url: str, theme: str) -> Path:
    made = folder / f"{theme}.png"
    scheme = f"--blink-settings=preferredColorScheme={THEMES[theme]}"
    run(browser, folder, url, scheme, "--window-size=1200,1560", f"--screenshot={made}")
    return made


def first_pixel(png: bytes) -> tuple[int, ...]:
    """The colour in the upper left corner, where no filter of the format does anything to it."""
    depth, kind = png[24], png[25]
    assert (depth, kind) in ((8, 2), (8, 6))
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        data += png[at + 8 : at + 8 + length] if png[at + 4 : at + 8] == b"IDAT" else b""
        at += length + 12
    return tuple(zlib.decompress(data)[1:4])


@pytest.mark.parametrize("width", [320, 360, 600, 833, 1200, 1920])
@pytest.mark.parametrize("name", ["droplet", "hostile", "index"])
def test_nothing_is_wider_than_the_screen(browser: str, pages: Path, tmp_path: Path, name: str, width: int) -> None:
    frame = pages / f"frame-{width}.htm"
    frame.write_text(MEASURE.format(name=f"{name}.html", width=width))
    dom = run(browser, tmp_path, f"file://{frame}", "--dump-dom", f"--window-size={width + 100},1000")
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    found: dict[str, Any] = json.loads(html.unescape(text))
    assert found["wide"] == []
    # Nor is there a word a line.
    assert found["thin"] == []
    assert found["scroll"] <= width
    assert found["tall"] > 300


@pytest.mark.parametrize("theme", THEMES)
def test_it_has_the_theme_of_the_system(browser: str, pages: Path, tmp_path: Path, theme: str) -> None:
    made = picture(browser, tmp_path, f"file://{pages}/droplet.html", theme)
    assert first_pixel(made.read_bytes()) == GROUNDS[theme]


def test_it_prints_without_the_figures_that_a_reader_has_opened(browser: str, pages: Path, tmp_path: Path) -> None:
    opened = (pages / "droplet.html").read_text(encoding="utf-8").replace("<details>", "<details open>")
    assert opened.count("<details open>") == 4
    (tmp_path / "opened.html").write_text(opened, encoding="utf-8")
    paper = tmp_path / "page.pdf"
    run(browser, tmp_path, f"file://{tmp_path}/opened.html", f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    count = max(int(number) for number in re.findall(rb"/Count (\d+)", paper.read_bytes()))
    assert 2 <= count <= 8
