#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_shutdown
version_added: 0.1.0
short_description: Make a program close its Redis connections when it stops, the way that program needs
description:
  - Reads a Python program, without running it, and answers three questions. Is the function that gives the Redis
    client a coroutine function? Which methods of the client close it? Do they have to be awaited?
  - Follows imports, re-exports, globals, attributes, C(lru_cache), annotations and base classes through the files of a
    project, and knows the clients of redis-py.
  - "Looks at the code that runs at shutdown: after the C(yield) of a lifespan, in C(@app.on_event(\"shutdown\")) and
    other registered handlers, in functions named after shutdown, in the C(finally) of C(main), and in functions called
    there."
  - If that code does not really close the client, replaces the statements concerned, and nothing else, by the smallest
    block that does. It is written in the file's own indentation, quotes, line endings and encoding, with the file's own
    logger; comments stay.
  - The new block logs C(✓ Redis connections closed) only after success. When closing fails it logs
    C(Redis cleanup skipped) with the reason, and the other steps of the shutdown still run.
  - "Taken for not closed: a method that the client does not have, a coroutine that is not awaited, a plain method that
    is awaited, a method that leaves the connection open, and an C(async) getter that is not awaited: the coroutine has
    a C(close) of its own, so that C(hasattr) finds one and success is logged."
  - Whatever really closes the client is left alone, however it is written.
  - The result is compiled and read again before it is written.
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.FULL
  - composeops.hotfix._project.BACKUP
options:
  path:
    description: The Python file with the shutdown code.
    type: path
    required: true
  project_root:
    description:
      - The directory from which the program's absolute imports start.
      - By default the closest parent of O(path) in which most of the file's imports are found.
    type: path
  getter:
    description: Name of the function that gives the program's Redis client.
    type: str
    default: get_redis_client
notes:
  - A program that leaves open what would be right is refused, naming the line and what was seen; nothing is changed.
  - The code takes effect once it runs. Where the source is copied into an image, that image has to be built again.
seealso:
  - module: composeops.hotfix.shutdown_probe
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Close Redis at shutdown
  composeops.hotfix.redis_shutdown:
    path: /opt/wealth-coach-ai/backend/main.py
    backup: true

- name: A program with other names
  composeops.hotfix.redis_shutdown:
    path: /srv/shop/src/shop/app.py
    project_root: /srv/shop/src
    getter: get_cache
"""

RETURN = r"""
status:
  description:
    - V(patched) if the code was put right, V(already_correct) if it closes the client as it is.
    - V(not_found) if no code that runs at shutdown tries to close it.
  type: str
  returned: success
  sample: patched
seen:
  description: What the code did before, in one sentence.
  type: str
  returned: success
  sample: "in lifespan(), line 38, redis_client.close() raises AttributeError: RedisClient has no close()"
getter:
  description: The function that gives the client; null if the file has none of that name.
  type: dict
  returned: success
  contains:
    name:
      description: Its name.
      type: str
    is_async:
      description: Whether its result has to be awaited.
      type: bool
    file:
      description: The file that defines it, relative to the project's root.
      type: str
    line:
      description: Its line there.
      type: int
close:
  description: How the client is closed now; null with RV(status=not_found).
  type: dict
  returned: success
  contains:
    name:
      description: The method, or the way to it, such as V(connection_pool.disconnect).
      type: str
    is_async:
      description: Whether it is awaited.
      type: bool
    class:
      description: The class that has it.
      type: str
    file:
      description: The file that defines it; null for a method of redis-py.
      type: str
    line:
      description: Its line there.
      type: int
    place:
      description: V(lifespan), V(event), V(function) or V(finally).
      type: str
    function:
      description: The function with the shutdown code.
      type: str
    shutdown_line:
      description: The line of O(path) that closes the client.
      type: int
backup_file:
  description: The copy of the file as it was.
  type: str
  returned: when O(backup=true) and the file was changed
  sample: /opt/wealth-coach-ai/backend/main.py.20251018T021500.123456Z.bak
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit, read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._shown import file_diff
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_source import repair


def run(module: AnsibleModule, edit: Edit) -> dict[str, Any]:
    """Read, decide, write."""
    options = module.params
    path = options["path"]
    before = read_bytes(path)
    outcome = repair(path, project_root=options["project_root"], getter=options["getter"])
    result = {
        "changed": outcome.data != before,
        "status": outcome.status,
        "seen": outcome.seen,
        "getter": outcome.getter,
        "close": outcome.close,
        "diff": file_diff(path, before, outcome.data),
    }
    if result["changed"]:
        copy = edit.replace(path, before, outcome.data, keep=options["backup_keep"] if options["backup"] else None)
        result.update({"backup_file": copy} if copy else {})
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "project_root": {"type": "path"},
            "getter": {"type": "str", "default": "get_redis_client"},
            "backup": {"type": "bool", "default": False},
            "backup_keep": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    try:
        with Edit(module.params["path"], check=module.check_mode) as edit:
            result = run(module, edit)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
