# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of Compose files: the text differs in the lines of the key and nowhere else, the meaning in the key only."""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import RESET, ComposeFile
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from compose_binary import BY_VERSION
from hypothesis import assume, given, settings
from hypothesis import strategies as st

SERVICE = ("services", "backend")
SIGNS = {"␍": "\r", "␉": "\t", "␠": " ", "␛": "\ufeff", "␃\n": ""}
REMOVED = object()


class Case(NamedTuple):
    name: str
    before: str
    keys: tuple[str | int, ...]
    value: Any
    diff: list[str]


def read_cases() -> list[Case]:
    text = (Path(__file__).parent / "compose_edits.txt").read_text(encoding="utf-8")
    cases = []
    for block in re.split(r"^#### ", text, flags=re.MULTILINE)[1:]:
        head, before, diff = re.split(r"^~~~~\n", block.rstrip() + "\n", flags=re.MULTILINE)
        name, change = head.splitlines()
        verb, path, *value = change.split(" ", 2)
        keys = tuple(int(key) if key.isdigit() else key for key in path.split("."))
        for sign, meaning in SIGNS.items():
            before = before.replace(sign, meaning)
        cases.append(
            Case(name, before, SERVICE + keys, json.loads(value[0]) if verb == "set" else REMOVED, diff.splitlines())
        )
    return cases


CASES = read_cases()


def parse(text: str) -> ComposeFile:
    return ComposeFile.parse(text.encode(), "/srv/app/compose.yaml")


def edit(file: ComposeFile, case: Case) -> ComposeFile:
    return file.remove(case.keys) if case.value is REMOVED else file.set(case.keys, case.value)


def shown(text: str) -> list[str]:
    """The lines of a text in the notation of the cases."""
    for sign, meaning in (("␍", "\r"), ("␉", "\t"), ("␛", "\ufeff")):
        text = text.replace(meaning, sign)
    text = re.sub(r" +$", lambda match: "␠" * len(match.group()), text, flags=re.MULTILINE)
    return (text if text.endswith("\n") or not text else text + "␃").splitlines()


def unified(before: str, after: str) -> list[str]:
    return list(difflib.unified_diff(shown(before), shown(after), n=0, lineterm=""))[2:]


class Reader(yaml.SafeLoader):
    """Another reader than the one under test, with the rules of YAML 1.1."""


Reader.add_multi_constructor("!", lambda loader, tag, node: (tag, str(yaml.serialize(node))))


def independent(text: str) -> Any:
    # PyYAML itself takes no tab before a comment.
    return yaml.load(text.replace("\t", " "), Reader) or {}


def changed(document: Any, keys: tuple[str | int, ...], value: Any) -> Any:
    """The document with one value set or removed; mappings on the way are made."""
    document = copy.deepcopy(document)
    holder = document
    for key in keys[:-1]:
        if isinstance(holder, dict) and holder.get(key) is None:
            holder[key] = {}
        holder = holder[key]
    if value is REMOVED:
        del holder[keys[-1]]
    elif isinstance(holder, list) and keys[-1] == len(holder):
        holder.append(value)
    else:
        holder[keys[-1]] = value
    return document


def test_there_are_enough_cases():
    assert len(CASES) >= 90
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_edit(case: Case):
    file = parse(case.before)
    after = edit(file, case)
    assert unified(case.before, after.text) == case.diff
    assert independent(after.text) == changed(independent(case.before), case.keys, case.value)
    assert file.text == case.before, "the file edited must stay as it was"


@pytest.mark.parametrize("case", [case for case in CASES if case.value is not REMOVED], ids=lambda case: case.name)
def test_edit_again_changes_nothing(case: Case):
    after = edit(parse(case.before), case)
    assert edit(after, case).text == after.text


# What the edit leaves is good YAML, but a service without an image or a port without a target.
INCOMPLETE = ("services_missing", "service_missing", "remove_first_of_list_item")


# The versions of Compose take turns.
JUDGED = list(zip(CASES, itertools.cycle(BY_VERSION.values())))


