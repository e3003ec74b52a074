#!/usr/bin/python
# Copyright: composeops.hotfix contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves on the running API which keys open it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: api_key_probe
short_description: Prove on the running API which keys it accepts
version_added: 0.1.0
description:
  - Sends one request without a key, one with a random key that was never issued, one with each current key and one with
    each old key, and tells which were accepted.
  - The requests are sent by the managed host, so that no key leaves it when O(url) is an address of that host. Proxies
    and C(.netrc) are not used, redirects are not followed, no request is repeated.
  - Keys are shown as fingerprints, never as values. The body of an answer is not read.
  - The requests name C(composeops.hotfix.api_key_probe) as their user agent, so that
    M(composeops.hotfix.key_use_info) does not take them for the use of a key.
author:
  - composeops.hotfix contributors (@composeops)
extends_documentation_fragment:
  - composeops.hotfix._keys
  - composeops.hotfix._env_file
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
options:
  url:
    description:
      - A route of the API that needs a key, at an address of the managed host itself.
    type: str
    required: true
  method:
    description:
      - Method of the requests, which are sent in check mode too. Choose a request that changes nothing.
      - For a route with another method than V(GET), a O(body) that fails validation proves as much and has no effect,
        with its status added to O(accepted_status).
    type: str
    choices: [GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE]
    default: GET
  body:
    description:
      - JSON to send with each request.
    type: json
  header:
    description:
      - Name of the header that carries the key.
    type: str
    default: X-API-Key
  header_prefix:
    description:
      - Text before the key in that header, for instance C(Bearer) and a space.
    type: str
    default: ""
  refused:
    description:
      - Keys that must be refused, even when O(path) still holds them.
      - By default the keys that the runbook publishes, C(dev-key-12345), C(production-api-key-1) and
        C(xK9mP2nQ8rL5vW3jH7fA1cB4dE6gT0yU2sR9pM5nL8v).
    type: list
    elements: str
  old_files:
    description:
      - Earlier copies of O(path). Keys in them that O(path) does not hold any more must be refused.
    type: list
    elements: path
    default: []
  accepted_status:
    description:
      - HTTP statuses that mean that a key was accepted.
    type: list
    elements: int
    default: [200, 201, 202, 204]
  refused_status:
    description:
      - HTTP statuses that mean that a key was refused. Any status in neither list, such as 429 or 500, proves nothing.
    type: list
    elements: int
    default: [401, 403]
  timeout:
    description:
      - Seconds to wait for each answer.
    type: int
    default: 10
  validate_certs:
    description:
      - Check the certificate of an C(https) URL.
    type: bool
    default: true
seealso:
  - module: composeops.hotfix.key_rotation
"""

EXAMPLES = r"""
- name: Prove that the new key opens the API and the old ones do not
  composeops.hotfix.api_key_probe:
    url: http://127.0.0.1:8000/api/v1/portfolio
    path: /opt/wealth-coach-ai/.env
    old_files:
      - /opt/wealth-coach-ai/.env.20251018T021500.123456Z.bak
  register: probe
  failed_when: not probe.ok

- name: The same for a POST route, with a body that fails validation
  composeops.hotfix.api_key_probe:
    url: http://127.0.0.1:8000/api/v1/chat
    method: POST
    body: {}
    accepted_status: [200, 422]
    path: /opt/wealth-coach-ai/.env
"""

RETURN = r"""
requests:
  description: Each request that was made.
  type: list
  elements: dict
  returned: success
  contains:
    what:
      description: The kind of key, V(none), V(random), V(current) or V(old).
      type: str
    fingerprint:
      description: Fingerprint of the key; empty without a key.
      type: str
    status:
      description: HTTP status of the answer; 0 for a key that cannot be sent in a header, which counts as refused.
      type: int
    accepted:
      description: Whether the key was accepted.
      type: bool
enforced:
  description: Whether the request without a key and the one with a random key were refused.
  type: bool
  returned: success
verdict:
  description:
    - V(enforced), V(not_enforced) when one of these two requests was accepted, V(undetermined) when an answer to them
      means neither.
  type: str
  returned: success
  sample: enforced
current_accepted:
  description: Whether there is a current key and each of them was accepted.
  type: bool
  returned: success
old_refused:
  description: Whether each old key was refused.
  type: bool
  returned: success
ok:
  description: Whether keys are enforced, all current ones accepted and all old ones refused.
  type: bool
  returned: success
reasons:
  description: What is not as it should be, as sentences.
  type: list
  elements: str
  returned: success
