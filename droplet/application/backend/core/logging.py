# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's log: one JSON object a line on standard output. Uvicorn writes its own lines beside it."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def configure_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(json_ensure_ascii=False))
    logger = logging.getLogger("backend")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
