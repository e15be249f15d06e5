"""docs/disaster-recovery.md: each command and object in it is one that the code takes, each message one that the code has."""

from __future__ import annotations

import ast
import json
import re
import shlex
import string
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from docuquery_operator.api.backup_job import BackupJob, BackupJobStatus, Include
from docuquery_operator.api.restore_job import RestoreJob, RestoreJobStatus
from docuquery_operator.mover import offline

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PAGE = (DOCS / "disaster-recovery.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
CARD = next(block for block in BLOCKS if block.startswith("# card.sh"))
MODELS: dict[str, Any] = {"BackupJob": BackupJob, "RestoreJob": RestoreJob}
STATUS: dict[str, Any] = {"bj": BackupJobStatus, "rj": RestoreJobStatus}
# What Kubernetes itself says.
FOREIGN = {"ErrImagePull"}


@cache
def card() -> dict[str, str]:
    """Variables of the card, and those that a person gets on the way."""
    text = f"set -eu; HOME=/home/kim\n{CARD}\nenv -0"
    done = subprocess.run(["bash", "-c", text], env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True, text=True)
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    return {**found, "ME": "kim@example.com", "YOU": "lee@example.com", "DIGEST": "0123456789ab"}


def filled(text: str) -> str:
    """With the card's values."""
    return string.Template(text).substitute(card())


def commands(word: str) -> list[list[str]]:
    """All commands of the page that begin so, as their words; '…' stands for what was said before."""
    found = []
    for block in BLOCKS:
        whole = re.sub(r"<<EOF\n.*?\nEOF", "", block.replace("\\\n", " "), flags=re.DOTALL)
        for line in whole.splitlines():
            for part in re.split(r"\|\|| \| |;|\$\((?=kubectl)", line):
                text = part.strip()
                if text.startswith(f"{word} "):
                    found.append(text)
    return [shlex.split(text.removesuffix(")"), comments=True) for text in found]


def objects() -> dict[str, Any]:
    """Kind to object, with the card's values."""
    made = [yaml.safe_load(filled(text)) for block in BLOCKS for text in re.findall(r"<<EOF\n(.*?)\nEOF", block, re.DOTALL)]
    return {each["kind"]: each for each in made}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n", 1)[0][:40])
def test_each_block_is_bash(block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_each_variable_is_on_the_card_or_was_set_before() -> None:
    known = {"HOME", "PATH"}
    for block in BLOCKS:
        known |= set(re.findall(r"(?:^|[\s;])([A-Z_]+)=", block)) | set(re.findall(r"read -rsp '[^']*' ([A-Z_]+)", block))
        known |= set(re.findall(r"for ([a-z]+) in", block))
        used = set(re.findall(r"\$\{?([A-Za-z_]+)", block))
        assert used <= known, used - known


def test_the_tool_takes_each_of_its_commands() -> None:
    said = [words[1:] for words in commands("docuquery-restore") if "--help" not in words]
    taken = [offline._parser().parse_args([filled(word) for word in words]) for words in said]
    assert [options.command for options in taken] == ["list", "check", "unpack", "unpack"]
    assert all(options.source == "s3://docuquery-backups/production/docuquery" for options in taken)
    assert [options.only for options in taken if options.command == "unpack"] == ["configuration/", ""]


def test_each_object_is_one_that_the_models_take() -> None:
    made = objects()
    assert made.keys() == MODELS.keys()
    for kind, model in MODELS.items():
        model.model_validate(made[kind])
    spec, where = made["BackupJob"]["spec"], card()
    assert spec["suspend"] is True, "the empty stack would be saved"
    assert "retention" not in spec, "sets would be deleted"
    assert (
        f"s3://{spec['destination']['s3']['bucket']}/{spec['destination']['s3']['prefix']}/{where['STACK']}"
        == where["STORE"]
    )


def test_what_a_set_must_hold_is_all_that_the_reference_stack_refers_to() -> None:
    (text,) = re.findall(r"```yaml\n(include:.*?)```", PAGE, re.DOTALL)
    include = Include.model_validate(yaml.safe_load(text)["include"]).configuration
    assert include
    stack = CHECKOUT / "deploy" / "stack"
    workloads = "\n".join(path.read_text() for path in (stack / "base").glob("*.yaml"))
    assert set(re.findall(r"secretKeyRef: {name: ([\w-]+)", workloads)) <= set(include.secrets)
    assert set(re.findall(r"configMap(?:Ref)?: {name: ([\w-]+)", workloads)) == set(include.config_maps)
    local = yaml.safe_load((stack / "components" / "local-secrets" / "kustomization.yaml").read_text())
    assert {each["name"] for each in local["secretGenerator"]} == set(include.secrets)


def test_each_patch_makes_an_object_that_the_models_take() -> None:
    made = objects()
    kinds = {"rj": "RestoreJob", "bj": "BackupJob"}
    patches = [words for words in commands("kubectl") if "patch" in words]
    assert len(patches) == 3
    for words in patches:
        kind = kinds[words[words.index("patch") + 1]]
        change = json.loads(filled(words[words.index("-p") + 1]))["spec"]
        changed = {**made[kind], "spec": made[kind]["spec"] | change}
        assert MODELS[kind].model_validate(changed).spec.model_dump(by_alias=True).keys() >= change.keys()
        made[kind] = changed
    spec = made["RestoreJob"]["spec"]
    assert (spec["mode"], spec["planDigest"], spec["approval"]["planDigest"]) == ("Apply", *[card()["DIGEST"]] * 2)
    assert spec["approval"]["by"] != made["RestoreJob"]["metadata"]["annotations"]["ops.docuquery.ai/created-by"]


def test_each_field_that_is_read_is_there() -> None:
    seen = 0
    for words in commands("kubectl"):
        kind = next((each for each in STATUS for word in words if word == each or word.startswith(f"{each}/")), "")
        for name in re.findall(r"\.status\.(\w+)", " ".join(words)) if kind else []:
            assert name in STATUS[kind].model_json_schema(by_alias=True)["properties"], name
            seen += 1
    assert seen >= 7
    reasons = _strings()
    for condition in re.findall(r"--for=condition=(\w+)", PAGE):
        assert condition in reasons


def test_the_chart_has_each_value_that_is_set() -> None:
    values = yaml.safe_load((CHECKOUT / "charts" / "docuquery-operator" / "values.yaml").read_text())
    ((_, *words),) = commands("helm")
    assert (CHECKOUT / words[2] / "Chart.yaml").is_file()
    named = [words[n + 1].partition("=")[0] for n, word in enumerate(words) if word == "--set"]
    assert named == ["watchNamespaces", "image.repository", "image.tag"]
    for name in named:
        inner = values
        for part in name.split("."):
            inner = inner[part]
    assert f"there are {len(list((CHECKOUT / 'crds').glob('*.yaml')))} kinds" in PAGE


@cache
def _strings() -> str:
    """All text of the operator's code, one string a line; formatted ones by their pieces."""
    found = []
    for path in (CHECKOUT / "operator").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(found)


def test_each_message_of_the_table_is_one_that_the_code_has() -> None:
    table = PAGE.partition("| message or reason |")[2].partition("\n\n")[0]
    said = [word for row in table.splitlines()[2:] for word in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(said) > 25
    code = _strings()
    assert [word for word in said if word not in code and word not in FOREIGN] == []


def test_each_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = target.partition("#")
        text = (DOCS / file).read_text(encoding="utf-8") if file else PAGE
        heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
        assert not anchor or anchor in anchors, target
