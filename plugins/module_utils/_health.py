# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an application's answer is that of a healthy one, and how it is asked where there is no Ansible."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

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


def ask(
    url: str, *, timeout: float, validate_certs: bool = True, data: bytes | None = None, content_type: str = ""
) -> tuple[int, str]:
    """Status and text of the answer to a request; status 0 and the reason, without the address, when there is none.

    No proxy of the environment is used: the application is asked where it is.

    :param data: what is posted; None: a GET request.
    """
    if not url.lower().startswith(("http://", "https://")):
        return 0, "no answer: the address is not one of http or https"
    context = ssl.create_default_context() if url.lower().startswith("https:") else None
    if context is not None and not validate_certs:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers = [HTTPSHandler(context=context)] if context is not None else []
    headers = {"User-Agent": "composeops.hotfix", **({"Content-Type": content_type} if content_type else {})}
    try:
        request = Request(url, data=data, headers=headers)  # noqa: S310  (others than http and https were refused above)
        with build_opener(ProxyHandler({}), *handlers).open(request, timeout=timeout) as response:
            return int(response.status), response.read(LIMIT).decode("utf-8", "replace")
    except HTTPError as error:
        with error:
            return int(error.code), error.read(LIMIT).decode("utf-8", "replace")
    except (OSError, HTTPException, ValueError) as error:
        return 0, f"no answer: {_reason(error)}"


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
