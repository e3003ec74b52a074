# SPDX-License-Identifier: GPL-3.0-or-later
"""What logs tell of deaths: lines as uvicorn 0.30.0 and 0.54.0 and gunicorn 27 wrote them when each cause was made."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_log import Event
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import Line
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_log import Story, Verdict
from hypothesis import given
from hypothesis import strategies as st

BEGIN = 1795535840.0
SECRET = "k7Jx0pWcQ2vTz9LmR4sN8aYbE1uHdGf3"
DIED = "INFO:     Waiting for child process [8]\nINFO:     Child process [8] died"
STARTED = "INFO:     Started server process [8]\nINFO:     Application startup complete."
TRACEBACK = """Process SpawnProcess-1:
Traceback (most recent call last):
  File "/usr/lib/python3.13/multiprocessing/process.py", line 313, in _bootstrap
    self.run()
json.decoder.JSONDecodeError: Expecting value: line 1 column 2 (char 1)

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/application.py", line 22, in <module>
    SETTINGS = Settings()
pydantic_settings.sources.SettingsError: error parsing value for field "valid_api_keys" from source"""
TIMEOUT = "[CRITICAL] WORKER TIMEOUT (pid:9)"
GUNICORN = "[2026-11-24 15:54:24 +0000] [1] "


def told(text: str, *, step: float = 0.001, **options: Any) -> Story:
    """The story of a log whose lines follow each other."""
    story = Story(secrets=[SECRET], **options)
    for number, line in enumerate(text.splitlines()):
        when = BEGIN + number * step
        stamp = f"2026-11-24T15:57:{when - 1795535820:012.9f}Z"
        story.feed(Line("stderr", stamp, line, len(line)))
    story.end()
    return story


def causes(story: Story) -> dict[str, int]:
    return {cause: count for cause, count in story.causes.items() if count}


def test_uvicorns_line_alone_tells_no_cause() -> None:
    story = told(f"{STARTED}\n{DIED}")
    assert causes(story) == {"unknown": 1}
    assert (story.unexplained, story.speaks) == (1, True)
    assert [(death.pid, round(death.time)) for death in story.deaths] == [(8, BEGIN)]


def test_an_exception_at_import() -> None:
    story = told(f"{TRACEBACK}\n{DIED}\n{TRACEBACK}\n{DIED.replace('8', '12')}")
    assert causes(story) == {"import_error": 2}
    assert (story.exception or "").startswith("pydantic_settings.sources.SettingsError: error parsing value")


def test_an_exception_at_import_whose_line_of_death_is_hidden() -> None:
    assert causes(told(f"{TRACEBACK}\n{TRACEBACK}")) == {"import_error": 2}


def test_uvicorn_0_54_stops_after_a_failed_start() -> None:
    failed = "ERROR:    Child process [8] failed to start, stopping the parent process."
    error = "ERROR:    Application startup failed. Exiting."
    assert causes(told(f"INFO:     Started server process [8]\n{error}\n{failed}")) == {"import_error": 1}
    story = told(f"{STARTED}\n{failed}")
    assert causes(story) == {"crash": 1}
    assert "os._exit(3)" in story.deaths[0].verdict.how


def test_a_traceback_of_a_request_is_no_reason_for_a_death() -> None:
    text = 'ERROR:    Exception in ASGI application\nTraceback (most recent call last):\n  File "x"\nValueError: no'
    assert causes(told(f"{STARTED}\n{text}\n{DIED}")) == {"unknown": 1}


def test_another_workers_exception_is_not_that_of_one_that_served() -> None:
    story = told(f"{STARTED}\n{TRACEBACK}\n{DIED}\nINFO:     Child process [9] died")
    assert causes(story) == {"unknown": 1, "import_error": 1}
    assert {death.pid: death.verdict.cause for death in story.deaths} == {8: "unknown", 9: "import_error"}


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_the_limit_of_requests(level: str) -> None:
    line = f"{level}:  Maximum request limit of 8 exceeded. Terminating process."
    assert causes(told(f"{STARTED}\n{line}\nINFO:     Finished server process [8]\n{DIED}")) == {"recycle": 1}
    assert causes(told(line)) == {"recycle": 1}


def test_uvicorn_0_30_does_not_tell_of_the_limit() -> None:
    text = f"{STARTED}\nINFO:     Finished server process [8]\n{DIED}"
    assert causes(told(text, max_requests=8)) == {"recycle": 1}
    assert causes(told(text)) == {"unknown": 1}


def test_a_worker_that_was_told_to_end_has_not_died() -> None:
    assert causes(told("INFO:     Terminated child process [8]\nINFO:     Waiting for child process [8]")) == {}


def test_what_the_c_library_prints() -> None:
    story = told(f"{STARTED}\nfree(): invalid pointer\n{DIED}")
    assert causes(story) == {"crash": 1}
    assert "free(): invalid pointer" in story.deaths[0].verdict.how


def test_kills_by_the_kernel_are_known_by_their_time() -> None:
    oom = Event(BEGIN - 0.4, "oom", 4329, True, "the kernel killed process 4329")
    assert causes(told(f"{STARTED}\n{DIED}", events=[oom])) == {"oom": 1}
    assert causes(told(f"{STARTED}\n{DIED}", events=[oom._replace(time=BEGIN - 60)])) == {"unknown": 1}


def test_a_crash_somewhere_on_the_host_counts_only_just_before() -> None:
    crash = Event(BEGIN - 0.4, "crash", 4329, False, "the kernel noted a segfault")
    story = told(f"{STARTED}\n{DIED}", events=[crash])
    assert (causes(story), story.deaths[0].verdict.sure) == ({"crash": 1}, 2)
    assert causes(told(f"{STARTED}\n{DIED}", events=[crash._replace(time=BEGIN - 4)])) == {"unknown": 1}


def test_one_kill_explains_one_death() -> None:
    oom = Event(BEGIN, "oom", 4329, True, "the kernel killed process 4329")
    assert causes(told(f"{DIED}\n{DIED.replace('8', '9')}", events=[oom])) == {"oom": 1, "unknown": 1}


def test_what_was_seen_goes_before_what_is_read() -> None:
    seen = {8: (BEGIN, Verdict("ping_timeout", "its supervisor waited", 3))}
    story = told(f"{STARTED}\n{DIED}", known=seen)
    assert (causes(story), story.deaths[0].verdict.how) == ({"ping_timeout": 1}, "its supervisor waited")


def test_what_was_seen_counts_without_a_line() -> None:
    seen = {8: (BEGIN, Verdict("crash", "SIGSEGV", 3)), 9: (BEGIN, Verdict("stopped", "SIGTERM", 3))}
    assert causes(told("INFO:     hello", known=seen)) == {"crash": 1}


def test_a_number_that_was_seen_long_ago_is_another_process() -> None:
    seen = {8: (BEGIN - 3600, Verdict("oom", "the kernel", 3))}
    assert causes(told(DIED, known=seen)) == {"unknown": 1, "oom": 1}


def test_an_exit_status_and_its_exception_are_one_death() -> None:
    seen = {8: (BEGIN, Verdict("crash", "exit code 1", 3, 1))}
    assert causes(told(f"{TRACEBACK}\n{DIED}", known=seen)) == {"import_error": 1}
    assert causes(told(TRACEBACK, known=seen)) == {"import_error": 1}
    assert causes(told(DIED, known=seen)) == {"crash": 1}


def test_a_replaced_worker_that_was_seen_and_told_of_is_one_death() -> None:
    line = f"{GUNICORN}[INFO] Maximum request limit of 8 exceeded. Terminating process."
    assert causes(told(line, known={9: (BEGIN, Verdict("unknown", "gone", 1))})) == {"recycle": 1}
    assert causes(told(line, known={9: (BEGIN, Verdict("crash", "SIGSEGV", 3))})) == {"recycle": 1, "crash": 1}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([TIMEOUT, "[ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?"], "ping_timeout"),
        ([TIMEOUT, "[WARNING] Worker (pid:9) was sent SIGABRT!"], "ping_timeout"),
        ([TIMEOUT, "[ERROR] Worker (pid:9) exited with code 1."], "ping_timeout"),
        (["[ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?"], "unknown"),
        (["[WARNING] Worker (pid:9) was sent SIGSEGV!"], "crash"),
        (["[WARNING] Worker with pid 9 was terminated due to signal 11"], "crash"),
        (["[ERROR] Worker (pid:9) exited with code 3", "[ERROR] Worker (pid:9) exited with code 3."], "crash"),
        (["[ERROR] Exception in worker process", "[ERROR] Worker (pid:9) exited with code 3."], "import_error"),
        (["[INFO] Worker (pid:9) was sent SIGTERM!"], None),
        (["[CRITICAL] DIRTY WORKER TIMEOUT (pid:9)"], None),
        (["[INFO] Autorestarting worker after current request."], "recycle"),
    ],
)
def test_gunicorn(lines: list[str], expected: str | None) -> None:
    story = told("\n".join(GUNICORN + line for line in lines))
    assert causes(story) == ({expected: 1} if expected else {})


def test_gunicorns_guess_at_memory_is_one_only_with_a_kill() -> None:
    line = f"{GUNICORN}[ERROR] Worker (pid:9) was sent SIGKILL! Perhaps out of memory?"
    oom = Event(BEGIN - 0.1, "oom", 4329, True, "the kernel killed process 4329")
    assert causes(told(line, events=[oom])) == {"oom": 1}


def test_colours_and_json_do_not_hide_anything() -> None:
    text = '{"message": "Child process [8] died"}\n\x1b[32mINFO\x1b[0m: Child process [\x1b[36m9\x1b[0m] died'
    assert causes(told(text)) == {"unknown": 2}


def test_secrets_in_an_exception_are_masked() -> None:
    story = told(f"Process SpawnProcess-1:\nTraceback (most recent call last):\nValueError: bad key {SECRET}")
    assert story.exception is not None and SECRET not in story.exception and "sha256:" in story.exception


def test_memory_stays_bounded_in_a_loop_of_deaths() -> None:
    story = told("\n".join(f"INFO:     Child process [{number}] died" for number in range(8000)), step=0.002)
    assert (story.causes["unknown"], len(story.deaths)) == (8000, 200)


@given(
    st.lists(
        st.one_of(st.text(), st.sampled_from([*DIED.splitlines(), *TRACEBACK.splitlines(), GUNICORN])), max_size=30
    )
)
def test_any_text_can_be_read(lines: list[str]) -> None:
    told("\n".join(line.replace("\n", " ") for line in lines))
