"""Go programs built once into the cache, keyed by version and source."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from docuquery_local import locks, toolchain
from docuquery_local.errors import LocalClusterError
from docuquery_local.settings import COREDNS, CRANE, HELM, KUBERNETES, VERSITYGW, Settings
from docuquery_local.shell import run_long, say

SOURCES = Path(__file__).resolve().parent.parent
VERSION = "k8s.io/component-base/version"
MAJOR, MINOR, _ = KUBERNETES.split(".")
STRIP = "-s -w"


@dataclass(frozen=True)
class Build:
    """One program: where its source is (a folder here, or a module), its linker flags, and what to expect."""

    name: str
    version: str
    source: str
    takes: str
    ldflags: str = STRIP

    @property
    def title(self) -> str:
        """What the user reads."""
        return f"{self.name} {self.version}"


KUBE = Build(
    "kube",
    KUBERNETES,
    "./kube",
    "about 5 minutes on 2 cores",
    " ".join(
        [
            STRIP,
            f"-X {VERSION}.gitVersion=v{KUBERNETES}",
            f"-X {VERSION}.gitMajor={MAJOR}",
            f"-X {VERSION}.gitMinor={MINOR}",
            f"-X {VERSION}.gitTreeState=clean",
        ]
    ),
)
BUILDS = {
    "kube": KUBE,
    "coredns": Build("coredns", COREDNS, f"github.com/coredns/coredns@v{COREDNS}", "about 2 minutes"),
    "helm": Build("helm", HELM, f"helm.sh/helm/v3/cmd/helm@v{HELM}", "about 2 minutes"),
    # A real S3 server over a folder, for the tests of backups.
    "versitygw": Build(
        "versitygw", VERSITYGW, f"github.com/versity/versitygw/cmd/versitygw@v{VERSITYGW}", "about 3 minutes"
    ),
    # A registry of images, and what pushes and changes images, for the tests of UpdateImages.
    "crane": Build("crane", CRANE, f"github.com/google/go-containerregistry/cmd/crane@v{CRANE}", "about a minute"),
    "pause": Build("pause", "1", "./pause", "a few seconds", f"{STRIP} -E main.entry"),
}


def tool(settings: Settings, name: str) -> Path:
    """The path of a program, built when it is missing."""
    if name == "kubectl":
        return _kubectl(settings)
    if name == "node":
        name = "kube"
    if name not in BUILDS:
        raise LocalClusterError(f"no tool is named {name!r}: there are kubectl, node, {', '.join(sorted(BUILDS))}")
    return build(settings, BUILDS[name])


def build(settings: Settings, wanted: Build) -> Path:
    """Build one program unless the cache has it."""
    binary = settings.cache / "bin" / f"{wanted.name}-{wanted.version}"
    key = binary.with_name(binary.name + ".key")
    if _is_current(binary, key, wanted):
        return binary
    with locks.held(settings.cache / "build.lock", "a build"):
        if not _is_current(binary, key, wanted):
            _compile(settings, wanted, binary)
            key.write_text(_key(wanted))
    return binary


def _kubectl(settings: Settings) -> Path:
    # The binary looks at the name that it is called by, so a link is all that kubectl needs.
    binary = build(settings, KUBE)
    link = binary.with_name("kubectl")
    if not link.is_symlink() or link.readlink() != Path(binary.name):
        fresh = link.with_name(".kubectl.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(binary.name)
        fresh.replace(link)
    return link


def _compile(settings: Settings, wanted: Build, binary: Path) -> None:
    path = toolchain.search_path(settings)
    (settings.cache / "bin").mkdir(parents=True, exist_ok=True)
    for remains in (settings.cache / "bin").glob(".build-*"):
        shutil.rmtree(remains)  # of a build that was killed; this one holds the lock
    say(f"building {wanted.title} ({wanted.takes}, once)")
    log = settings.cache / "logs" / f"build-{wanted.name}.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache / "bin", prefix=".build-") as directory:
        made = Path(directory) / wanted.name
        environment = {"CGO_ENABLED": "0", "GOBIN": directory, "GOFLAGS": "-buildvcs=false", "PATH": path}
        run_long(_command(wanted, made), what=wanted.title, log=log, env=environment, cwd=_folder(wanted) or Path(directory))
        made.replace(binary)


def _command(wanted: Build, made: Path) -> list[str | Path]:
    flags = ["-trimpath", "-ldflags", wanted.ldflags]
    if _folder(wanted) is not None:
        return ["nice", "go", "build", *flags, "-o", made, "."]
    return ["nice", "go", "install", *flags, wanted.source]


def _folder(wanted: Build) -> Path | None:
    return SOURCES / wanted.source if wanted.source.startswith("./") else None


def _is_current(binary: Path, key: Path, wanted: Build) -> bool:
    return binary.exists() and key.exists() and key.read_text() == _key(wanted)


def _key(wanted: Build) -> str:
    digest = hashlib.sha256(f"{wanted}".encode())
    folder = _folder(wanted)
    for path in sorted(folder.iterdir()) if folder else []:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
