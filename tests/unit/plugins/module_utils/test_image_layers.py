# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image keeps of an environment file, on archives made here in both layouts of ``docker save``.

Against real engines this is tried by tests/engine and by the Molecule scenarios.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _image_layers
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import Finding, held_secrets
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._image_layers import (
    Archive,
    Wanted,
    instruction,
    judge_history,
    judge_layers,
    wanted,
)

JWT = "Jq3vT9xYb2LkR7mWc5PzH8nDf4sGa6UeV1tKoXiQyZw"
KEY = "fT0pWm3XkQ9vLr6Zb1NcYs8Hd2JgAe5UoKi7RtVxEqM"
OTHER = "zQ8wLm2XkT9vPr6Zb1NcYs8Hd3JgAe5UoKi7RtVxEqB"
ENV = f"DEBUG=false\nJWT_SECRET={JWT}\nAPI_KEYS='[\"{KEY}\"]'\nDB_PASSWORD=hunter2-hunter\nOLD_KEY=dev-key-12345\n"
LIMIT = 10**9
Files = Mapping[str, "bytes | None"]


def sought(content: str = ENV) -> Wanted:
    return wanted(held_secrets(parse(content.encode())))


def tar(files: Files, **options: Any) -> bytes:
    """An archive of these files; one without content is a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
    return stream.getvalue()


def configuration(layers: Sequence[bytes], steps: Sequence[str]) -> bytes:
    history: list[dict[str, Any]] = [{"created_by": "LABEL a=b", "empty_layer": True}]
    history += [{"created_by": step} for step in steps]
    digests = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    return json.dumps({"history": history, "rootfs": {"type": "layers", "diff_ids": digests}}).encode()


def old_layout(layers: Sequence[bytes], steps: Sequence[str]) -> bytes:
    """As engines before 25 write it; a layer that is there twice is a link the second time."""
    config = configuration(layers, steps)
    name = hashlib.sha256(config).hexdigest() + ".json"
    files: dict[str, bytes | None] = {}
    names, links = [], {}
    for index, layer in enumerate(layers):
        folder = hashlib.sha256(b"%d" % index).hexdigest()
        names.append(f"{folder}/layer.tar")
        files.update({folder: None, f"{folder}/VERSION": b"1.0", f"{folder}/json": b'{"id":"x"}'})
        if layer in layers[:index]:
            links[names[-1]] = f"../{names[list(layers).index(layer)]}"
        else:
            files[names[-1]] = layer
    files[name] = config
    files["manifest.json"] = json.dumps([{"Config": name, "RepoTags": ["a:1"], "Layers": names}]).encode()
    files["repositories"] = b'{"a":{"1":"x"}}'
    stream = io.BytesIO(tar(files))
    with tarfile.open(fileobj=stream, mode="a") as archive:
        for link, target in links.items():
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return stream.getvalue()


def oci_layout(layers: Sequence[bytes], steps: Sequence[str], compress: Callable[[bytes], bytes] = bytes) -> bytes:
    """As newer engines write it; layers of the containerd image store are compressed."""
    blobs = {hashlib.sha256(data).hexdigest(): data for data in map(compress, layers)}
    config = configuration(layers, steps)
    name = "blobs/sha256/" + hashlib.sha256(config).hexdigest()
    names = ["blobs/sha256/" + hashlib.sha256(compress(layer)).hexdigest() for layer in layers]
    manifest = [{"Config": name, "RepoTags": None, "Layers": names, "LayerSources": {}}]
    files: dict[str, bytes | None] = {"blobs": None, "blobs/sha256": None}
    files.update({f"blobs/sha256/{digest}": data for digest, data in blobs.items()})
    files[name] = config
    files["blobs/sha256/" + "a" * 64] = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}'
    files["index.json"] = b'{"schemaVersion":2,"manifests":[]}'
    files["manifest.json"] = json.dumps(manifest).encode()
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    return tar(files)


LAYOUTS: dict[str, Callable[[Sequence[bytes], Sequence[str]], bytes]] = {
    "old": old_layout,
    "oci": oci_layout,
    "oci, compressed": lambda layers, steps: oci_layout(layers, steps, lambda data: gzip.compress(data, mtime=0)),
}


class OneWay(io.RawIOBase):
    """A stream as a pipe is one: it can only be read on, and gives what it likes."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def read(self, size: int = -1) -> bytes:
        size = len(self._left) if size < 0 else min(size, 65536)
        data, self._left = bytes(self._left[:size]), self._left[size:]
        return data


