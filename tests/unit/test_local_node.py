"""The pure parts of the local node: identities, sizes, names, address ranges and image sources."""

import dataclasses
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))

from docuquery_local import buildah, images, network, ownership, processes, programs, provisioner, settings, volumes
from docuquery_local.errors import LocalClusterError

UID = "0bb6a5ee-7cfd-4845-9fc7-e2c89515bd79"


def test_a_command_name_with_brackets_does_not_confuse_the_start_time() -> None:
    stat = "7 (a) b (c)) S 1 " + " ".join(str(n) for n in range(5, 23)) + " more"
    assert processes.parse_stat(stat) == ("S", 22)


def test_this_process_is_itself_and_a_recycled_pid_is_not() -> None:
    mine = processes.Identity.of(os.getpid())
    assert mine is not None
    assert mine.alive()
    assert not dataclasses.replace(mine, start=mine.start - 1).alive()
    assert not dataclasses.replace(mine, boot="another boot").alive()


def test_stop_leaves_a_process_alone_that_has_only_the_same_pid() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        identity = processes.Identity.of(sleeper.pid)
        assert identity is not None
        processes.stop(dataclasses.replace(identity, start=identity.start + 1), 0.1)
        assert sleeper.poll() is None
        processes.stop(identity, 5.0)
        assert sleeper.wait() == -15


def test_an_identity_survives_a_file_and_a_broken_file_is_none(tmp_path: Path) -> None:
    identity = processes.Identity(1, 2, "boot")
    path = tmp_path / "node.json"
    processes.save(path, identity)
    assert processes.load(path) == identity
    path.write_text('{"pid": 1')
    assert processes.load(path) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("64Mi", 64 * 2**20), ("1Gi", 2**30), ("1.5Gi", 3 * 2**29), ("500M", 500 * 10**6), ("1024", 1024)],
)
def test_sizes(text: str, size: int) -> None:
    assert volumes.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1Gi", "1GiB", "ten", "1mi", "4Ki", "2000Ti"])
def test_sizes_that_cannot_be_served_are_refused(text: str) -> None:
    with pytest.raises(LocalClusterError):
        volumes.check_size(text)


@pytest.mark.parametrize("name", ["../../etc", "pvc-1", f"pvc-{UID}/..", f"pvc-{UID}\n", ""])
def test_only_names_of_its_own_form_become_paths(name: str) -> None:
    with pytest.raises(LocalClusterError):
        volumes.image_path(settings.load({}), name)


def test_a_volume_is_bound_to_its_claim_and_its_node() -> None:
    claim = {
        "metadata": {"name": "data", "namespace": "shop", "uid": UID},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local-loop",
            "resources": {"requests": {"storage": "64Mi"}},
        },
    }
    volume = provisioner.persistent_volume(claim, Path("/v"), "node-1")
    assert volume["metadata"]["name"] == f"pvc-{UID}"
    assert volume["spec"]["claimRef"]["uid"] == UID
    assert volume["spec"]["capacity"] == {"storage": "64Mi"}
    assert "node-1" in str(volume["spec"]["nodeAffinity"])


def test_ranges_that_the_host_uses_are_found_but_not_ones_own() -> None:
    routes: list[dict[str, object]] = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.0.0.0/8", "dev": "vpn"},
        {"dst": "10.61.0.0/16", "dev": "dq61-host"},
    ]
    assert network.overlap("10.61.0.0/16", routes, "dq61-host") == "10.0.0.0/8 dev vpn"
    assert network.overlap("10.61.0.0/16", [routes[0], routes[2]], "dq61-host") is None
    assert network.overlap("192.168.0.0/24", routes, "dq61-host") is None


def test_a_second_cluster_shares_no_name_place_or_range() -> None:
    first = settings.load({})
    second = settings.load({"DOCUQUERY_NODE": "other", "DOCUQUERY_NET": "71"})
    for name in ("node", "state", "kubeconfig", "pods", "services", "link", "host_link"):
        assert getattr(first, name) != getattr(second, name), name


