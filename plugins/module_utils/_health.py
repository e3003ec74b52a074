# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an application's answer is that of a healthy one, and how it is asked where there is no Ansible."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    BaseHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

LIMIT = 1_000_000  # bytes of an answer that are read


def holding(body: Any, expected: Any) -> bool:
    """Whether a JSON body holds what is expected: each expected member of an object, else equality."""
    if isinstance(expected, Mapping):
        return isinstance(body, Mapping) and all(key in body and holding(body[key], expected[key]) for key in expected)
    return bool(body == expected)


def is_healthy(status: int, text: str, body: Mapping[str, Any]) -> bool:
    """Whether an answer is that of a healthy application.

    :param status: HTTP status; 0 when there was no answer.
    :param body: what the JSON of a healthy answer holds.
    """
    try:
        return 0 < status < 400 and holding(json.loads(text), body)
    except (RecursionError, ValueError):
        return False


def ask(url: str, *, timeout: float, validate_certs: bool = True) -> tuple[int, str]:
    """Status and text of the answer to a request; status 0 and the reason, without the address, when there is none.

    No proxy of the environment is used: the application is asked where it is. Redirects are followed. An error whose
    text does not end in time, or breaks off, has an empty one.

    :param timeout: seconds, for all of it.
    """
    answer = _answer(url, timeout=timeout, validate_certs=validate_certs)
    return answer.status, answer.text


def post(url: str, data: bytes, *, timeout: float, content_type: str) -> str:
    """Post something, and say why it was not taken, without the address; empty when it was.

    A redirect is not followed: of those that are common the request at its end is another one, without what is posted.

    :param timeout: seconds, for all of it.
    """
    answer = _answer(url, timeout=timeout, data=data, content_type=content_type)
    if not answer.status:
        return answer.text
    if 200 <= answer.status < 300:
        return ""
    if not answer.location:
        return f"HTTP {answer.status}"
    place = "an address of https" if answer.location.lower().startswith("https:") else "another address"
    return f"HTTP {answer.status}: it redirects to {place}, which is not followed. Give the address that it leads to"


class _Answer(NamedTuple):
    status: int
    text: str
    location: str = ""


class _Staying(HTTPRedirectHandler):
    """Takes a redirect for the answer that it is."""

    def redirect_request(self, *_told: Any, **_named: Any) -> None:
        """Name no other request."""


def _answer(
    url: str, *, timeout: float, validate_certs: bool = True, data: bytes | None = None, content_type: str = ""
) -> _Answer:
    """What is answered within so many seconds, also by who sends a byte now and then.

    :param data: what is posted; None: a GET request.
    """
    if not url.lower().startswith(("http://", "https://")):
        return _Answer(0, "no answer: the address is not one of http or https")
    context = ssl.create_default_context() if url.lower().startswith("https:") else None
    if context is not None and not validate_certs:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers: list[BaseHandler] = [HTTPSHandler(context=context)] if context is not None else []
    handlers += [_Staying()] if data is not None else []
    headers = {"User-Agent": "composeops.hotfix", **({"Content-Type": content_type} if content_type else {})}
    try:
        request = _request(url, data, headers)
    except ValueError as error:
        return _Answer(0, f"no answer: {_reason(error)}")
    heard = [_Answer(0, "no answer: timed out")]
    opener = build_opener(ProxyHandler({}), *handlers)
    # The timeout of a socket is one of each read, and looking up a name has none.
    asking = threading.Thread(target=_converse, args=(heard, opener, request, timeout), daemon=True)
    asking.start()
    asking.join(timeout)
    return heard[-1]


def _converse(heard: list[_Answer], opener: OpenerDirector, request: Request, timeout: float) -> None:
    """Add what is known of the answer to ``heard``, each time that it is more."""
    try:
        with opener.open(request, timeout=timeout) as response:
            # Who has taken what was posted need not say so to the end.
            text = response.read(LIMIT).decode("utf-8", "replace") if request.data is None else ""
            heard.append(_Answer(int(response.status), text))
    except HTTPError as error:
        first = _Answer(int(error.code), "", error.headers.get("Location", ""))
        heard.append(first)
        with contextlib.suppress(OSError, HTTPException, ValueError), error:
            heard.append(first._replace(text=error.read(LIMIT).decode("utf-8", "replace")))
    except (OSError, HTTPException, ValueError) as error:
        heard.append(_Answer(0, f"no answer: {_reason(error)}"))


def _request(url: str, data: bytes | None, headers: Mapping[str, str]) -> Request:
    """The request; a user and password in the address become the header that a server reads.

    :raises ValueError: when it is no address.
    """
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    plain = parts._replace(netloc=place).geturl() if at else url
    request = Request(plain, data=data, headers=dict(headers))  # noqa: S310  (_answer refuses file: and the like)
    if at:
        words = ":".join(unquote(word) for word in user.partition(":")[::2])
        # Not for the one that a redirect leads to.
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(words.encode()).decode()}")
    return request


def _reason(error: Exception) -> str:
    """Why there was no answer, in words that cannot hold the address: it may carry a token."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "timed out"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not valid ({cause.verify_message})"
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    return type(error).__name__
