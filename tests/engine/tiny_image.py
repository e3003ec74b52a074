# SPDX-License-Identifier: GPL-3.0-or-later
"""An image of one program that sleeps, made here byte by byte: no registry, no compiler, a few hundred bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
# The label of everything that this checkout makes, see droplet/vars.yml: `make clean` finds it.
LABEL = "org.composeops.hotfix.checkout=" + hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
# By the engine's name of the processor: ELF's number of it, and "sleep until a signal, then again".
PROGRAMS = {
    # mov eax, 34 (pause); syscall; jmp back
    "amd64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    # mov x8, 73 (ppoll); mov x0..x3, 0; svc 0; b back
    "arm64": (183, b"".join(struct.pack("<I", word) for word in (
        0xD2800928, 0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD4000001, 0x17FFFFFA))),
}  # fmt: skip
BASE = 0x400000
HEADERS = 64 + 56


def docker(*words: str, data: bytes | None = None) -> str:
    done = subprocess.run(["docker", *words], input=data, capture_output=True, check=False)
    assert done.returncode == 0, f"docker {words[0]} failed: {done.stderr.decode()}"
    return done.stdout.decode().strip()


def program(processor: str) -> bytes:
    """A static ELF program: header, one loadable segment, code."""
    machine, code = PROGRAMS[processor]
    start = BASE + HEADERS
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, start, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    size = HEADERS + len(code)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000) + code


@contextlib.contextmanager
def sleeper() -> Iterator[str]:
    """The ID of an image whose containers sleep until they are killed; it goes at the end."""
    content = program(docker("version", "--format", "{{.Server.Arch}}"))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("sleep")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    changes = ("--change", 'CMD ["/sleep"]', "--change", f"LABEL {LABEL}")
    image = docker("import", *changes, "-", data=archive.getvalue())
    try:
        yield image
    finally:
        docker("rmi", "--force", image)