@pytest.mark.parametrize(("case", "program"), JUDGED, ids=[case.name for case, _program in JUDGED])
def test_compose_still_reads_the_file_and_sees_the_value(tmp_path: Path, case: Case, program: str):
    """Compose itself as the judge, for the files that it takes: some of the cases name no image, for example."""
    edited = edit(parse(case.before), case).text
    before, after = (compose_config(program, tmp_path, text) for text in (case.before, edited))
    if before is None or case.name in INCOMPLETE:
        return
    assert after is not None, "Compose took the file before the edit"
    if case.keys[2:] == ("restart",):
        wanted = None if case.value is REMOVED else case.value
        assert after["services"]["backend"].get("restart") == wanted
        before["services"]["backend"].pop("restart", None)
        after["services"]["backend"].pop("restart", None)
        assert before == after


def compose_config(program: str, folder: Path, text: str) -> Any:
    (folder / "compose.yaml").write_bytes(text.encode())
    command = [program, "--project-name", "x", "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


REFUSED = [
    (
        "inside_shared_anchor",
        "services:\n  backend: &app\n    image: app\n  worker: *app\n",
        ("restart",),
        "always",
        "/srv/app/compose.yaml:2: services.backend cannot be changed here alone: it belongs to an anchor that is used "
        "in other places too",
    ),
    (
        "behind_alias",
        "x-app: &app\n  image: app\nservices:\n  backend: *app\n",
        ("restart",),
        "always",
        "services.backend cannot be changed here alone: it belongs to an anchor",
    ),
    (
        "below_alias",
        "x-deploy: &d\n  restart_policy:\n    condition: any\nservices:\n  backend:\n    deploy: *d\n",
        ("deploy", "restart_policy", "condition"),
        "none",
        "it stands behind the alias *d",
    ),
    (
        "below_merge_key",
        "x-app: &app\n  deploy:\n    replicas: 1\nservices:\n  backend:\n    <<: *app\n",
        ("deploy", "restart_policy"),
        {"condition": "any"},
        "services.backend.deploy cannot be changed here alone: it comes from a merge key (<<)",
    ),
    (
        "remove_what_a_merge_key_brings",
        "x-app: &app\n  restart: always\nservices:\n  backend:\n    <<: *app\n",
        ("restart",),
        REMOVED,
        "it comes from a merge key (<<)",
    ),
    (
        "remove_what_a_merge_key_brings_as_well",
        "x-app: &app\n  restart: always\nservices:\n  backend:\n    <<: *app\n    restart: 'no'\n",
        ("restart",),
        REMOVED,
        "a merge key (<<) brings it in as well",
    ),
    (
        "remove_an_anchor_in_use",
        "services:\n  backend:\n    restart: &r always\n    image: app\n  redis:\n    restart: *r\n",
        ("restart",),
        REMOVED,
        "/srv/app/compose.yaml:3: services.backend.restart cannot be changed without changing something else as well",
    ),
    (
        "change_an_anchor_in_use",
        "services:\n  backend:\n    restart: &r always\n    image: app\n  redis:\n    restart: *r\n",
        ("restart",),
        "no",
        "it belongs to an anchor that is used in other places too",
    ),
    (
        "text_is_no_mapping",
        "services:\n  backend:\n    deploy: x\n",
        ("deploy", "a"),
        1,
        ":3: services.backend.deploy is no mapping",
    ),
    ("list_is_no_mapping", "services:\n  backend: [a]\n", ("restart",), "always", "services.backend is no mapping"),
    ("mapping_is_no_list", "services:\n  backend: {a: 1}\n", (0,), "always", "is no list long enough"),
    ("list_is_too_short", "services:\n  backend:\n    command: [a]\n", ("command", 2), "b", "is no list long enough"),
]


@pytest.mark.parametrize(
    ("text", "keys", "value", "message"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_refused(text: str, keys: tuple[str | int, ...], value: Any, message: str):
    file = parse(text)
    with pytest.raises(HotfixError) as error:
        edit(file, Case("", text, SERVICE + keys, value, []))
    assert message in str(error.value)
    if "is no" not in message:
        assert "Set target to override" in str(error.value)


def test_reset_is_written_with_compose_own_tag():
    file = parse("services:\n  backend:\n    deploy:\n      restart_policy:\n        condition: any\n")
    policy = (*SERVICE, "deploy", "restart_policy")
    after = file.set(policy, {"condition": "any", "max_attempts": RESET})
    assert unified(file.text, after.text) == ["@@ -5,0 +6 @@", "+        max_attempts: !reset null"]
    assert after.tags() == {(*policy, "max_attempts"): "!reset"}
    assert after.set(policy, {"condition": "any", "max_attempts": RESET}) is after
    plain = after.set((*policy, "max_attempts"), None)
    assert plain.tags() == {}, "null is something else than !reset null"


SCALARS = [
    ("plain", "    command: uvicorn app --workers 4  # c\n", ("command",), "plain", "uvicorn app --workers 4"),
    ("single", "    command: 'uvicorn app --workers 4'\n", ("command",), "'", "'uvicorn app --workers 4'"),
    ("double", '    command: "uvicorn app --workers 4"\n', ("command",), '"', '"uvicorn app --workers 4"'),
    ("folded", "    command: >-\n      uvicorn app\n      --workers 4\n\n", ("command",), ">", None),
    ("literal", "    command: |\n      uvicorn app --workers 4\n", ("command",), "|", None),
    ("item", "    command:\n      - --workers\n      - 4\n", ("command", 1), "plain", "4"),
    ("flow", '    command: [uvicorn, --workers, "4"]\n', ("command", 2), '"', '"4"'),
    ("anchored", "    command: &c uvicorn --workers 4\n", ("command",), "plain", "uvicorn --workers 4"),
]


@pytest.mark.parametrize(("body", "keys", "style", "raw"), [case[1:] for case in SCALARS], ids=[c[0] for c in SCALARS])
def test_replace_a_part_of_a_scalar(body: str, keys: tuple[str | int, ...], style: str, raw: str | None):
    file = parse("services:\n  backend:\n" + body + "    image: app4\n")
    scalar = file.node(SERVICE + keys)
    assert scalar.style == style
    if raw is not None:
        assert file.text[scalar.start : scalar.end] == raw
    at = file.text.index("4", scalar.start, scalar.end)
    value = 2 if scalar.value == 4 else scalar.value.replace("4", "2")
    after = file.replace_span(at, at + 1, "2", keys=SERVICE + keys, value=value)
    assert after.text == file.text[:at] + "2" + file.text[at + 1 :]
    assert after.get(SERVICE + keys) == value


def test_replace_span_refuses_what_means_something_else():
    file = parse("services:\n  backend:\n    command: run 4\n    image: app\n")
    scalar = file.node((*SERVICE, "command"))
    for new, value in (("5", "run 2"), ("2\n    user: x", "run 2"), ("2: x", "run 2"), ("2 #", "run 2 #")):
        with pytest.raises(HotfixError, match="without changing something else"):
            file.replace_span(scalar.end - 1, scalar.end, new, keys=(*SERVICE, "command"), value=value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x-c: &c run\nservices:\n  backend:\n    command: *c\n", "it is the alias *c"),
        ("services:\n  backend:\n    command: &c run\n  redis:\n    command: *c\n", "belongs to an anchor"),
        ("x-c: &c {command: run}\nservices:\n  backend:\n    <<: *c\n", "comes from a merge key"),
        ("services:\n  backend:\n    command: [run]\n", "services.backend.command is no simple value"),
        ("services:\n  backend:\n", "services.backend.command is no simple value"),
    ],
)
def test_node_refuses_shared_places(text: str, message: str):
    with pytest.raises(HotfixError) as error:
        parse(text).node((*SERVICE, "command"))
    assert message in str(error.value)


def test_line():
    file = parse(
        "x-app: &app\n  user: app\nservices:\n  backend:\n    <<: *app\n    image: app\n    command: >\n      run\n"
        "    ports:\n      - a\n      - b\n    restart: *nothing\n".replace("*nothing", "always")
    )
    assert [file.line((*SERVICE, *keys)) for keys in (("image",), ("command",), ("ports", 1), ("user",), ("x",))] == [
        6,
        7,
        11,
        2,
        None,
    ]
    assert file.line(()) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"services: [\n", ":2: not readable as YAML: "),
        (b"services:\n  backend:\n\timage: app\n", ":3: not readable as YAML: found character '\\t'"),
        (b"a: 1\n---\nb: 2\n", ":2: the file holds several YAML documents. Split it"),
        (b"services:\n  a: {}\n  a: {}\n", ":3: the key a is there twice in one mapping, which Compose refuses"),
        (b"- services\n", ":1: a Compose file must be a mapping at its top"),
        (b"just text\n", ":1: a Compose file must be a mapping at its top"),
        (b"a: \xff\n", ":1: the file is not UTF-8. Save it as UTF-8"),
        (b"a: 1\nb: \x07\n", ":2: not readable as YAML: it holds a control character"),
        (b"a: *canary-pass\n", ":1: not readable as YAML: found undefined alias. Correct the name, or put"),
        (b"a: &canary-pass 1\nb: &canary-pass 2\n", ":2: not readable as YAML: second occurrence"),
        (b"a: !canary-pass!x 1\n", ":1: not readable as YAML: found undefined tag handle. Correct the name"),
        (b"a: &a [*a]\n", ":1: an anchor contains itself"),
        (b"a: &a\n  <<: *a\n", ": an anchor contains itself"),
        (b"a: " + b"[" * 3000, ": the YAML is nested too deeply"),
        (b"? [a]\n: b\n", ":1: a key must be a simple text"),
        (b"a:\n  <<: b\n", ":2: the merge key << needs a mapping"),
        (b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
            b"%c: &%c [%s]\n" % (c + 1, c + 1, b",".join([b"*%c" % c] * 10)) for c in range(97, 104)
        ), "expand to more values than Compose would accept"),
    ],
)  # fmt: skip
def test_unreadable(data: bytes, message: str):
    with pytest.raises(HotfixError) as error:
        ComposeFile.parse(data, "/srv/app/compose.yaml")
    assert message in str(error.value)
    assert str(error.value).startswith("/srv/app/compose.yaml:")
    assert "canary" not in str(error.value)