def test_one_registry_is_asked_without_tls_and_no_other(tmp_path: Path) -> None:
    here = settings.load({"DOCUQUERY_STATE": str(tmp_path / "state"), "DOCUQUERY_CACHE": str(tmp_path / "cache")})
    programs.write_configs(here)
    place = here.config / "certs.d"
    containerd = tomllib.loads((here.config / "containerd.toml").read_text())
    assert containerd["plugins"]["io.containerd.grpc.v1.cri"]["registry"] == {"config_path": str(place)}
    assert [p.name for p in place.iterdir()] == ["10.63.0.1:5050"]
    plain = "http://10.63.0.1:5050"
    hosts = tomllib.loads((place / "10.63.0.1:5050" / "hosts.toml").read_text())
    assert hosts == {"server": plain, "host": {plain: {"capabilities": ["pull", "resolve"]}}}


@pytest.mark.parametrize(
    "environ",
    [{"DOCUQUERY_NODE": "A b"}, {"DOCUQUERY_NET": "256"}, {"DOCUQUERY_NET": "x"}, {"DOCUQUERY_STATE": "/" + "x" * 99}],
)
def test_bad_settings_are_refused_by_name(environ: dict[str, str]) -> None:
    with pytest.raises(LocalClusterError, match=next(iter(environ))):
        settings.load(environ)


def test_a_foreign_directory_is_neither_claimed_nor_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    foreign = dataclasses.replace(settings.load({}), state=tmp_path)
    for step in (ownership.claim, ownership.remove_state):
        with pytest.raises(LocalClusterError, match="DOCUQUERY_STATE"):
            step(foreign)
    assert (tmp_path / "thesis.txt").exists()


def test_a_cluster_is_not_handled_under_another_range(tmp_path: Path) -> None:
    first = dataclasses.replace(settings.load({}), state=tmp_path / "state")
    ownership.claim(first)
    ownership.check(first)
    with pytest.raises(LocalClusterError, match="DOCUQUERY_NET=61"):
        ownership.check(dataclasses.replace(first, net=71))


def test_copy_sources_leaves_out_other_stages_and_flags() -> None:
    text = 'FROM a\nCOPY --chown=1:1 one two /x/\nCOPY --from=build /v /v\nADD ["a b", "/c"]\nCOPY three \\\n  four /y\n'
    assert images.copy_sources(text) == ["one", "two", "a b", "three", "four"]


def test_an_image_hash_changes_with_what_it_copies_and_nothing_else(tmp_path: Path) -> None:
    image = images.Image("x:dev", "Dockerfile", ".")
    (tmp_path / "Dockerfile").write_text("FROM debian\nCOPY src /src\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    first = images.content_hash(tmp_path, image, "base")
    (tmp_path / "README.md").write_text("words")
    assert images.content_hash(tmp_path, image, "base") == first
    (tmp_path / "src" / "a.py").write_text("2")
    assert images.content_hash(tmp_path, image, "base") != first
    assert images.content_hash(tmp_path, image, "newer base") != images.content_hash(tmp_path, image, "base")


INDEX = "bookworm http://mirror.test/debian/\nbookworm-security http://mirror.test/security/\nnodistro http://other.test/\n"


@pytest.mark.parametrize(
    ("listed", "environ", "found"),
    [
        (INDEX, {}, ("http://mirror.test/debian/", "http://mirror.test/security/")),
        (INDEX.replace("bookworm", "stable"), {}, ("http://mirror.test/debian/", "http://mirror.test/security/")),
        ("bookworm http://mirror.test/debian/\n", {}, ("http://mirror.test/debian/", "")),
        ("", {"DOCUQUERY_DEBIAN_MIRROR": "http://own.test"}, ("http://own.test", "")),
    ],
)
def test_the_base_image_comes_from_the_mirror_of_this_machine(
    listed: str, environ: dict[str, str], found: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _apt_says(listed, environ, monkeypatch)
    assert buildah.mirrors() == found


def test_without_a_mirror_the_message_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    _apt_says("nodistro http://other.test/\n", {}, monkeypatch)
    with pytest.raises(LocalClusterError, match="set DOCUQUERY_DEBIAN_MIRROR"):
        buildah.mirrors()


def _apt_says(listed: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buildah, "run", lambda *_, **__: listed)
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"VERSION_CODENAME": "bookworm"})
    for name in ("DOCUQUERY_DEBIAN_MIRROR", "DOCUQUERY_DEBIAN_SECURITY_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
