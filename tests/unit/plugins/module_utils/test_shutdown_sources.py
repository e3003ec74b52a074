# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that are none of our business, and sources of each Python version, read by each Python that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_source import repair

COLLECTIONS = Path(__file__).resolve().parents[4] / ".ansible" / "collections"
DEPENDENCIES = """\
class RedisClient:
    async def disconnect(self):
        await self._redis.aclose()

_client = RedisClient()

async def get_redis_client() -> RedisClient:
    return _client
"""
LOOK_ALIKES = {
    "an HTTP client named after Redis": """\
        import httpx
        redis_proxy = httpx.Client(base_url="http://redis-commander")

        def shutdown():
            redis_proxy.close()
        """,
    "a database pool": """\
        import asyncpg
        pool = None

        async def shutdown():
            await pool.close()
        """,
    "a cache of files": """\
        import shelve
        cache = shelve.open("cache.db")

        def shutdown():
            cache.close()
        """,
    "a test of the client": """\
        from deps import get_redis_client

        async def test_close():
            client = get_redis_client()
            client.close()
        """,
    "a fixture": """\
        import pytest
        from deps import get_redis_client

        @pytest.fixture
        async def client():
            client = await get_redis_client()
            yield client
            client.close()
        """,
    "a class with a shutdown of its own": """\
        class Pump:
            def close(self): ...

            def shutdown(self):
                self.close()
        """,
    "a thread pool": """\
        from concurrent.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor()

        def shutdown():
            executor.shutdown()
        """,
    "a socket server": """\
        import socket
        redis_socket = socket.create_server(("", 6380))

        def shutdown():
            redis_socket.close()
        """,
    "code in strings": '''\
        TEMPLATE = """
        async def shutdown():
            await redis_client.close()
        """

        def shutdown():
            """Calls no redis_client.close()."""
            print("redis_client.close()")
        ''',
    "code in comments": """\
        from deps import get_redis_client

        async def shutdown():
            # client = get_redis_client()
            # client.close()
            pass
        """,
    "a route named like it": """\
        from deps import get_redis_client

        async def stop_listening(request):
            client = await get_redis_client()
            await client.close()
        """,
    "a shutdown of the machine": """\
        import subprocess

        def shutdown(host):
            subprocess.run(["ssh", host, "redis-cli", "shutdown"])
        """,
    "only a health check": """\
        from deps import get_redis_client

        async def shutdown():
            client = await get_redis_client()
            print(await client.get("workers"))
        """,
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_program_that_only_looks_alike_stays_as_it_is(tmp_path: Path, name: str) -> None:
    data = textwrap.dedent(LOOK_ALIKES[name]).encode()
    (tmp_path / "deps.py").write_text(DEPENDENCIES)
    (tmp_path / "main.py").write_bytes(data)
    result = repair(str(tmp_path / "main.py"))
    assert (result.status, result.data) == ("not_found", data), result.seen


# Lines that only this version and newer ones understand.
SYNTAX = {
    (3, 8): "if (n := len('x')) > 1: print(f'{n=}')\ndef f(a, /, b): ...\n",
    (3, 9): "@(lambda f: f)\ndef g(): ...\nwith (open('a')) as a: pass\n",
    (3, 10): "match 1:\n    case 1 | 2: pass\nwith (open('a') as a, open('b') as b): pass\n",
    (3, 11): "try: pass\nexcept* ValueError: pass\n",
    (3, 12): "type Pair[T] = tuple[T, T]\ndef first[T](pair: Pair[T]) -> T: return pair[0]\nx = f'{'a' + f'{'b'}'}'\n",
    (3, 13): "class Box[T = int]: pass\n",
}
MAIN = """\
from deps import get_redis_client

{}

async def shutdown():
    client = await get_redis_client()
    await client.close()
"""
# Repairs a file with the Python that runs this, and prints what became of it.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_source import repair
try:
    print(repair(sys.argv[2]).status)
except HotfixError as error:
    print(error)
"""


def interpreters() -> dict[tuple[int, int], str]:
    """The Pythons of this machine that modules may run on, this one among them."""
    found = {sys.version_info[:2]: sys.executable}
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(9, 16):
        names = [shutil.which(f"/usr/bin/python3.{minor}"), *map(str, versions.glob(f"3.{minor}.*/bin/python"))]
        for name in filter(None, names):
            found.setdefault((3, minor), name)
    return found


@pytest.mark.parametrize("python", sorted(interpreters()), ids=lambda version: "{}.{}".format(*version))
def test_source_of_each_version_is_repaired_or_refused_in_one_sentence(tmp_path: Path, python: tuple[int, int]) -> None:
    for version, lines in SYNTAX.items():
        folder = tmp_path / "{}.{}".format(*version)
        folder.mkdir()
        (folder / "deps.py").write_text(DEPENDENCIES)
        (folder / "main.py").write_text(MAIN.format(lines))
        command = [interpreters()[python], "-c", SCRIPT, str(COLLECTIONS), str(folder / "main.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said = done.stdout.strip()
        if python >= version:
            assert said == "patched", (version, said)
        else:
            assert (
                f"{folder}/main.py:" in said
                and "no Python that the host's python3 ({}.{}) can read".format(*python) in said
            )
            assert said.endswith("run the module with the Python version of the application.") and "\n" not in said


@pytest.mark.parametrize("version", [version for version in SYNTAX if version <= sys.version_info[:2]])
def test_the_lines_of_a_newer_version_stay(tmp_path: Path, version: tuple[int, int]) -> None:
    (tmp_path / "deps.py").write_text(DEPENDENCIES)
    text = MAIN.format(SYNTAX[version])
    (tmp_path / "main.py").write_text(text)
    result = repair(str(tmp_path / "main.py"))
    start = text.index("    client = await")
    assert result.status == "patched" and result.data.decode().startswith(text[:start])
    assert "await client.disconnect()" in result.data.decode()


def test_a_file_of_the_project_that_is_too_new_is_named(tmp_path: Path) -> None:
    (tmp_path / "deps.py").write_text(DEPENDENCIES + "\n\ndef broken(:\n")
    (tmp_path / "main.py").write_text(MAIN.format(""))
    with pytest.raises(
        HotfixError, match=r"deps\.py:\d+: this is no Python that the host's python3 \(3\.\d+\) can read"
    ):
        repair(str(tmp_path / "main.py"))
