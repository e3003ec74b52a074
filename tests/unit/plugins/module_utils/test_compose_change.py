# SPDX-License-Identifier: GPL-3.0-or-later
"""Which file of a project has to say what: several files, overrides, extends, includes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _container
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_change import changed_files, plan, wanted
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_check import validated
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

POLICY = {"condition": "on-failure", "max_attempts": 3}


def project_of(folder: Path, *texts: str) -> Project:
    """A project of a base file and, if given, an override file and further ones beside."""
    names = ("compose.yaml", "compose.override.yaml", "other.yaml")
    for name, text in zip(names, texts):
        if text:
            (folder / name).write_text(text)
    return Project.load(str(folder))


def changes(project: Project, *, override: bool = False, **options: Any) -> dict[str, str]:
    """The changed files' new texts by name; a second run on the result must change nothing."""
    after = plan(project, "s", wanted(**options), override=override)
    again = plan(after, "s", wanted(**options), override=override)
    assert changed_files(after, again) == []
    return {os.path.basename(file.path): file.text for _was, file in changed_files(project, after)}


def test_strongest_file_is_changed(tmp_path: Path):
    project = project_of(
        tmp_path,
        "services:\n  s:\n    image: i\n    restart: always\n    command: a\n",
        "services:\n  s:\n    restart: 'no'\n",
    )
    assert changes(project, restart="unless-stopped", command="b") == {
        "compose.yaml": "services:\n  s:\n    image: i\n    restart: always\n    command: b\n",
        "compose.override.yaml": "services:\n  s:\n    restart: 'unless-stopped'\n",
    }


def test_policy_is_exact_although_files_are_merged(tmp_path: Path):
    project = project_of(
        tmp_path,
        "services:\n  s:\n    user: u\n    deploy:\n      restart_policy:\n        condition: any\n        delay: 5s\n",
        "services:\n  s:\n    deploy:\n      restart_policy:\n        condition: none\n",
    )
    assert changes(project, deploy_restart_policy=POLICY) == {
        "compose.yaml": "services:\n  s:\n    user: u\n    deploy:\n      restart_policy:\n        condition: any\n",
        "compose.override.yaml": "services:\n  s:\n    deploy:\n      restart_policy:\n        condition: on-failure\n"
        "        max_attempts: 3\n",
    }


def test_absent_from_all_files_with_what_becomes_empty(tmp_path: Path):
    project = project_of(
        tmp_path,
        "services:\n  s:\n    image: i\n    deploy:\n      restart_policy: {condition: any}\n      replicas: 1\n",
        "services:\n  s:\n    user: u\n    deploy:\n      restart_policy: {condition: none}\n",
    )
    assert changes(project, absent=["deploy.restart_policy"]) == {
        "compose.yaml": "services:\n  s:\n    image: i\n    deploy:\n      replicas: 1\n",
        "compose.override.yaml": "services:\n  s:\n    user: u\n",
    }


def test_absent_what_is_not_there(tmp_path: Path):
    project = project_of(tmp_path, "services:\n  s:\n    image: i\n")
    options = {"absent": ["deploy.restart_policy", "restart", "environment.A", "build.args.X"]}
    assert changes(project, **options) == {}
    assert changes(project, override=True, **options) == {}


def test_override_is_minimal_and_keeps_what_it_has(tmp_path: Path):
    project = project_of(
        tmp_path,
        "services:\n  s:\n    image: i\n    restart: always\n    environment: {A: 1}\n",
        "# ours\nservices:\n  s:\n    user: u # ours\n",
    )
    assert changes(project, override=True, restart="always", environment={"A": "1"}) == {}
    assert changes(project, override=True, restart="no", environment={"A": 1, "B": "2"}) == {
        "compose.override.yaml": "# ours\nservices:\n  s:\n    user: u # ours\n    restart: \"no\"\n"
        "    environment:\n      B: \"2\"\n"
    }  # fmt: skip


def test_override_takes_away(tmp_path: Path):
    project = project_of(
        tmp_path,
        "services:\n  s:\n    image: i\n    restart: always\n    environment: {A: 1}\n",
        "services:\n  s:\n    restart: 'no'\n    user: u\n",
    )
    assert changes(project, override=True, absent=["restart", "user", "environment.A"]) == {
        "compose.override.yaml": "services:\n  s:\n    restart: !reset null\n    environment:\n      A: !reset null\n"
    }


ONE_LIST = "services:\n  s:\n    image: i\n    environment: [A=1]\n"
ONE_MAPPING = "services:\n  s:\n    image: i\n    environment: {A: 1}\n"
EXTENDING = "services:\n  t:\n    environment: {A: 1}\n  s:\n    image: i\n    extends: t\n    environment: {B: 1}\n"


