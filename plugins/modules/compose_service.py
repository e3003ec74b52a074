#!/usr/bin/python
# Copyright: composeops.hotfix contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets a few keys of a Compose service, and says which restart policy the service really gets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_service
short_description: Set restart policy, command and environment of a Compose service
version_added: 0.1.0
description:
  - Changes keys of one service in the Compose files of a project, so that only the lines of those keys differ,
    whatever the indentation, comments, anchors, quotes or line endings of the file.
  - A value is changed in the file that it comes from. A new key goes to the first file that describes the service.
  - An edit that would change something else as well is refused, such as one inside an anchor that other services use,
    or of a service that others extend. With O(target=override) it goes to the override file.
  - Where Docker Compose is installed, the files are checked with C(docker compose config) before one is replaced.
  - Without any change to make, the module tells about the service, see RV(restart_policy).
  - Only files change. The running container stays as it is until it is recreated.
author:
  - composeops.hotfix contributors (@composeops)
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.FULL
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.BACKUP
attributes:
  diff_mode:
    support: full
    details:
      - Values of secret-sounding variables are replaced by fingerprints, and what looks like a secret is masked.
options:
  project_src:
    required: true
  service:
    required: true
  restart:
    description:
      - The key C(restart), one of V(no), V(always), V(unless-stopped), V(on-failure) or V(on-failure:3).
      - Compose ignores it when the service has O(deploy_restart_policy); RV(restart_policy.notes) says so.
    type: str
  deploy_restart_policy:
    description:
      - The key C(deploy.restart_policy). It will have exactly what is given here.
    type: dict
    suboptions:
      condition:
        description:
          - When the container is started again. Compose makes V(always) of V(any) and V(no) of V(none).
        type: str
        choices: [none, on-failure, any]
      max_attempts:
        description:
          - How often at most, in the container's whole life. Docker refuses it together with V(any).
        type: int
      delay:
        description:
          - How long to wait before, such as V(5s). Without effect outside of Swarm.
        type: str
      window:
        description:
          - How long until a start counts as successful, such as V(120s). Without effect outside of Swarm.
        type: str
  command:
    description:
      - The key C(command), a string or a list. A dollar sign has the meaning that Compose gives it.
    type: raw
  environment:
    description:
      - Variables for the key C(environment), which stays the list or mapping that it is. Others are not touched.
      - A null value means that Compose takes the variable from its own environment. A dollar sign has the meaning that
        Compose gives it; write C($$) for one.
    type: dict
  absent:
    description:
      - Keys that the service must not have, such as V(deploy.restart_policy), V(command) or V(environment.DEBUG).
      - A mapping that becomes empty goes too, such as C(deploy).
    type: list
    elements: str
    default: []
  target:
    description:
      - V(source) changes a value in the file that it comes from.
      - V(override) changes nothing but the override file, and makes it if need be. A key is taken away there with
        Compose's C(!reset), which Compose knows from 2.24 on. It takes no variable out of a list, nor out of
        C(environment) of several files, which is refused.
    type: str
    choices: [source, override]
    default: source
seealso:
  - module: composeops.hotfix.worker_count
  - module: composeops.hotfix.container_info
"""

EXAMPLES = r"""
- name: Have the service come back after a crash and after a reboot
  composeops.hotfix.compose_service:
    project_src: /opt/wealth-coach-ai
    service: backend
    restart: unless-stopped
    absent:
      - deploy.restart_policy
    backup: true
  register: policy

- name: Leave the project's own files alone, since they are a git tree
  composeops.hotfix.compose_service:
    project_src: /opt/wealth-coach-ai
    service: backend
    restart: unless-stopped
    environment:
      LOG_LEVEL: info
    target: override

- name: Learn which restart policy a service gets, changing nothing
  composeops.hotfix.compose_service:
    project_src: /opt/wealth-coach-ai
    service: backend
  register: service
"""

RETURN = r"""
file:
  description: The file that was changed; when none was, the one that describes the service first.
  type: str
  returned: success
  sample: /opt/wealth-coach-ai/docker-compose.yml
changed_files:
  description: All files that were changed. Keys of one service may come from several.
  type: list
  elements: str
  returned: success
files:
  description: All Compose files of the project, in the order in which Compose merges them.
  type: list
  elements: str
  returned: success
dependencies:
  description:
    - The services that have to run for this one to run, through C(depends_on), nearest first.
    - Those that it waits for to complete, such as a migration, are not among them.
  type: list
  elements: str
  returned: success
  sample: [redis]
env_files:
  description: The environment files of the service (C(env_file)), in the order in which Compose reads them.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: The file.
      type: str
    format:
      description: "V(raw) where the service reads it with C(format: raw), else V(dotenv)."
      type: str
    required:
      description: Whether Compose fails when the file is missing.
      type: bool
  sample: [{path: /opt/wealth-coach-ai/.env, format: dotenv, required: true}]
