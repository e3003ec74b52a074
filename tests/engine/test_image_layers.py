# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in real images of a real engine are named by layer, instruction and path."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import generate
from ansible_collections.composeops.hotfix.plugins.modules.dotenv_info import ARGUMENTS, run

CHECKOUT = Path(__file__).resolve().parents[2]
# The label of everything that this checkout makes, see droplet/vars.yml: `make clean` finds it.
LABEL = "org.composeops.hotfix.checkout=" + hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
JWT, KEY, OLD = generate(), generate(), generate()
ENV = f"DEBUG=false\nJWT_SECRET={JWT}\nAPI_KEYS='[\"{KEY}\"]'\n"


def docker(*words: str, data: bytes | None = None) -> str:
    done = subprocess.run(["docker", *words], input=data, capture_output=True, check=False)
    assert done.returncode == 0, f"docker {words[0]} failed: {done.stderr.decode()}"
    return done.stdout.decode().strip()


@pytest.fixture
def images() -> Iterator[list[str]]:
    """Names or IDs of images that go at the end."""
    made: list[str] = []
    yield made
    for image in made:
        docker("rmi", "--force", image)


@pytest.fixture
def build(tmp_path: Path, images: list[str]) -> Callable[..., str]:
    """Build an image with this Dockerfile in a folder with these files."""

    def build(dockerfile: str, files: dict[str, str], **arguments: str) -> str:
        folder = tmp_path / "context"
        folder.mkdir()
        for name, content in {"Dockerfile": dockerfile, **files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        image = docker("build", "--quiet", "--label", LABEL, *words, str(folder))
        images.append(image)
        return image

    return build


@pytest.fixture
def audit(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """The findings about an image."""

    def audit(image: str, maximum: int = 100) -> list[dict[str, Any]]:
        path = tmp_path / ".env"
        path.write_text(ENV, encoding="utf-8")
        path.chmod(0o600)
        defaults = {name: option.get("default") for name, option in ARGUMENTS.items()}
        result = run({**defaults, "path": str(path), "image": image, "image_max_mb": maximum}, {})
        assert not any(secret in json.dumps(result) for secret in (JWT, KEY, OLD))
        assert {finding["rule"] for finding in result["findings"]} <= {"image_layer", "not_searched"}
        return list(result["findings"])

    return audit


def told(findings: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(finding["file"], finding["severity"], finding["name"]) for finding in findings}


def test_a_copied_environment_file(build: Callable[..., str], audit: Callable[..., list[dict[str, Any]]]) -> None:
    files = {".env": ENV, "main.py": "print(1)\n", "conf/.env.old": f"STRIPE_API_KEY={OLD}\n", ".env.example": "KEY=\n"}
    image = build("FROM scratch\nCOPY . /app/\nCOPY main.py /other/\n", files)
    findings = audit(image)
    assert told(findings) == {("/app/.env", "high", "JWT_SECRET"), ("/app/conf/.env.old", "medium", "STRIPE_API_KEY")}
    assert all(f"of image {image}, made by COPY" in finding["message"] for finding in findings)
    digests = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    assert digests[0][7:19] in findings[0]["message"]


def test_variables_and_arguments(build: Callable[..., str], audit: Callable[..., list[dict[str, Any]]]) -> None:
    dockerfile = f"FROM scratch\nARG TOKEN\nENV API_KEYS=$TOKEN\nENV OLD_API_KEY={OLD}\nCOPY a /a\n"
    findings = audit(build(dockerfile, {"a": "1"}, TOKEN=KEY))
    assert told(findings) == {("", "high", "API_KEYS"), ("", "medium", "OLD_API_KEY")}
    assert "(ENV API_KEYS)" in findings[1]["message"] + findings[0]["message"]


def test_a_file_that_a_later_layer_deletes(images: list[str], audit: Callable[..., list[dict[str, Any]]]) -> None:
    image = load([{"app/.env": ENV, "app/x": f"key = {KEY}\n"}, {"app/.wh..env": ""}], ["COPY . .", "RUN rm .env"])
    images.append(image)
    deleted, kept = sorted(audit(image), key=lambda finding: str(finding["file"]))
    assert (deleted["file"], kept["file"]) == ("/app/.env", "/app/x")
    assert "only hides" in deleted["message"] and "only hides" not in kept["message"]


def test_an_image_that_is_clean_and_one_that_is_too_large(
    build: Callable[..., str], audit: Callable[..., list[dict[str, Any]]]
) -> None:
    image = build("FROM scratch\nCOPY . /app/\n", {"main.py": "print(1)\n", "big": "x" * 3_000_000})
    assert audit(image) == []
    (finding,) = audit(image, maximum=2)
    assert (finding["rule"], finding["severity"]) == ("not_searched", "low")
    assert "they take 3 MB, and the limit is 2 MB" in finding["message"]


def load(layers: list[dict[str, str]], steps: list[str]) -> str:
    """An image made here byte by byte: nothing in an image from scratch could delete a file."""
    archives = [archive({name: text.encode() for name, text in layer.items()}) for layer in layers]
    configuration = {
        "architecture": docker("version", "--format", "{{.Server.Arch}}"),
        "os": "linux",
        "config": {"Labels": dict([LABEL.split("=")]), "Cmd": ["/a"]},
        "history": [{"created_by": step} for step in steps],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(a).hexdigest() for a in archives]},
    }
    names = [f"{number}/layer.tar" for number in range(len(archives))]
    tag = f"composeops-hotfix-test:{hashlib.sha256(archives[0]).hexdigest()[:12]}"
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": names}]
    files = {"config.json": json.dumps(configuration).encode(), "manifest.json": json.dumps(manifest).encode()}
    docker("load", data=archive({**dict(zip(names, archives)), **files}))
    return tag


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
