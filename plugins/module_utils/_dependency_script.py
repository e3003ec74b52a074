# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks what an application depends on a real question, from inside of the application's container.

The text of this file is handed to the Python of the running container (3.8 or newer), where nothing else of the
collection is: it needs the standard library only. Addresses and secrets are read from the container's own environment,
so that none is in an argument list, and nothing of an answer is passed on but what is named here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

# Bytes of an answer that are read: enough for a list of models, and no download.
ANSWER = 4 * 1024 * 1024
# An error code such as invalid_api_key says why; a message may quote a part of the key.
CODE = re.compile(r"[a-z][a-z_]{2,40}")


class Refused(Exception):
    """The dependency was reached and said no; the text quotes no secret."""


class NotSet(Refused):
    """The container was not given what it takes to ask."""


def ask_redis(question: dict[str, Any], timeout: float) -> str:
    """Log in as the URL says, and send PING."""
    parts = urlsplit(address(question))
    if parts.scheme not in ("redis", "rediss"):
        raise Refused("the address is no redis:// or rediss:// URL")
    host, port = parts.hostname or "localhost", parts.port or 6379
    with contextlib.ExitStack() as stack:
        connection: Any = stack.enter_context(socket.create_connection((host, port), timeout))
        if parts.scheme == "rediss":
            connection = stack.enter_context(ssl.create_default_context().wrap_socket(connection, server_hostname=host))
        stream = stack.enter_context(connection.makefile("rwb"))
        if parts.password:
            user = [unquote(parts.username)] if parts.username else []
            if command(stream, "AUTH", *user, unquote(parts.password)) != "+OK":
                raise Refused("Redis refuses the password")
        answer = command(stream, "PING")
    if answer.startswith("-"):
        raise Refused("Redis answered {}".format(answer[1:].split(" ")[0]))
    if answer != "+PONG":
        raise Refused("something answers, but not as Redis does")
    return "Redis answered PONG"


def command(stream: Any, *words: str) -> str:
    """One command in the Redis protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/."""
    data = [word.encode() for word in words]
    stream.write(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in data))
    stream.flush()
    answer: bytes = stream.readline(1024)
    return answer.decode("utf-8", "replace").rstrip("\r\n")


def ask_http(question: dict[str, Any], timeout: float) -> str:
    """GET a path, with the secret in a header if there is one, and read what comes back."""
    headers = {"User-Agent": "composeops.hotfix"}
    if question["secret_variable"]:
        secret = os.environ.get(question["secret_variable"], "")
        if not secret:
            raise NotSet("{} is not set in the container".format(question["secret_variable"]))
        headers[question["header"]] = question["header_prefix"] + secret
    url = address(question).rstrip("/") + question["path"]
    if urlsplit(url).scheme not in ("http", "https"):
        raise Refused("the address is no http:// or https:// URL")
    opener = urllib.request.build_opener()
    opener.addheaders = list(headers.items())
    try:
        with opener.open(url, timeout=timeout) as response:
            status, body = response.status, response.read(ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(ANSWER)
    return judge_answer(question, status, body)


def judge_answer(question: dict[str, Any], status: int, body: bytes) -> str:
    """Take an answer for a success only if its status and its body are those expected."""
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    if status not in question["status"]:
        raise Refused(f"the answer is HTTP {status}{error_code(data)}")
    key = question["expect_key"]
    if key and not (isinstance(data, dict) and key in data):
        raise Refused(f"the answer is HTTP {status}, but no JSON with {key}")
    return "the answer is HTTP {}{}".format(status, f", JSON with {key}" if key else "")


def error_code(data: Any) -> str:
    """The machine-readable reason in an error, as OpenAI and others give it."""
    error = data.get("error") if isinstance(data, dict) else None
    found = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return f" ({found})" if isinstance(found, str) and CODE.fullmatch(found) else ""


def ask_tcp(question: dict[str, Any], timeout: float) -> str:
    """Open a connection."""
    parts = urlsplit(address(question))
    if not parts.hostname or not parts.port:
        raise Refused("the address has no host and port")
    with socket.create_connection((parts.hostname, parts.port), timeout):
        return "the port accepts connections"


def address(question: dict[str, Any]) -> str:
    """The dependency's URL: from the container's environment, else the one given."""
    found = os.environ.get(question["url_variable"], "") if question["url_variable"] else ""
    if not (found or question["url"]):
        raise NotSet("{} is not set in the container".format(question["url_variable"] or "url"))
    return found or str(question["url"])


def reason(error: Exception) -> str:
    """An error in words that quote neither address nor secret."""
    inner: Any = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, Refused):
        return str(inner)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {inner.verify_message}"
    for kind, text in (
        ((socket.timeout, TimeoutError), "it did not answer in time"),
        ((socket.gaierror,), "its host name is not known"),
        ((OSError,), os.strerror(inner.errno).lower() if getattr(inner, "errno", None) else ""),
        ((OSError, http.client.HTTPException), f"the connection ended without an answer ({type(inner).__name__})"),
    ):
        if text and isinstance(inner, kind):
            return text
    return f"the question could not be asked ({type(inner).__name__})"


ASK = {"redis": ask_redis, "http": ask_http, "tcp": ask_tcp}


def main() -> None:
    options = json.loads(sys.argv[1])
    answers = []
    for question in options["questions"]:
        started, asked = time.monotonic(), True
        try:
            ok, text = True, ASK[question["kind"]](question, options["timeout"])
        except Exception as error:  # whatever goes wrong is the finding
            ok, text, asked = False, reason(error), not isinstance(error, NotSet)
        milliseconds = round((time.monotonic() - started) * 1000)
        answers.append(
            {"name": question["name"], "ok": ok, "asked": asked, "reason": text, "milliseconds": milliseconds}
        )
    sys.stdout.write(options["mark"] + " " + json.dumps({"answers": answers}))


if __name__ == "__main__":
    main()
