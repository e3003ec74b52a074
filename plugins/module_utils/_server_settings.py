# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server that runs was told by its arguments and variables, as far as the life of its workers goes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _command_line as cl
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Process, environment
from ansible_collections.composeops.hotfix.plugins.module_utils._diagnosis import Settings
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import Workers, main_process
from ansible_collections.composeops.hotfix.plugins.module_utils._server_version import at_least
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_setting import CMD_ARGS, first, given

# Seconds. uvicorn's Process.is_alive, fixed before 0.37; gunicorn's --timeout.
PING_TIMEOUT = 5.0
HEALTHCHECK = "UVICORN_TIMEOUT_WORKER_HEALTHCHECK"
# From this version on the ping's timeout can be set; before, its option stops the program and the variable is ignored.
HEALTHCHECK_SINCE = (0, 37)
MAX_REQUESTS = {
    "uvicorn": (("--limit-max-requests",), "UVICORN_LIMIT_MAX_REQUESTS"),
    "gunicorn": (("--max-requests",), ""),
}


def settings(
    argv: Sequence[str], started: Sequence[str], variables: Mapping[str, str], version: str | None, server: str | None
) -> Settings:
    """What the running server was told.

    :param argv: the arguments of the supervisor, or of the one process that serves; empty when there is none.
    :param started: entrypoint and command of the container, for a server that has changed its arguments (setproctitle).
    :param variables: the container's environment.
    :param server: ``uvicorn`` or ``gunicorn``, where it is known from the processes.
    """
    words = list(argv) if cl.parse_argv(argv).application and not _is_title(argv) else list(started)
    texts = {name: Text.of(value, -1) for name, value in variables.items()}
    command = cl.parse([Text.of(word, number) for number, word in enumerate(words)], texts.get)
    server = server or command.server
    count = cl.number(first(given(command, texts)))
    if server == "gunicorn":
        words += [text.value for text in cl.split(Text.of(variables.get(CMD_ARGS, "")))]
    options, variable = MAX_REQUESTS.get(server or "", ((), ""))
    limit = _last(words, options) or variables.get(variable) or ""
    patience = _last(words, ("--timeout-worker-healthcheck",)) or (
        variables.get(HEALTHCHECK) if at_least(version, *HEALTHCHECK_SINCE) else None
    )
    return Settings(
        server,
        count if count is not None or command.server != "uvicorn" else 1,
        float(patience) if patience and re.fullmatch(r"\d+", patience) else PING_TIMEOUT,
        int(limit) if limit.isdigit() and int(limit) else None,
    )


def settings_of(
    inspect: Mapping[str, Any], processes: Iterable[Process], found: Workers, version: str | None = None
) -> Settings:
    """What the server of a container was told: when it was started, if it runs, else what it is started with.

    :param inspect: the container's ``docker inspect`` data.
    :param found: who is who among its processes.
    """
    main = main_process(processes, found)
    words = [*(inspect["Config"].get("Entrypoint") or []), *(inspect["Config"].get("Cmd") or [])]
    return settings(main.argv if main else [], words, environment(inspect), version, found.server)


def _is_title(argv: Sequence[str]) -> bool:
    return bool(argv) and argv[0].startswith("gunicorn:")


def _last(words: Iterable[str], options: Sequence[str]) -> str | None:
    """The value of the last of some options, behind it or behind an equals sign; also inside of a ``sh -c``."""
    text = " ".join(words)
    found = [match[1] for option in options for match in re.finditer(rf"(?:^|\s){option}(?:=|\s+)[\"']?(\w+)", text)]
    return found[-1] if found else None