@pytest.mark.parametrize(
    ("base", "override", "message"),
    [
        (ONE_LIST, "", r"/compose\.yaml:4: environment is a list, from .* take A away\. Set target to source"),
        (ONE_MAPPING, ONE_LIST.replace("A", "B"), r"/compose\.override\.yaml:4: environment is a list, from which"),
        (EXTENDING, "", r"/compose\.yaml:3: environment is put together from .*\. Take it away there by hand"),
    ],
)
def test_override_cannot_take_an_item_from_a_list(tmp_path: Path, base: str, override: str, message: str):
    """Compose would take ``!reset`` there without a word and leave the variable as it is."""
    project = project_of(tmp_path, base, override)
    with pytest.raises(HotfixError, match=message):
        changes(project, override=True, absent=["environment.A"])


def test_variable_of_the_override_file_alone_is_taken_from_its_list(tmp_path: Path):
    override = "services:\n  s:\n    environment: [A=1, B=2]\n"
    project = project_of(tmp_path, "services:\n  s:\n    image: i\n", override)
    assert changes(project, override=True, absent=["environment.A"]) == {
        "compose.override.yaml": override.replace("A=1, ", "")
    }


def test_empty_mapping_that_overrides_stays(tmp_path: Path):
    override = "services:\n  s:\n    environment: !override\n      A: 2\n"
    project = project_of(tmp_path, "services:\n  s:\n    image: i\n    environment: {A: 1, B: 1}\n", override)
    assert changes(project, absent=["environment.A"]) == {
        "compose.override.yaml": "services:\n  s:\n    environment: !override {}\n"
    }
    assert changes(project, environment={"C": "3"}) == {"compose.override.yaml": override + '      C: "3"\n'}


def test_key_inside_of_what_another_file_takes_back(tmp_path: Path):
    project = project_of(
        tmp_path, "services:\n  s:\n    deploy: {replicas: 2}\n", "services:\n  s:\n    deploy: !reset null\n"
    )
    for override in (False, True):
        with pytest.raises(HotfixError, match=r"override\.yaml:3: services\.s\.deploy is taken back here with !reset"):
            changes(project, override=override, deploy_restart_policy=POLICY)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("services:\n  s: {image: i, restart: always}\n  t:\n    extends: s\n", {"restart": "no"}),
        ("services:\n  t:\n    extends: {service: s}\n  s: {image: i}\n", {"environment": {"A": "1"}}),
        ("services:\n  t:\n    extends: s\n  s: {image: i, command: c}\n", {"absent": ["command"]}),
    ],
)
def test_service_that_others_extend(tmp_path: Path, text: str, options: dict[str, Any]):
    project = project_of(tmp_path, text)
    with pytest.raises(
        HotfixError, match=r"/compose\.yaml:[34]: service t would change too, .* Set target to override"
    ):
        changes(project, **options)
    changed = changes(project, override=True, **options)
    assert list(changed) == ["compose.override.yaml"]


def test_service_that_others_extend_and_overrule(tmp_path: Path):
    text = "services:\n  s:\n    image: i\n    restart: always\n  t:\n    extends: s\n    restart: 'no'\n"
    project = project_of(tmp_path, text)
    assert changes(project, restart="unless-stopped") == {"compose.yaml": text.replace("always", "unless-stopped")}


def test_extended_service_stays_as_it_is(tmp_path: Path):
    base = "services:\n  t:\n    image: i\n    restart: always\n  s:\n    extends: t\n"
    project = project_of(tmp_path, base)
    assert changes(project, restart="no") == {"compose.yaml": base + '    restart: "no"\n'}
    with pytest.raises(HotfixError, match=r"compose.yaml:4: service s takes over restart from another service"):
        changes(project, absent=["restart"])
    assert changes(project, override=True, absent=["restart"]) == {
        "compose.override.yaml": "services:\n  s:\n    restart: !reset null\n"
    }


def test_without_docker_nothing_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_container, "EXTRA_PATH", str(tmp_path))
    project = project_of(tmp_path, "services:\n  s:\n    image: i\n")
    verdict = validated(Docker(environ={"PATH": str(tmp_path)}), project, project.files, [])
    assert not verdict.accepted
    assert verdict.note.startswith(
        "Compose has not checked the files: there is no docker command on this host. Install"
    )


def test_included_file_is_changed_and_cannot_be_checked_beforehand(tmp_path: Path):
    project = project_of(
        tmp_path, "include: [other.yaml]\nservices:\n  t: {image: i}\n", "", "services:\n  s:\n    image: i\n"
    )
    after = plan(project, "s", wanted(restart="always"))
    ((was, now),) = changed_files(project, after)
    assert was is not None and now.path == str(tmp_path / "other.yaml")
    assert now.text == "services:\n  s:\n    image: i\n    restart: always\n"
    assert after.service("s")["restart"] == "always"
    docker = Docker(lambda *_args, **_options: Completed(0, "2.40.3", ""))
    verdict = validated(docker, after, [now], [])
    assert verdict == (False, f"Compose has not checked the files: others include or extend {now.path}, as it is now.")


