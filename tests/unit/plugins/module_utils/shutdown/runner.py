# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs programs, one after the other, and prints what each did as a line of JSON: python runner.py DIRECTORY..."""

import asyncio
import gc
import importlib
import json
import logging
import pathlib
import sys
import warnings

HERE = pathlib.Path(__file__).parent
KEPT = set(sys.modules)


class Lines(logging.Handler):
    """What the program itself logs."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        if record.name == "main":
            self.lines.append(record.getMessage())


def forget():
    for name in set(sys.modules) - KEPT:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(tuple(sys.path[:3])):
            del sys.modules[name]
    gc.collect()


def run(folder):
    sys.path[:0] = [folder, str(HERE / "support"), str(HERE / "library")]
    importlib.invalidate_caches()
    lines = Lines()
    logging.getLogger().handlers = [lines]
    logging.getLogger().setLevel("DEBUG")
    result = {"error": None, "at_startup": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = importlib.import_module("record")
        try:
            program = importlib.import_module("main")
            asyncio.run(program.app.run(lambda: result["at_startup"].extend(record.EVENTS)))
        except Exception as error:
            result["error"] = f"{type(error).__name__}: {error}"
        program = None
        forget()
    result.update(events=record.EVENTS, lines=lines.lines)
    result["never_awaited"] = [str(w.message) for w in caught if "never awaited" in str(w.message)]
    del sys.path[:3]
    return result


for directory in sys.argv[1:]:
    print(json.dumps(run(directory)))