def test_plain_words_mean_what_they_mean_to_compose():
    document = parse(
        "a: no\nb: 010\nc: 22:22\nd: true\ne: 1_000\nf: 0x1F\ng: ~\nh: 1.5\ni: 2001-01-01\nj: 0o17\n"
    ).document
    assert document == {
        "a": "no", "b": 8, "c": "22:22", "d": True, "e": 1000, "f": 31, "g": None, "h": 1.5, "i": "2001-01-01", "j": 15,
    }  # fmt: skip


# Property tests over files nobody wrote: any content, dumped in any style.

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Co", "Cn")), min_size=1, max_size=12)
NAMES = st.sampled_from(["backend", "restart", "deploy", "image", "services", "command", "x-a", "no", "on", "1", "a b"])
VALUES = st.recursive(
    st.one_of(WORDS, st.integers(-99, 99), st.booleans(), st.none(), st.just("a\nb\n"), st.just("# x"), st.just("no")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)
STYLES = st.fixed_dictionaries(
    {
        "indent": st.integers(2, 6),
        "width": st.sampled_from([10, 80]),
        "default_flow_style": st.sampled_from([True, False, None]),
        "default_style": st.sampled_from([None, '"', "'", "|", ">"]),
        "line_break": st.sampled_from(["\n", "\r\n"]),
        "explicit_start": st.booleans(),
    }
)


@settings(max_examples=300)
@given(VALUES, VALUES, STYLES, NAMES, VALUES)
def test_any_file_any_edit(body: Any, other: Any, style: dict[str, Any], key: str, value: Any):
    text = yaml.safe_dump(
        {"services": {"backend": {**(body if isinstance(body, dict) else {"a": body}), "z": 1}, "redis": other}},
        allow_unicode=True,
        **style,
    )
    if style["indent"] == 5:
        text = text.rstrip("\r\n")
    file = parse(text)
    try:
        after = file.set((*SERVICE, key), value)
    except HotfixError as error:
        assume("without changing something else" in str(error))
        return
    assert after.document == changed(file.document, (*SERVICE, key), value)
    assert after.get(("services", "redis")) == file.get(("services", "redis"))
    if style["default_flow_style"] is False and key not in file.get(SERVICE):
        assert not [line for line in unified(text, after.text) if line.startswith("-") and not line.endswith("␃")]
    gone = after.remove((*SERVICE, key))
    expected = dict(file.get(SERVICE))
    expected.pop(key, None)
    assert gone.get(SERVICE) == expected


@settings(max_examples=300)
@given(WORDS)
def test_any_text_is_read_back_by_every_reader(value: str):
    for text in ("services:\n  backend:\n    image: app\n", "services: {backend: {image: app}}\n"):
        after = parse(text).set((*SERVICE, "command"), value)
        assert yaml.safe_load(after.text)["services"]["backend"]["command"] == value
