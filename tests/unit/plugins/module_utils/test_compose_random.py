# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose files put together at random from pieces as people write them: any edit, the same judges as for the corpus.

FUZZ_EXAMPLES in the environment says how many, and has each version of Compose judge each of them.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._compose_change import changed_files
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from compose_judge import (
    EDITS,
    SERVICE,
    TARGETS,
    Judge,
    Sample,
    changed_paths,
    edited,
    expected,
    judges,
    unclear,
    with_compose,
)
from compose_lines import foreign_lines
from hypothesis import example, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "80"))
# What the aliases in the pieces mean.
HEADER = """\
x-restart: &x_restart always
x-env: &x_env {LOG_LEVEL: info, FROM_ANCHOR: x}
x-policy: &x_policy
  condition: on-failure
  max_attempts: 3
x-common: &x_common
  restart: "no"
  stop_grace_period: 30s
x-more: &x_more
  environment: {LOG_LEVEL: warning}
  command: uvicorn common:app --workers 8
"""
# The ways to write each key of the service; two blanks are one indentation, and at a ¤ there may be a comment.
PIECES: dict[str, list[str]] = {
    "merge": [
        "<<: *x_common ¤",
        "<<: [*x_common, *x_more] ¤",
        "<<: ¤\n  - *x_more ¤\n  - *x_common ¤",
        "<<: {init: true} ¤",
    ],
    "restart": [
        "restart: always ¤",
        'restart: "no" ¤',
        "restart: 'on-failure:2' ¤",
        "restart: ¤\n  always ¤",
        "restart: no ¤",
        "restart: &mine always ¤",
        "restart: *x_restart ¤",
        "'restart' : always ¤",
        "restart: ${RESTART:-always} ¤",
        "restart: !!str always ¤",
        "? restart ¤\n: always ¤",
        "restart: >- ¤\n  always",
        'restart: "unless-\\\n  stopped" ¤',
    ],
    "environment": [
        "environment: ¤\n  LOG_LEVEL: info ¤\n  OTHER: 'x: y' ¤",
        "environment: ¤\n- LOG_LEVEL=info ¤\n- OTHER=a=b ¤",
        "environment: ¤\n  - OTHER ¤\n  - 'LOG_LEVEL=info # no comment' ¤",
        "environment: {LOG_LEVEL: info} ¤",
        "environment: {} ¤",
        "environment: [LOG_LEVEL=info, OTHER=x] ¤",
        "environment: {OTHER: x, ¤\n    LOG_LEVEL: info ¤\n  } ¤",
        "environment: *x_env ¤",
        "environment: ¤\n  <<: *x_env ¤\n  OTHER: x ¤",
        "environment: &env ¤\n  LOG_LEVEL: info ¤",
        "environment: ¤\n  OTHER: |- ¤\n    LOG_LEVEL: x\n    restart: y\n  LOG_LEVEL: ¤",
        'environment: ¤\n  "LOG_LEVEL": "info" ¤',
        "environment: ¤\n  LOG_LEVEL: > ¤\n    folded\n    text\n",
        "environment: { ¤\n    LOG_LEVEL: info, ¤\n    OTHER: x, ¤\n  } ¤",
    ],
    "command": [
        "command: uvicorn main:app --workers 4 ¤",
        'command: ["uvicorn", "main:app", "--workers", "4"] ¤',
        "command: ¤\n  - uvicorn ¤\n  - main:app ¤\n  - --workers ¤\n  - '4' ¤",
        "command: > ¤\n  uvicorn main:app\n  --workers 4",
        "command: |- ¤\n  uvicorn main:app --workers 4",
        "command: 'uvicorn main:app\n    --workers 4' ¤",
        "command: ¤",
        "command: [uvicorn, ¤\n    main:app, ¤\n    --workers, '4'] ¤",
        "command: >+ ¤\n  uvicorn main:app --workers 4\n",
        "command: ¤\n- sh ¤\n- -c ¤\n- | ¤\n  exec uvicorn main:app --workers 4",
    ],
    "deploy": [
        "deploy: ¤\n  restart_policy: ¤\n    condition: any ¤",
        "deploy: {restart_policy: {condition: any}} ¤",
        "deploy: ¤",
        "deploy: ¤\n  replicas: 1 ¤\n  restart_policy: *x_policy ¤",
        "deploy: {} ¤",
        "deploy: ¤\n  restart_policy: {} ¤",
        "deploy: ¤\n  restart_policy: {condition: on-failure, ¤\n      max_attempts: 3} ¤\n  replicas: 1 ¤",
        "deploy: ¤\n  replicas: 1 ¤",
        "deploy: &d ¤\n  restart_policy: &p ¤\n    condition: none ¤\n    window: 5s ¤",
    ],
    "other": [
        "labels: ¤\n  a: | ¤\n    restart: always\n  restart: b ¤",
        "labels: ['restart=always'] ¤",
        "labels: ¤\n  note: >- ¤\n    deploy:\n      text",
        "ports: ¤\n- '8000:8000' ¤",
        "healthcheck: {test: [CMD, 'true'], ¤\n    retries: 3} ¤",
    ],
}
COMMENTS = ["", "", "", "", "# restart: no", "\t# tab", " ", "# größer", "#", "# it's {"]
BETWEEN = ["", "", "", "", "", "\n", "    # restart: always\n", "# left\n", "            # far\n", "  \n", "\n\n"]
OTHERS = [
    "redis:\n  image: redis\n  restart: always\n",
    "redis: {image: redis, restart: *x_restart, environment: *x_env}\n",
    "redis:\n  <<: *x_common\n  image: redis\n  deploy: {restart_policy: *x_policy}\n",
    "redis:\n  image: redis\n  environment:\n  - LOG_LEVEL=info\n",
    "worker:\n  extends: backend\n  command: celery\n",
]


