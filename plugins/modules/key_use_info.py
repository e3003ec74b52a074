#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which keys an application's log shows in use."""

from __future__ import annotations

DOCUMENTATION = r"""
module: key_use_info
short_description: Find out from an application's log which keys are still in use
version_added: 0.1.0
description:
  - Looks through the log of a container, log files of the host, or both, for the use of the keys that a variable of a
    C(.env) file holds, and returns for each key how often it was seen, and when first and last.
  - An old key can be retired once nobody uses it any more. Whether that is so only the log can tell, and only if the
    application writes for each request which key came with it. The best form is a part of the key's SHA-256.
  - Says in RV(notes) what a log does not prove, for instance because the container was recreated and its log begins
    later than O(since).
  - Reads as a stream, so a log of any size takes a few megabytes of memory. Keys are shown as fingerprints, never as
    values, and no line of a log is returned.
options:
  pattern:
    description:
      - Regular expression of Python that tells of the use of a key, found anywhere in a line.
      - A group named C(fingerprint) holds the first digits of the key's SHA-256 in hexadecimal, 8 or more; a group
        named C(key) holds the key or its beginning, 6 characters or more. One of them is needed.
      - A group named C(time) holds when that was. RFC 3339, the form of nginx and Apache, that of Python's C(logging)
        and Unix time are understood; without an offset it counts as UTC. A container's log needs none.
    type: str
    required: true
  ignore:
    description:
      - Regular expression of Python. Lines in which it is found do not count.
      - By default those of M(composeops.hotfix.api_key_probe), which tries every key, as far as the line shows its
        user agent. An application that does not log the user agent takes such a proof for a use.
    type: str
    default: 'composeops\.hotfix'
  since:
    description:
      - Look at what was used from then on. A duration before now such as V(7d) or V(12h), RFC 3339, or Unix time in
        seconds.
    type: str
    default: 7d
  log_files:
    description:
      - Log files on the managed host, such as V(/var/log/nginx/access.log*). Those that end in C(.gz) are decompressed.
      - A line without C(time) counts as written when the file was changed last.
    type: list
    elements: path
requirements:
  - For a container's log, Docker Engine 20.10 or newer and a logging driver that can be read, such as C(json-file),
    C(local) or C(journald)
extends_documentation_fragment:
  - composeops.hotfix._keys
  - composeops.hotfix._env_file
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.CONTAINER
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
seealso:
  - module: composeops.hotfix.key_rotation
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Find out which keys were used in the last week
  composeops.hotfix.key_use_info:
    path: /opt/wealth-coach-ai/.env
    container: wealth_coach_backend
    pattern: '"key_id": "sha256:(?P<fingerprint>[0-9a-f]{16})"'
  register: use

- name: The same from the log of the web server in front, which has the beginning of each key
  composeops.hotfix.key_use_info:
    path: /opt/wealth-coach-ai/.env
    log_files: [/var/log/nginx/access.log*]
    pattern: '\[(?P<time>[^]]+)\].* key=(?P<key>[\w-]{8})'
    since: 30d
  register: use
"""

RETURN = r"""
keys:
  description: The keys of the file, newest first.
  type: list
  elements: dict
  returned: success
  contains:
    fingerprint:
      description: Fingerprint of the key.
      type: str
    newest:
      description: Whether it is the newest one.
      type: bool
    count:
      description: How often it was seen.
      type: int
    first:
      description: When it was seen first, RFC 3339. Null if it was not.
      type: str
    last:
      description: When it was seen last, RFC 3339. Null if it was not.
      type: str
found:
  description: How often O(pattern) was found in the lines that were looked at, whatever the key and O(ignore).
  type: int
  returned: success
fits:
  description: Whether O(pattern) was found in any line, also before O(since). If not, it is likely to be wrong.
  type: bool
  returned: success
ignored:
  description: How many of them O(ignore) left out.
  type: int
  returned: success
unknown:
  description: How many of them were of keys that the file does not hold.
  type: int
  returned: success
unusable:
  description: How many of them had too few characters to tell a key.
  type: int
  returned: success
since:
  description: From when on use counts, RFC 3339.
  type: str
  returned: success
sources:
  description: The logs that were looked at.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The container's name or the file's path.
      type: str
    lines:
      description: How many lines were looked at.
      type: int
    found:
      description: How often the pattern was found.
      type: int
    fits:
      description: Whether it was found in any line, also before O(since).
      type: bool
    start:
      description: When the log begins, RFC 3339. Null if that is not known.
      type: str
    reaches_back:
      description: Whether it is known to go back to RV(since).
      type: bool
complete:
  description: Whether every log goes back to RV(since).
  type: bool
  returned: success
notes:
  description: What the numbers do not prove, as sentences.
  type: list
  elements: str
  returned: success
  sample:
    - "Use before 2025-10-18T02:20:00Z is not seen, for the log of container wealth_coach_backend was recreated or
      rotated and does not go back to 2025-10-11T03:00:00Z."
"""

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_log import read_log
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    OPTIONS,
    RULES,
    named_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import DIALECT, parse
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._key_use import (
    SHORTEST,
    Source,
    Uses,
    UseScan,
    instant,
    key_pattern,
    log_files,
    read_file,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import FORMATS, in_document
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import parse_instant
from ansible_collections.composeops.hotfix.plugins.module_utils._patterns import compile_pattern
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import register

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **DIALECT,
    "name": {"type": "str", "default": "VALID_API_KEYS"},
    "format": {"type": "str", "choices": ["auto", *FORMATS], "default": "auto"},
    "pattern": {"type": "str", "required": True},
    "ignore": {"type": "str", "default": r"composeops\.hotfix"},
    "since": {"type": "str", "default": "7d"},
    "log_files": {"type": "list", "elements": "path"},
    **OPTIONS,
}


def uses(module: AnsibleModule) -> Uses:
    """What to look for, from the options and the environment file."""
    options: dict[str, Any] = module.params
    document = parse(read_bytes(options["path"]), options["path"], options["dialect"])
    keys = in_document(document, options["name"], options["format"]).keys
    register(module, keys)
    return Uses(
        keys=keys,
        pattern=key_pattern(options["pattern"], "pattern", tuple(SHORTEST)),
        ignore=compile_pattern(options["ignore"], "ignore") if options["ignore"] else None,
        since=instant(parse_instant(options["since"], option="since", now=datetime.now(timezone.utc))) or 0.0,
    )


def read_container(options: dict[str, Any], wanted: Uses) -> None:
    """Look through the log of the container, over all of its lives."""
    docker = Docker()
    inspect = named_container(docker, options)
    source = Source(f"the log of container {inspect['Name'].lstrip('/')}")
    wanted.sources.append(source)
    # All of it, for the older lines tell how far the log goes back, and whether the pattern fits.
    read_log(docker, inspect, ["--timestamps"], UseScan(wanted, source), None)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        **RULES,
        supports_check_mode=True,
    )
    try:
        wanted = uses(module)
        if module.params["container"] or module.params["project_src"]:
            read_container(module.params, wanted)
        for path in log_files(module.params["log_files"] or []):
            read_file(path, wanted)
        if not wanted.sources:
            raise HotfixError("there is no log to look through", remedy="Name container, service or log_files")
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **wanted.result())


if __name__ == "__main__":
    main()
