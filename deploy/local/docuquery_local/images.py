"""The project's images: built when their sources changed, kept as archives, loaded into the cluster."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docuquery_local import apt, node, node_images, preflight
from docuquery_local.buildah import Buildah
from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import CHECKOUT, Settings
from docuquery_local.shell import run_long, say

IGNORED = {"__pycache__", ".git", ".venv"}


@dataclass(frozen=True)
class Image:
    """One image of the project: its name, and its Dockerfile and context from the root of the checkout."""

    name: str
    dockerfile: str
    context: str

    @property
    def reference(self) -> str:
        """The full name, as the kubelet asks containerd for it."""
        return f"docker.io/{self.name}" if "/" in self.name else f"docker.io/library/{self.name}"


IMAGES = (
    Image("docuquery-operator:dev", "Dockerfile", "."),
    Image("docuquery-app:dev", "deploy/stack/app/Dockerfile", "deploy/stack/app"),
    Image("docuquery-local/postgres:17", "deploy/local/images/postgres/Dockerfile", "deploy/local/images/postgres"),
    Image("docuquery-local/redis:8", "deploy/local/images/redis/Dockerfile", "deploy/local/images/redis"),
    Image("docuquery-local/qdrant-double:dev", "tests/doubles/qdrant/Dockerfile", "tests/doubles/qdrant"),
)


def build_and_load(settings: Settings, names: Sequence[str], in_kind: bool) -> None:
    """Build the images asked for (all without a name) and load them into the running cluster."""
    wanted = [image for image in select(names) if _has_dockerfile(image)]
    if in_kind:
        for image in wanted:
            _build_in_docker(settings, image)
        return
    preflight.require_root()
    apt.ensure(settings, apt.IMAGES)
    preflight.check_disk(settings.cache)
    builder = Buildah(settings)
    builder.clear_remains()
    base = builder.ensure_base()
    running = node.is_running(settings)
    for image in wanted:
        archive = _archive(settings, builder, base, image)
        if running:
            _load_once(settings, image, archive)
    if not running:
        say("the cluster is not running: the images are built, run `up` and then `images` to load them")


def archived(settings: Settings, name: str, in_kind: bool) -> Path:
    """The path of the archive of one image, in the form of `docker save`."""
    (image,) = select([name])
    if in_kind:
        _build_in_docker(settings, image)
        target = settings.cache / "images" / f"{re.sub(r'[/:]', '-', image.name)}-docker.tar"
        target.parent.mkdir(parents=True, exist_ok=True)
        run_long(["docker", "save", "--output", str(target), image.name], what=image.name, log=_docker_log(settings))
        return target
    preflight.require_root()
    apt.ensure(settings, apt.IMAGES)
    builder = Buildah(settings)
    return _archive(settings, builder, builder.ensure_base(), image)


def select(names: Sequence[str]) -> list[Image]:
    """The images with these names; the tag may be left out."""
    known = {key: image for image in IMAGES for key in (image.name, image.name.rpartition(":")[0])}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LocalClusterError(f"no image is named {unknown[0]!r}: there are {', '.join(i.name for i in IMAGES)}")
    return [known[name] for name in names] if names else list(IMAGES)


def content_hash(root: Path, image: Image, base: str) -> str:
    """A digest of all that goes into an image: its base, its Dockerfile and the files that this copies."""
    dockerfile, context = root / image.dockerfile, root / image.context
    digest = hashlib.sha256(base.encode())
    digest.update(dockerfile.read_bytes())
    for path in sorted(_copied_files(dockerfile.read_text(), context)):
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        digest.update(f"{path.relative_to(context)}{mode}".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def copy_sources(dockerfile: str) -> list[str]:
    """What the COPY and ADD lines take from the context; copies from another stage are not from there."""
    text = re.sub(r"\\\s*\n", " ", dockerfile)
    found: list[str] = []
    for match in re.finditer(r"^\s*(?:COPY|ADD)\s+(.*)$", text, re.MULTILINE | re.IGNORECASE):
        flags, arguments = _split_flags(match[1].strip())
        if not any(flag.startswith("--from") for flag in flags):
            found.extend(arguments[:-1])
    return found


def _split_flags(line: str) -> tuple[list[str], list[str]]:
    words = line.split()
    flags = [word for word in words if word.startswith("--")]
    rest = line[line.index("[") :] if "[" in line else ""
    return flags, json.loads(rest) if rest else [word for word in words if not word.startswith("--")]


def _copied_files(dockerfile: str, context: Path) -> Iterator[Path]:
    for source in copy_sources(dockerfile):
        relative = source.strip("/")
        tops = [context] if relative in ("", ".") else context.glob(relative)
        for top in tops:
            yield from (path for path in ([top] if top.is_file() else top.rglob("*")) if _counts(path, context))


def _counts(path: Path, context: Path) -> bool:
    return path.is_file() and not IGNORED.intersection(path.relative_to(context).parts)


def _has_dockerfile(image: Image) -> bool:
    present = (CHECKOUT / image.dockerfile).exists()
    if not present:
        say(f"{image.name}: skipped, there is no {image.dockerfile}")
    return present


def _archive(settings: Settings, builder: Buildah, base: str, image: Image) -> Path:
    """The archive of an image, from the cache where nothing changed."""
    stem = re.sub(r"[/:]", "-", image.name)
    folder = settings.cache / "images"
    target = folder / f"{stem}-{content_hash(CHECKOUT, image, base)}.tar"
    if target.exists():
        say(f"{image.name}: unchanged")
        return target
    say(f"{image.name}: building")
    builder.build(image.reference, CHECKOUT / image.dockerfile, CHECKOUT / image.context)
    builder.export(image.reference, target)
    for old in folder.glob(f"{stem}-*.tar"):
        if old != target:
            old.unlink()
    return target


def _load_once(settings: Settings, image: Image, archive: Path) -> None:
    mark = settings.state / "images" / archive.stem
    if mark.exists():
        return
    node_images.load(settings, archive)
    mark.parent.mkdir(exist_ok=True)
    for old in mark.parent.glob(f"{archive.stem.rpartition('-')[0]}-*"):
        old.unlink()
    mark.touch()
    say(f"{image.name}: loaded")


def _docker_log(settings: Settings) -> Path:
    return settings.cache / "logs" / "docker-build.log"


def _build_in_docker(settings: Settings, image: Image) -> None:
    log = _docker_log(settings)
    dockerfile, context = str(CHECKOUT / image.dockerfile), str(CHECKOUT / image.context)
    run_long(["docker", "build", "--quiet", "--tag", image.name, "--file", dockerfile, context], what=image.name, log=log)
    load = ["kind", "load", "docker-image", "--name", settings.node, image.name]
    run_long(load, what=f"loading {image.name}", log=log)
    say(f"{image.name}: built and loaded")
