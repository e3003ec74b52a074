# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of a web framework as starts and stops an application."""

import inspect


class App:
    def __init__(self, lifespan=None, on_shutdown=()):
        self.lifespan = lifespan
        self.state = type("State", (), {})()
        self.handlers = {"startup": [], "shutdown": list(on_shutdown)}

    def on_event(self, kind):
        def register(function):
            self.handlers[kind].append(function)
            return function

        return register

    async def run(self, between):
        await self._call("startup")
        if self.lifespan is None:
            between()
        else:
            async with self.lifespan(self):
                between()
        await self._call("shutdown")

    async def _call(self, kind):
        for handler in self.handlers[kind]:
            result = handler()
            if inspect.iscoroutine(result):
                await result
