# SPDX-License-Identifier: GPL-3.0-or-later
"""What really happened while a program ran."""

EVENTS = []


class Store:
    def persist(self):
        EVENTS.append("persisted")


store = Store()
