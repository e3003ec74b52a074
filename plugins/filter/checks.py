# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn observations into checks and findings, and these into summaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _checklist,
    _checks,
    _findings,
    _report_document,
    _report_page,
    _report_table,
)


class FilterModule:
    """The filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "check_lines": _checks.check_lines,
            "checklist_lines": _checklist.lines,
            "findings": _findings.findings,
            "findings_left": _findings.left,
            "findings_lines": _findings.lines,
            "judge": _checks.judge,
            "line_pattern": _checks.line_pattern,
            "report_document": _report_document.document,
            "report_file_name": _report_document.file_name,
            "report_overview": _report_document.overview,
            "report_overview_page": _report_page.overview_page,
            "report_overview_table": _report_document.overview_table,
            "report_page": _report_page.page,
            "report_published": _report_document.published,
            "report_renewed": _report_document.renewed,
            "revision_line": _checks.revision_line,
            "summarise": _checks.summarise,
            "summary_table": _report_table.summary_table,
        }