def search(archive: bytes, wanted: Wanted | None = None, limit: int = LIMIT) -> list[Finding]:
    reading = Archive(sought() if wanted is None else wanted, limit)
    reading.read(OneWay(archive))
    findings = judge_layers("shop:1", reading.layers())
    for secret in (JWT, KEY, OTHER, "hunter2", "dev-key"):
        assert secret not in repr(findings)
    return findings


def told(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.file, finding.severity, finding.name) for finding in findings]


@pytest.mark.parametrize("layout", LAYOUTS)
class TestFiles:
    def test_layer_instruction_path_and_names_are_told(self, layout: str) -> None:
        layers = [tar({"bin": None, "bin/sh": b"x" * 5000}), tar({"app": None, "app/.env": ENV.encode()})]
        (finding,) = search(LAYOUTS[layout](layers, ["ADD rootfs.tar /", "COPY . . # buildkit"]))
        digest = hashlib.sha256(layers[1]).hexdigest()[:12]
        assert told([finding]) == [("/app/.env", "high", "JWT_SECRET")]
        assert finding.rule == "image_layer"
        start = f"Layer {digest} of image shop:1, made by COPY . ., holds /app/.env, with the value of "
        assert finding.message.startswith(start + "JWT_SECRET, API_KEYS, DB_PASSWORD, OLD_KEY; ")
        assert ".dockerignore" in finding.message and "rotate" in finding.message

    def test_a_file_that_is_deleted_later_is_still_there(self, layout: str) -> None:
        env = {"app/.env": ENV.encode(), "tmp/x/settings.py": f"K='{JWT}'".encode(), "srv/a/b": JWT.encode()}
        deleted: Files = {"app/.wh..env": b"", "tmp/.wh.x": b"", "srv/a/.wh..wh..opq": b""}
        findings = search(
            LAYOUTS[layout]([tar(env), tar({"app/x": b"1"}), tar(deleted)], ["COPY . .", "RUN", "RUN rm"])
        )
        assert {file for file, _severity, _name in told(findings)} == {"/app/.env", "/tmp/x/settings.py", "/srv/a/b"}
        assert all("which a later layer only hides" in finding.message for finding in findings)
        # In the order of the layers: what is deleted first is there afterwards.
        findings = search(LAYOUTS[layout]([tar(deleted), tar(env)], ["RUN rm", "COPY . ."]))
        assert len(findings) == 3 and not any("hides" in finding.message for finding in findings)

    def test_a_layer_that_is_there_twice(self, layout: str) -> None:
        layer, other = tar({"app/.env": ENV.encode()}), tar({"a": b"b"})
        findings = search(LAYOUTS[layout]([layer, other, layer], ["COPY a .", "RUN", "COPY b ."]))
        assert [finding.message.split(" made by ")[1].split(",")[0] for finding in findings] == ["COPY a .", "COPY b ."]

    @pytest.mark.parametrize("before", [0, 1, 2**20 - 20, 2**20, 2**20 + 7, 3 * 2**20 - 1])
    def test_a_value_anywhere_in_a_file(self, layout: str, before: int) -> None:
        data = b"\0" * before + JWT.encode() + b"\n" + KEY.encode() + b"x" * 100
        (finding,) = search(LAYOUTS[layout]([tar({"usr/lib/a.pyc": data})], ["RUN make"]))
        assert told([finding]) == [("/usr/lib/a.pyc", "high", "JWT_SECRET")]
        assert "JWT_SECRET, API_KEYS" in finding.message

    def test_an_image_without_secrets(self, layout: str) -> None:
        files = {
            "app/.env.example": b"JWT_SECRET=your-secret-here\nAPI_KEY=\n",
            "app/.env.sample": f"API_KEY={OTHER}\n".encode(),
            "app/.env.test": b"JWT_SECRET=changeme\nDEBUG=true\n",
            "app/readme": b"hunter2-hunte dev-key-12345 " + JWT[:-1].encode(),
            "app/.env": b"",
            "app/a.env": b"'not one\n",
        }
        empty = b"\0" * 1024
        assert search(LAYOUTS[layout]([empty, tar(files)], ["LABEL", "COPY . ."])) == []

    def test_secrets_of_another_time(self, layout: str) -> None:
        files = {"app/.env": f"JWT_SECRET={OTHER}\nDEBUG=1\nAPI_KEYS='[\"dev-key-0\"]'\n".encode()}
        (finding,) = search(LAYOUTS[layout]([tar(files)], ["COPY . ."]))
        assert told([finding]) == [("/app/.env", "medium", "JWT_SECRET")]
        assert "a value of JWT_SECRET, API_KEYS that the environment file does not hold now" in finding.message

    def test_many_files_are_counted(self, layout: str) -> None:
        layer = tar({f"web/{number:03}.js": JWT.encode() for number in range(50)})
        findings = search(LAYOUTS[layout]([layer], ["RUN build"]))
        assert len(findings) == _image_layers.MOST_PATHS + 1
        assert "holds 30 more such files" in findings[-1].message

    def test_a_limit(self, layout: str) -> None:
        archive = LAYOUTS[layout]([tar({"a": b"x" * 1000, "b": b"x" * 1000})], ["RUN"])
        assert search(archive, limit=2000) == []
        with pytest.raises(HotfixError, match="larger than the limit"):
            search(archive, limit=1999)

    def test_a_broken_archive(self, layout: str) -> None:
        archive = LAYOUTS[layout]([tar({"a": b"x" * 100_000})], ["RUN"])
        for data in (
            b"",
            archive[:700],
            archive[: len(archive) // 2],
            tar({"a": b"b"}),
            tar({"manifest.json": b"[{}]"}),
        ):
            with pytest.raises(HotfixError, match="archive"):
                search(data)

    def test_the_memory_that_it_takes_is_bounded(self, layout: str, figure: Callable[[str], None]) -> None:
        layer = tar({**{f"f{number}": b"x" for number in range(20_000)}, "big": b"\0" * 80_000_000, "b": JWT.encode()})
        archive = LAYOUTS[layout]([layer], ["RUN"])
        tracemalloc.start()
        findings = search(archive)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert told(findings) == [("/b", "high", "JWT_SECRET")]
        # Python unpacks blocks of 10 KB whole, and 1 KB of zeros may become 1 MB.
        assert peak < (60_000_000 if "compressed" in layout else 12_000_000)
        figure(f"image of {len(layer) // 10**6} MB and 20,002 files, layout {layout}: {peak / 10**6:.1f} MB of memory")


def test_zstandard_is_said() -> None:
    archive = oci_layout([tar({"a": b"b"})], ["RUN"], lambda data: b"\x28\xb5\x2f\xfd" + data)
    with pytest.raises(HotfixError, match="zstd"):
        search(archive)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".env", True), ("a/.env.production", True), ("a/prod.env", True), ("a/.envrc", True), ("a/.env~", True),
        ("a/.env.bak", True), ("a/environment", False), ("a/env", False), ("a/.env.dist", False), ("a/x.env.py", False),
    ],
)  # fmt: skip
def test_an_environment_file_by_its_name(path: str, found: bool) -> None:
    findings = search(old_layout([tar({path: f"API_KEY={OTHER}\n".encode()})], ["COPY . ."]))
    assert [finding.file for finding in findings] == ([f"/{path}"] if found else [])


