# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup secure_token, found and run by Ansible's own loader."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import weaknesses

# In a process of its own: Ansible's loader wants to be the first to import ansible_collections.
RUNNER = """
import json, sys
from ansible.errors import AnsibleError
from ansible.plugins.loader import init_plugin_loader, lookup_loader
init_plugin_loader()
terms, options = json.loads(sys.argv[1])
try:
    print(json.dumps(lookup_loader.get("composeops.hotfix.secure_token").run(terms, **options)))
except AnsibleError as error:
    print(json.dumps(str(error)))
"""


def lookup(*terms: Any, **options: Any) -> Any:
    """The tokens, or the message of the error."""
    command = [sys.executable, "-c", RUNNER, json.dumps([terms, options])]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_one_strong_token() -> None:
    (token,) = lookup()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert weaknesses(token) == []
    assert lookup() != [token]


def test_count_and_size() -> None:
    tokens = lookup("3", nbytes=48)
    assert [len(token) for token in tokens] == [64, 64, 64]
    assert len(set(tokens)) == 3


def test_none_of_many_is_weak(figure: Callable[[str], None]) -> None:
    weak = [token for token in lookup(10_000) if weaknesses(token)]
    assert weak == []
    figure(f"10,000 keys of lookup secure_token: {len(weak)} false alarms")


@pytest.mark.parametrize(("terms", "options"), [(["x"], {}), ([1, 2], {}), ([0], {}), ([], {"nbytes": 15})])
def test_bad_input(terms: list[Any], options: dict[str, Any]) -> None:
    assert str(lookup(*terms, **options)).startswith("secure_token ")