def test_refusal_names_the_real_file_and_no_secret(tmp_path: Path):
    """Compose's words, as recorded with 5.6.1; what it is given is looked at while it runs."""
    project = project_of(tmp_path, "services:\n  s:\n    image: i\n")
    (tmp_path / "docker").write_text("")
    (tmp_path / "docker").chmod(0o755)
    changed = project.files[0].set(("services", "s", "restart"), ["swordfish"])
    staged: list[tuple[str, int]] = []

    def run(argv: list[str], **_options: Any) -> Completed:
        if "version" in argv:
            return Completed(0, "5.6.1", "")
        if "ps" in argv:
            return Completed(0, "", "")
        path = argv[argv.index("-f") + 1]
        if path == changed.path:
            return Completed(0, "", "")
        staged.append((Path(path).read_text(), stat.S_IMODE(os.stat(path).st_mode)))
        return Completed(1, "", f"validating {path}: services.s.restart must be a string, not swordfish\n")

    docker = Docker(run, environ={"PATH": str(tmp_path)})
    with pytest.raises(HotfixError) as error:
        validated(docker, project.replace(changed), [changed], ["swordfish"])
    assert f"validating {changed.path}: services.s.restart must be a string" in str(error.value)
    assert "swordfish" not in str(error.value)
    assert str(error.value).endswith("Nothing was changed; without the change Compose accepts the files.")
    assert staged == [(changed.text, 0o600)]
    assert sorted(os.listdir(tmp_path)) == ["compose.yaml", "docker"]


def test_merge_key_gets_an_own_value(tmp_path: Path):
    base = "x-a: &a {image: i, restart: always, environment: {A: 1}}\nservices:\n  s:\n    <<: *a\n  t:\n    <<: *a\n"
    project = project_of(tmp_path, base)
    assert changes(project, restart="no") == {
        "compose.yaml": base.replace("  s:\n    <<: *a\n", '  s:\n    <<: *a\n    restart: "no"\n')
    }
    with pytest.raises(
        HotfixError, match=r"services.s.environment.* cannot be changed here alone: it comes from a merge"
    ):
        changes(project, environment={"A": "2"})
    with pytest.raises(HotfixError, match=r"services.s.restart cannot be changed here alone: it comes from a merge"):
        changes(project, absent=["restart"])
    assert changes(project, override=True, environment={"A": "2"}, absent=["restart"]) == {
        "compose.override.yaml": 'services:\n  s:\n    environment:\n      A: "2"\n    restart: !reset null\n'
    }


@pytest.mark.parametrize(
    ("before", "command", "after"),
    [
        ("run --workers 4", "run --workers 2", "run --workers 2"),
        (">\n      run\n      --workers 4", "run --workers 2", ">\n      run --workers 2"),
        (">\n      run\n      --workers 4", "run --workers 4", None),
        ("[run, --workers, 4]", ["run", "--workers", 2], '[run, --workers, "2"]'),
        ("run", ["run"], '["run"]'),
    ],
)
def test_command(tmp_path: Path, before: str, command: Any, after: str | None):
    text = "services:\n  s:\n    command: {}\n    image: i\n"
    project = project_of(tmp_path, text.format(before))
    assert changes(project, command=command) == ({} if after is None else {"compose.yaml": text.format(after)})


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("{A: 4}", "2", "{A: 2}"),
        ("{A: 4}", 4, None),
        ("{A: '4'}", 4, None),
        ("{A: true}", True, None),
        ("{A: true}", False, '{A: "false"}'),
        ("{A: 4}", "04", '{A: "04"}'),
        ("{A: x}", None, "{A: null}"),
        ("[A=4, B]", 2, "[A=2, B]"),
        ("[A=4, B]", None, "[A, B]"),
        ("['A=4']", "x y", "['A=x y']"),
        ("[A=1, A=2]", "3", "[A=1, A=3]"),
        ("{}", "2", '{A: "2"}'),
        ("[]", "2", "[A=2]"),
    ],
)
def test_variable(tmp_path: Path, before: str, value: Any, after: str | None):
    text = "services:\n  s:\n    environment: {}\n    image: i\n"
    project = project_of(tmp_path, text.format(before))
    assert changes(project, environment={"A": value}) == ({} if after is None else {"compose.yaml": text.format(after)})


def test_restart_reads_what_ansible_makes_of_no():
    assert wanted(restart="False").values == wanted(restart="no").values == {("restart",): "no"}


def test_names_with_dots():
    paths = wanted(absent=["environment.A.B", "labels.com.example.x", "deploy.restart_policy.window"]).absent
    assert paths == [("environment", "A.B"), ("labels", "com.example.x"), ("deploy", "restart_policy", "window")]