def test_what_is_looked_for() -> None:
    found = sought()
    assert set(found.anywhere) == {JWT.encode(), KEY.encode()}
    assert found.exact["hunter2-hunter"] == ("DB_PASSWORD",)
    assert found.exact["dev-key-12345"] == ("OLD_KEY",)
    assert sought(
        "A_TOKEN=aaaaaaaaaaaaaaaa\nA_SECRET=password1234\nB_TOKEN=short\nC_KEY=changeme-please\n"
    ).anywhere == {b"password1234": ("A_SECRET",)}
    assert sought(f"A_KEY={JWT}\nB_KEY={JWT}\n").anywhere == {JWT.encode(): ("A_KEY", "B_KEY")}
    many = sought("".join(f"K{number}_KEY={number:03}{JWT}\n" for number in range(210)))
    assert (len(many.anywhere), many.left_out) == (200, 10)
    assert JWT not in repr(many)


HISTORY: dict[str, tuple[str, str, str, str]] = {
    "ENV, classic": (f"/bin/sh -c #(nop)  ENV JWT_SECRET={JWT}", "ENV JWT_SECRET", "JWT_SECRET", "high"),
    "ENV": (f"ENV A=b JWT_SECRET={JWT}", "ENV A JWT_SECRET", "JWT_SECRET", "high"),
    "ARG": (f"ARG TOKEN={JWT}", "ARG TOKEN", "JWT_SECRET", "high"),
    "argument, classic": (f"|2 A=b T={JWT} /bin/sh -c make", "RUN", "JWT_SECRET", "high"),
    "argument": (f"RUN |1 T={JWT} /bin/sh -c make # buildkit", "RUN", "JWT_SECRET", "high"),
    "RUN": (f"RUN /bin/sh -c echo {KEY} > /x # buildkit", "RUN", "API_KEYS", "high"),
    "a list": (f'ENV API_KEYS=["{KEY}"]', "ENV API_KEYS", "API_KEYS", "high"),
    "a short one": ("ENV DB_PASSWORD=hunter2-hunter", "ENV DB_PASSWORD", "DB_PASSWORD", "high"),
    "a known one": ('ENV K_KEYS=["dev-key-12345"]', "ENV K_KEYS", "OLD_KEY", "high"),
    "another ENV": (f"ENV STRIPE_API_KEY={OTHER}", "ENV STRIPE_API_KEY", "STRIPE_API_KEY", "medium"),
    "another argument": (f"|1 NPM_TOKEN={OTHER} /bin/sh -c npm ci", "RUN", "NPM_TOKEN", "medium"),
    "an address": ("ENV DATABASE_URL=postgres://a:hunter3-hunter@db/x", "ENV DATABASE_URL", "DATABASE_URL", "medium"),
}