def indented(text: str, first: int, step: int) -> str:
    """A piece with the indentation of its place."""
    lines = text.split("\n")
    depths = [(len(line) - len(line.lstrip(" "))) // 2 for line in lines]
    return "".join(
        " " * (first + depth * step) * bool(line.strip()) + line.lstrip(" ") + "\n"
        for depth, line in zip(depths, lines)
    )


@st.composite
def compose_files(draw: st.DrawFn) -> str:
    """A text that Compose takes, with a service ``backend`` beside another one."""
    outer, inner = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    parts = ["image: app ¤", *(draw(st.sampled_from(["", "", *ways])) for ways in PIECES.values())]
    backend = ""
    for part in draw(st.permutations([part for part in parts if part])):
        backend += indented(part, outer + inner, draw(st.integers(1, 4))) + draw(st.sampled_from(BETWEEN))
    backend = " " * outer + "backend: ¤\n" + backend
    other = indented(draw(st.sampled_from(OTHERS)).rstrip("\n"), outer, draw(st.integers(1, 4)))
    services = [backend, draw(st.sampled_from(BETWEEN)), other]
    if draw(st.booleans()):
        services.reverse()
    text = HEADER + "services: ¤\n" + "".join(services) + draw(st.sampled_from(["", "", "volumes: {}\n", "# end\n"]))
    text = re.sub(" ¤", lambda _mark: f" {draw(st.sampled_from(COMMENTS))}".rstrip(" "), text)
    text = text.replace("\n", draw(st.sampled_from(["\n", "\n", "\r\n"])))
    return text.rstrip("\r\n") if draw(st.sampled_from([False, False, True])) else text


def judge_edit(text: str, edit: str, target: str, folder: Path) -> Any:
    """The judgement of one edit; the error, when it is refused."""
    judge = Judge(folder, Sample("random", {"compose.yaml": text}, [], {}))
    after = edited(judge.project, edit, target)
    if isinstance(after, HotfixError):
        assert not unclear(after, folder)
        return after
    paths = [("services", SERVICE, *path) for path in changed_paths(EDITS[edit])]
    changes = changed_files(judge.project, after)
    for was, now in changes:
        assert not foreign_lines(was.text if was else "", now.text, paths)
    again = edited(after, edit, target)
    assert not isinstance(again, HotfixError) and not changed_files(after, again)
    for version in judges(text, edit, target):
        before = judge.config(version, {})
        now_ = judge.config(version, {now.path: now.data for _was, now in changes})
        assert now_ == expected(before, EDITS[edit])
    return None


# What goes away stands between a block scalar and a comment further in than its key.
BELOW_A_BLOCK_SCALAR = f"""{HEADER}services:
 backend:
  labels:
   note: >-
    text
  deploy: {{restart_policy: {{condition: any}}}}
    # restart: always
  image: app
"""


@with_compose
@example(BELOW_A_BLOCK_SCALAR, "comes-back", "source")
@settings(max_examples=EXAMPLES)
@given(compose_files(), st.sampled_from(list(EDITS)), st.sampled_from(TARGETS))
def test_any_pieces_any_edit(text: str, edit: str, target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        refused = judge_edit(text, edit, target, Path(folder))
    if refused:
        # Only what is shared, or written in a way that leaves no room for the change.
        assert re.search(r"[*&]|extends|\? restart|<<|: is a list|- ", text), refused
