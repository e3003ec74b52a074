#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: worker_count
version_added: 0.1.0
short_description: Set how many workers uvicorn or gunicorn starts, where the number really comes from
description:
  - Finds the number of workers of a Compose service in the place that counts, and changes that number only.
  - "For uvicorn, strongest first: C(--workers), E(UVICORN_WORKERS), E(WEB_CONCURRENCY), 1."
  - "For gunicorn, strongest first: C(--workers), E(GUNICORN_CMD_ARGS), the configuration file, E(WEB_CONCURRENCY), 1."
  - Looks into the Compose files (C(command), C(entrypoint), C(environment), C(env_file), build arguments), the C(.env),
    the Dockerfile (C(CMD), C(ENTRYPOINT), C(ENV), C(ARG) of the stage that is built) and the configuration file of
    gunicorn, through C(sh -c), C(python -m), C(poetry run) and the like. Variables are followed to where they are set.
  - After the change everything is read again; a change that would have no effect is refused.
  - Can also say how many workers fit into the memory limit, from the memory that the running workers use.
  - Writes files only. Building and recreating are left to whoever deploys.
requirements:
  - PyYAML
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.FULL
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.BACKUP
options:
  project_src:
    required: true
  service:
    required: true
  workers:
    description:
      - The number of workers, or V(auto) for as many as fit into the memory limit.
      - With V(auto), C(shared + n * per_worker) has to fit into the limit less O(headroom), and C(n) is at most
        C(2 * CPUs + 1).
      - When O(min_workers) do not fit, the module fails and says which limit they would need. It never chooses a number
        that does not fit.
      - When the kernel has killed processes of the running container for lack of memory, V(auto) is less than the
        number of workers that it runs.
      - Measured figures vary a little from run to run. With V(auto) the present number therefore stays if it is right
        for a headroom that differs from O(headroom) by at most 0.05. No worker is added while all were started less
        than five minutes ago, unless O(memory_per_worker) is given.
    type: str
    required: true
  min_workers:
    description: The smallest number that will do.
    type: int
    default: 1
  max_workers:
    description: The largest number that is wanted.
    type: int
  memory_per_worker:
    description:
      - What each worker adds, such as V(350m). Only used with O(workers=auto).
      - By default the largest private memory (USS) among the running workers, for which the module has to run as root.
        Let the application serve real requests before, since it may load models only then.
    type: str
  memory_shared:
    description:
      - What is used once, whatever the number of workers, such as V(120m). Only used with O(workers=auto).
      - By default measured as O(memory_per_worker). V(0) where it cannot be measured and O(memory_per_worker) is given.
    type: str
  memory_limit:
    description:
      - What all workers together may use, such as V(512m) or V(1.5g). Only used with O(workers=auto).
      - By default the limit in the Compose file, else that of the running container.
    type: str
  headroom:
    description: The part of the memory limit to keep free. Only used with O(workers=auto).
    type: float
    default: 0.2
  target:
    description:
      - V(source) changes the number where it comes from.
      - V(override) leaves those files alone and writes to the override file that Compose loads after them, so that a
        git tree stays clean. Where the number is an option of a command, that file then carries the whole command.
      - Only V(override) can be used where the server is started by something that cannot be looked into, such as a
        script; it then sets E(WEB_CONCURRENCY).
    type: str
    choices: [source, override]
    default: source
author:
  - composeops.hotfix contributors (@composeops)
seealso:
  - module: composeops.hotfix.compose_service
"""

EXAMPLES = r"""
- name: Two workers
  composeops.hotfix.worker_count:
    project_src: /opt/wealth-coach-ai
    service: backend
    workers: "2"
    backup: true

- name: As many workers as fit, measured on the running container, at most four
  composeops.hotfix.worker_count:
    project_src: /opt/wealth-coach-ai
    service: backend
    workers: auto
    max_workers: 4

- name: As many workers as fit into two GiB, without touching files that are in git
  composeops.hotfix.worker_count:
    project_src: /opt/wealth-coach-ai
    service: backend
    workers: auto
    memory_limit: 2g
    memory_shared: 120m
    memory_per_worker: 450m
    target: override