@pytest.mark.parametrize("case", HISTORY)
def test_a_step_of_the_history(case: str) -> None:
    step, shown, name, severity = HISTORY[case]
    (finding,) = judge_history("shop:1", ["CMD x", step], [], sought())
    assert (finding.rule, finding.name, finding.severity, finding.file) == ("image_layer", name, severity, "")
    assert f"step 2 of its history ({shown})" in finding.message
    assert not any(secret in finding.message for secret in (JWT, KEY, OTHER, "hunter", "dev-key"))


@pytest.mark.parametrize(
    "step",
    [
        "", "ENV PATH=/usr/local/bin:/usr/bin LANG=C.UTF-8", "ENV GPG_KEY=7169605F62C751356D054A26A821E680E5FA6305",
        "ENV PYTHON_VERSION=3.13.1", "RUN |1 UID=1000 /bin/sh -c useradd -u 1000 app # buildkit", "ARG API_KEY",
        "ENV JWT_SECRET_FILE=/run/secrets/jwt", "ENV SSL_KEY=/etc/ssl/key.pem", "ENV API_KEY= DEBUG_TOKEN=false",
        "/bin/sh -c #(nop) COPY dir:0d5f6cd3a1a0f1a6a1b6a5c4d3e2f1a0 in /app ", 'CMD ["uvicorn" "main:app"]',
        "ENV JWT_SECRET=change-me",
    ],
)  # fmt: skip
def test_a_step_without_a_secret(step: str) -> None:
    assert judge_history("shop:1", [step], [], sought()) == []


def test_steps_with_the_same_secrets_are_one_finding() -> None:
    steps = [f"ARG T={JWT}", f"|1 T={JWT} /bin/sh -c a", f"|1 T={JWT} /bin/sh -c b", f"ENV K={KEY}"]
    first, second = judge_history("shop:1", steps, [f"K={KEY}"], sought())
    assert "step 1 of its history (ARG T) and step 2 of its history (RUN) and step 3" in first.message
    assert second.name == "API_KEYS" and "variable" not in second.message


def test_a_variable_that_no_step_tells_of() -> None:
    """As ``docker commit --change`` and ``docker import --change`` make them."""
    first, second = judge_history("a", ["x"], [f"A={JWT}", "PATH=/bin", f"B_TOKEN={OTHER}", "C=1"], sought())
    assert (first.severity, first.name, second.severity, second.name) == ("high", "JWT_SECRET", "medium", "B_TOKEN")
    assert "in its own variable A;" in first.message


@pytest.mark.parametrize(
    ("created_by", "shown"),
    [
        ("", ""),
        ("COPY . . # buildkit", "COPY . ."),
        ("/bin/sh -c #(nop) COPY dir:0d5f in /app ", "COPY in /app"),
        ("/bin/sh -c #(nop)  CMD [\"a\"]", "CMD"),
        (f"ENV A={JWT} B=2", "ENV A B"),
        ("ARG TOKEN", "ARG TOKEN"),
        (f"/bin/sh -c echo {JWT}", "RUN"),
        (f"COPY --from={JWT} a b", "COPY --from=*** a b"),
    ],
)  # fmt: skip
def test_an_instruction_is_shown_without_values(created_by: str, shown: str) -> None:
    assert instruction(created_by) == shown