env_dialects:
  description:
    - For the project's own C(.env) and each environment file of any service, which dialect all who read it understand.
      It is the option O(composeops.hotfix.dotenv#module:dialect) of the modules that read and write such files.
    - The project's C(.env) is read by Compose itself as well.
  type: dict
  returned: success
  sample: {/opt/wealth-coach-ai/.env: portable}
backup_file:
  description: The copy of RV(file) as it was.
  type: str
  returned: when O(backup=true) and an existing file was changed
  sample: /opt/wealth-coach-ai/docker-compose.yml.20251018T021500.123456Z.bak
backup_files:
  description: The copies of all files that were changed.
  type: list
  elements: str
  returned: when O(backup=true) and an existing file was changed
restart_policy:
  description: How the service is started again, after the change.
  type: dict
  returned: success
  contains:
    written:
      description: The keys C(restart) and C(deploy.restart_policy) as all files together have them.
      type: dict
      sample: {restart: unless-stopped, deploy_restart_policy: {condition: on-failure, max_attempts: 3}}
    effective:
      description: The policy that Docker gets from Compose.
      type: dict
      contains:
        name:
          description: Its name.
          type: str
        maximum_retry_count:
          description: How often the container is started again; 0 without a limit.
          type: int
      sample: {name: on-failure, maximum_retry_count: 3}
    survives_reboot:
      description: Whether the service is back after a reboot of the host.
      type: bool
    notes:
      description: What the policy means, as sentences.
      type: list
      elements: str
validated:
  description: Whether C(docker compose config) has accepted the files; false where there is no Compose.
  type: bool
  returned: success
validation:
  description: The same as a sentence, or why Compose was not asked.
  type: str
  returned: success
  sample: docker compose config accepts the files.
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_change import changed_files, plan, wanted
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_check import validated
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import (
    ComposeFile,
    EnvFile,
    Project,
    discover,
    effective_restart_policy,
    interpolate,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import hide_option, secret_values

ARGUMENTS: dict[str, Any] = {
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path"},
    "service": {"type": "str", "required": True},
    "restart": {"type": "str"},
    "deploy_restart_policy": {
        "type": "dict",
        "options": {
            "condition": {"type": "str", "choices": ["none", "on-failure", "any"]},
            "max_attempts": {"type": "int"},
            "delay": {"type": "str"},
            "window": {"type": "str"},
        },
    },
    "command": {"type": "raw"},
    "environment": {"type": "dict", "no_log": True},
    "absent": {"type": "list", "elements": "str", "default": []},
    "target": {"type": "str", "choices": ["source", "override"], "default": "source"},
    "backup": {"type": "bool", "default": False},
    "backup_keep": {"type": "int", "default": 5},
}


class ComposeService:
    """One run of the module: read, decide, check, write."""

    def __init__(self, module: AnsibleModule, edit: Edit) -> None:
        self.module = module
        self.edit = edit
        self.params: dict[str, Any] = module.params
        self.environment: dict[str, Any] | None = self.params["environment"]
        given = {str(name): str(value) for name, value in (self.environment or {}).items()}
        hide_option(module, "environment", given)
        self.service: str = self.params["service"]
        self.before = Project.load(self.params["project_src"], self.params["files"])
        self.secrets = secret_values(given).union(*(file.secrets() for file in self.before.files))

    def run(self) -> dict[str, Any]:
        """Bring the service's keys into the wanted state, and say what it then gets."""
        options = ("restart", "deploy_restart_policy", "command", "absent")
        change = wanted(environment=self.environment, **{name: self.params[name] for name in options})
        after = plan(self.before, self.service, change, override=self.params["target"] == "override")
        changes = changed_files(self.before, after)
        paths = [file.path for _was, file in changes]
        verdict = validated(Docker(), after, [now for _was, now in changes], self.secrets)
        result: dict[str, Any] = {
            "changed": bool(changes),
            "file": paths[0] if paths else self.before.home(self.service).path,
            "changed_files": paths,
            "files": [file.path for file in after.files],
            "dependencies": after.dependencies(self.service),
            "env_files": [env_file(file) for file in after.env_files(self.service)],
            "env_dialects": after.env_dialects(),
            "restart_policy": policy(after, self.service),
            "validated": verdict.accepted,
            "validation": verdict.note,
            "diff": [difference(was, now) for was, now in changes],
        }
        result.update(self._write(changes))
        return result

    def _write(self, changes: list[tuple[ComposeFile | None, ComposeFile]]) -> dict[str, Any]:
        keep = self.params["backup_keep"] if self.params["backup"] else None
        for _was, now in changes:
            self.edit.require(now.path)
        made = [self.edit.replace(now.path, was.data if was else None, now.data, keep=keep) for was, now in changes]
        copies = [copy for copy in made if copy]
        return {"backup_file": copies[0], "backup_files": copies} if copies else {}


def env_file(file: EnvFile) -> dict[str, Any]:
    """An environment file as it is returned."""
    return {"path": file.path, "format": "raw" if file.raw else "dotenv", "required": file.required}


def policy(project: Project, service: str) -> dict[str, Any]:
    """What the files say about starting the service again, and what comes of it."""
    merged = project.service(service)
    deploy = merged.get("deploy") or {}
    written = {"restart": merged.get("restart"), "deploy_restart_policy": deploy.get("restart_policy")}
    keys = {"restart": written["restart"], "deploy": {"restart_policy": written["deploy_restart_policy"]}}
    effective = effective_restart_policy(interpolate(keys, project.variables()))
    return {
        "written": {name: value for name, value in written.items() if value is not None},
        "effective": {"name": effective.name, "maximum_retry_count": effective.maximum_retry_count},
        "survives_reboot": effective.survives_reboot,
        "notes": effective.notes,
    }


def difference(was: ComposeFile | None, now: ComposeFile) -> dict[str, str]:
    """The entry of one file in the diff, without secrets."""
    return {
        "before_header": now.path if was else f"{now.path} (absent)",
        "after_header": now.path,
        "before": was.redacted() if was else "",
        "after": now.redacted(),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        files = discover(module.params["project_src"], module.params["files"])
        with Edit(*files, check=module.check_mode) as edit:
            result = ComposeService(module, edit).run()
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