"""

RETURN = r"""
project_src:
  description: The project, as it was given.
  type: str
  returned: success
  sample: /opt/wealth-coach-ai
service:
  description: The service, as it was given.
  type: str
  returned: success
  sample: backend
previous:
  description: The number before; null when it was computed or could not be seen.
  type: int
  returned: success
  sample: 4
workers:
  description: The number now.
  type: int
  returned: success
  sample: 2
server:
  description: V(uvicorn) or V(gunicorn); null when it could not be seen.
  type: str
  returned: success
  sample: uvicorn
location:
  description: Where the number is written now.
  type: dict
  returned: success
  contains:
    file:
      description: The file; null when nothing sets the number.
      type: str
      returned: success
      sample: /opt/wealth-coach-ai/Dockerfile
    line:
      description: The line, counted from 1.
      type: int
      returned: success
      sample: 12
    kind:
      description:
        - What it is there.
        - V(dockerfile_cmd) and V(compose_command) include entrypoints.
        - V(default) when nothing sets the number; V(image) when it comes from an image that is not built here.
      type: str
      returned: success
      sample: dockerfile_cmd
rebuild_required:
  description: Whether the image has to be built again for the change to take effect.
  type: bool
  returned: success
recreate_required:
  description: Whether the container has to be recreated for the change to take effect.
  type: bool
  returned: success
reasons:
  description: What was found, the arithmetic, and what was decided, as sentences.
  type: list
  elements: str
  returned: success
  sample:
    - uvicorn takes the number of workers, 4, from --workers in Dockerfile, line 12.
    - "The budget is 819 MiB: the limit of 1.00 GiB less 20% headroom."
sizing:
  description: The figures of the arithmetic, in bytes.
  type: dict
  returned: with O(workers=auto)
  contains:
    memory_limit:
      description: What all workers may use.
      type: int
      returned: success
    memory_shared:
      description: What is used once.
      type: int
      returned: success
    memory_per_worker:
      description: What each worker adds.
      type: int
      returned: success
    memory_total:
      description: What the chosen number of workers takes.
      type: int
      returned: success
    cpus:
      description: The CPUs that the container may use; those of the host where it has no quota.
      type: float
      returned: success
validated:
  description: Whether Compose accepted the changed files; V(false) where there is no Compose to ask.
  type: bool
  returned: when a Compose file is changed
validation:
  description: The same as a sentence, or why Compose was not asked.
  type: str
  returned: when a Compose file is changed
  sample: docker compose config accepts the files.