"""

import secrets
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import ConnectionError as TlsError
from ansible.module_utils.urls import open_url
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import DIALECT, parse
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import FORMATS, RUNBOOK_KEYS, in_document
from ansible_collections.composeops.hotfix.plugins.module_utils._probe import (
    ENFORCED,
    Answer,
    Question,
    judge,
    questions,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import register

ARGUMENTS: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "method": {
        "type": "str",
        "choices": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"],
        "default": "GET",
    },
    "body": {"type": "json"},
    "header": {"type": "str", "default": "X-API-Key"},
    "header_prefix": {"type": "str", "default": ""},
    "path": {"type": "path", "required": True},
    **DIALECT,
    "name": {"type": "str", "default": "VALID_API_KEYS"},
    "format": {"type": "str", "choices": ["auto", *FORMATS], "default": "auto"},
    "refused": {"type": "list", "elements": "str", "no_log": True},
    "old_files": {"type": "list", "elements": "path", "default": []},
    "accepted_status": {"type": "list", "elements": "int", "default": [200, 201, 202, 204]},
    "refused_status": {"type": "list", "elements": "int", "default": [401, 403]},
    "timeout": {"type": "int", "default": 10},
    "validate_certs": {"type": "bool", "default": True},
}


def probe(module: AnsibleModule) -> dict[str, Any]:
    """Ask the API with each key, and judge its answers."""
    params: dict[str, Any] = module.params
    check_url(params["url"])
    current = keys_in(params["path"], params)
    former = [key for path in params["old_files"] for key in keys_in(path, params)]
    random_key = secrets.token_urlsafe(32)
    register(module, [*current, *former, random_key])
    refused = RUNBOOK_KEYS if params["refused"] is None else params["refused"]
    answers = [ask(question, params) for question in questions(current, refused, former, random_key)]
    verdict = judge(answers, current)
    return {
        "changed": False,
        "requests": [
            {
                "what": answer.question.what,
                "fingerprint": answer.question.shown,
                "status": answer.status,
                "accepted": answer.accepted,
            }
            for answer in answers
        ],
        "enforced": verdict.state == ENFORCED,
        "verdict": verdict.state,
        "current_accepted": verdict.current_accepted,
        "old_refused": verdict.old_refused,
        "ok": verdict.ok,
        "reasons": list(verdict.reasons),
    }


def keys_in(path: str, params: dict[str, Any]) -> list[str]:
    """The keys in a ``.env`` or a copy of one."""
    return in_document(parse(read_bytes(path), path, params["dialect"]), params["name"], params["format"]).keys


def check_url(url: str) -> None:
    """Refuse what is not a web address, for the library behind would open files as well."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise HotfixError("url is not an http or https address", remedy="Write it as http://127.0.0.1:8000/path")


def ask(question: Question, params: dict[str, Any]) -> Answer:
    """Send one request, once."""
    if not question.sendable:
        return Answer(question, 0, accepted=False, refused=True)
    headers = {} if question.key is None else {params["header"]: params["header_prefix"] + question.key}
    if params["body"] is not None:
        headers["Content-Type"] = "application/json"
    status = send(params, headers)
    return Answer(question, status, status in params["accepted_status"], status in params["refused_status"])


def send(params: dict[str, Any], headers: dict[str, str]) -> int:
    """The status of the answer.

    :raises HotfixError: when there is none.
    """
    try:
        with open_url(
            params["url"],
            data=params["body"],
            headers=headers,
            method=params["method"],
            timeout=params["timeout"],
            validate_certs=params["validate_certs"],
            follow_redirects="none",
            use_proxy=False,
            use_netrc=False,
            http_agent="composeops.hotfix.api_key_probe",
        ) as response:
            return int(response.status)
    except HTTPError as error:
        error.close()
        return int(error.code)
    except (OSError, TlsError, HTTPException, ValueError) as error:
        raise HotfixError(
            f"cannot probe {params['url']}: {no_answer(error, params['timeout'])}",
            remedy="Check that the service is up and that url is its address",
        ) from None


def no_answer(error: Exception, timeout: int) -> str:
    """Why there is no answer. Errors that could quote a header, hence a key, are not quoted."""
    if isinstance(error, (URLError, TlsError)):
        return f"no answer: {getattr(error, 'reason', error)}"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout} seconds"
    if isinstance(error, OSError):
        return f"the connection broke: {error.strerror or type(error).__name__}"
    if isinstance(error, HTTPException):
        return "the answer is not HTTP"
    return "the address or the header's name cannot be used in a request"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = probe(module)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