backup_file:
  description: The copy of the file as it was.
  type: str
  returned: when O(backup=true) and a file was changed
  sample: /opt/wealth-coach-ai/Dockerfile.20251018T021500.123456Z.bak
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_check import validated
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import ComposeFile, Project, discover
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit
from ansible_collections.composeops.hotfix.plugins.module_utils._shown import file_diff
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_memory import Running, figures
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_setting import (
    Change,
    Setting,
    change,
    describe,
    find,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import Sizing, check_bounds, size, total

ARGUMENTS: dict[str, Any] = {
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path"},
    "service": {"type": "str", "required": True},
    "workers": {"type": "str", "required": True},
    "min_workers": {"type": "int", "default": 1},
    "max_workers": {"type": "int"},
    "memory_per_worker": {"type": "str"},
    "memory_shared": {"type": "str"},
    "memory_limit": {"type": "str"},
    "headroom": {"type": "float", "default": 0.2},
    "target": {"type": "str", "choices": ["source", "override"], "default": "source"},
    "backup": {"type": "bool", "default": False},
    "backup_keep": {"type": "int", "default": 5},
}


class WorkerCount:
    """One run of the module: find, decide, write."""

    def __init__(self, module: AnsibleModule, edit: Edit) -> None:
        self.module = module
        self.edit = edit
        self.params: dict[str, Any] = module.params
        self.project = Project.load(self.params["project_src"], self.params["files"])
        self.service: str = self.params["service"]
        self.running = Running(self.project.project_src, self.service, self.params["files"] or [])
        self.launch = self.running.launch(self.project)
        self.sizing: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Set the number, and say what was found and done."""
        setting = find(self.launch)
        wanted = self._wanted(setting)
        reasons = [describe(setting), *setting.weaker, *wanted.reasons]
        result = {
            "changed": False,
            "project_src": self.params["project_src"],
            "service": self.service,
            "previous": setting.number,
            "workers": wanted.workers,
            "server": setting.server,
            "location": setting.place._asdict(),
            "rebuild_required": False,
            "recreate_required": False,
            "reasons": reasons,
            "diff": [],
            **self.sizing,
        }
        if setting.number == wanted.workers:
            reasons.append(f"The number of workers is {wanted.workers} already.")
            return result
        changed = change(self.launch, setting, wanted.workers, override=self.params["target"] == "override")
        reasons += changed.notes
        result.update(self._write(setting, changed))
        return result

    def _wanted(self, setting: Setting) -> Sizing:
        """The number that is asked for, or that fits."""
        least, most, workers = (self.params[name] for name in ("min_workers", "max_workers", "workers"))
        if workers.strip() != "auto":
            if not workers.strip().isdecimal() or not 1 <= int(workers) <= 1000:
                raise HotfixError(f"workers is '{workers}'", remedy="Give a number from 1 to 1000, or auto")
            check_bounds(least, most, int(workers))
            return Sizing(int(workers), [])
        headroom = self.params["headroom"]
        if not 0 <= headroom < 1:
            raise HotfixError(f"headroom is {headroom:g}", remedy="Give a part of the limit, such as 0.2")
        check_bounds(least, most)
        found = figures(self.params, self.project.resolved(self.service), self.running)
        for warning in found.warnings:
            self.module.warn(warning)
        if found.most is not None:
            most = max(min(found.most, most or found.most), least)
        chosen = size(
            found.limit,
            found.shared,
            found.per_worker,
            headroom=headroom,
            min_workers=least,
            max_workers=most,
            cpus=found.cpus,
            current=setting.number if found.measured else None,
        )
        self.sizing["sizing"] = {
            "memory_limit": found.limit,
            "memory_shared": found.shared,
            "memory_per_worker": found.per_worker,
            "memory_total": total(chosen.workers, found.shared, found.per_worker),
            "cpus": found.cpus,
        }
        return Sizing(chosen.workers, found.reasons + chosen.reasons)

    def _write(self, setting: Setting, changed: Change) -> dict[str, Any]:
        before = self.launch.content(changed.path)
        secrets = {value for file in changed.project.files for value in file.secrets()}
        result: dict[str, Any] = {
            "changed": before != changed.data,
            "location": changed.setting.place._asdict(),
            "rebuild_required": before != changed.data and changed.setting.rebuild,
            "recreate_required": before != changed.data,
            "diff": [difference(changed, before)],
        }
        if changed.file is not None:
            verdict = validated(Docker(), changed.project, [changed.file], secrets)
            result.update(validated=verdict.accepted, validation=verdict.note)
        if setting.hidden:
            self.module.warn(" ".join(changed.notes))
        if before == changed.data:
            return result
        keep = self.params["backup_keep"] if self.params["backup"] else None
        copy = self.edit.replace(changed.path, before, changed.data, keep=keep)
        return {**result, "backup_file": copy} if copy else result


def difference(changed: Change, before: bytes | None) -> dict[str, str]:
    """The entry of the changed file in the diff, secrets masked."""
    shown = file_diff(changed.path, before, changed.data)
    if changed.file is not None:
        shown["before"] = "" if before is None else ComposeFile.parse(before, changed.path).redacted()
        shown["after"] = changed.file.redacted()
    return shown


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        files = discover(module.params["project_src"], module.params["files"])
        with Edit(*files, check=module.check_mode) as edit:
            result = WorkerCount(module, edit).run()
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
