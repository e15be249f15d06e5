"""Temporary changes come back to what was there before, and never over what somebody else has set."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from docuquery_operator.domain.remedies.fields import path_of, value, with_value
from docuquery_operator.domain.remedies.ownership import git_owner, owner_of
from docuquery_operator.domain.remedies.temporary import KEY, Change, active, applied, changes, due, everything, undone

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMIT = {"name": "RATE_LIMIT_REQUESTS", "value": "100"}
FROM_MAP = {"name": "RATE_LIMIT_WINDOW", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "window"}}}


def deployment(**spec: Any) -> dict[str, Any]:
    container = {"name": "api", "image": "api:1", "env": [dict(LIMIT), dict(FROM_MAP)]}
    template = {"spec": {"containers": [container, {"name": "bare"}]}}
    meta = {"name": "api", "resourceVersion": "7", "labels": {"app": "api"}, "annotations": {"note": "kept"}}
    return {"metadata": meta, "spec": {"replicas": 2, "template": template, **spec}}


def merged(obj: Any, patch: Any) -> Any:
    """RFC 7386, written anew: the module under test must not check itself."""
    if not isinstance(patch, dict):
        return patch
    out = dict(obj) if isinstance(obj, dict) else {}
    for key, inner in patch.items():
        if inner is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), inner)
    return out


def change(field: str = "replicas", ours: Any = 4, id_: str = "a1", until: datetime = NOW + HOUR) -> Change:
    return Change(id_, "QueueFlood", until, field, None, ours)


def made(obj: dict[str, Any], *wanted: Change) -> dict[str, Any]:
    for one in wanted:
        former = Change(one.id, one.cause, one.until, one.field, value(obj, one.field), one.ours)
        obj = merged(obj, applied(obj, former, "docuquery"))
    return obj


FIELDS = [
    ("replicas", 4),
    ("minReplicas", 4),
    ("annotation/note", "other"),
    ("annotation/new", "here"),
    ("env/api/RATE_LIMIT_REQUESTS", {"name": "RATE_LIMIT_REQUESTS", "value": "400"}),
    ("env/api/RATE_LIMIT_WINDOW", {"name": "RATE_LIMIT_WINDOW", "value": "30"}),
    ("env/bare/NEW", {"name": "NEW", "value": "1"}),
]


@pytest.mark.parametrize(("field", "ours"), FIELDS, ids=[f[0] for f in FIELDS])
def test_comes_back_exactly(field: str, ours: Any) -> None:
    before = deployment()
    kept = copy.deepcopy(before)
    after = made(before, change(field, ours))
    assert before == kept, "the object that was read must not be changed"
    assert value(after, field) == ours
    assert after["metadata"]["labels"][KEY] == "docuquery"
    assert due(after, NOW + HOUR - timedelta(seconds=1)) is None
    over = due(after, NOW + HOUR)
    assert over is not None
    back = merged(after, over.patch)
    if field == "env/bare/NEW":
        assert back["spec"]["template"]["spec"]["containers"][1].pop("env") == []
    assert back == before
    assert [c.field for c in over.put_back] == [field]


def test_what_somebody_has_taken_over_stays() -> None:
    after = made(deployment(), change())
    after["spec"]["replicas"] = 5
    over = due(after, NOW + HOUR)
    assert over is not None
    assert (over.put_back, [c.field for c in over.kept]) == ((), ["replicas"])
    back = merged(after, over.patch)
    assert back["spec"]["replicas"] == 5
    assert KEY not in back["metadata"]["annotations"]
    assert KEY not in back["metadata"]["labels"]


def test_a_second_change_keeps_the_first_former_value() -> None:
    once = made(deployment(), change())
    twice = made(once, change(ours=6, id_="a2", until=NOW + 2 * HOUR))
    assert [c.id for c in changes(twice)] == ["a2"]
    assert due(twice, NOW + HOUR) is None
    over = due(twice, NOW + 2 * HOUR)
    assert over is not None
    assert merged(twice, over.patch)["spec"]["replicas"] == 2


def test_each_change_has_its_own_end() -> None:
    both = made(deployment(), change(), change("env/api/RATE_LIMIT_REQUESTS", {"name": "X"}, "a2", NOW + 2 * HOUR))
    over = due(both, NOW + HOUR)
    assert over is not None
    left = merged(both, over.patch)
    assert left["spec"]["replicas"] == 2
    assert [c.id for c in changes(left)] == ["a2"]
    assert left["metadata"]["labels"][KEY] == "docuquery"
    ended = undone(both, "a2")
    assert ended is not None
    assert [c.id for c in changes(merged(both, ended.patch))] == ["a1"]
    gone = everything(both)
    assert gone is not None
    assert merged(both, gone.patch)["spec"]["replicas"] == 2


def test_active_only_while_the_field_is_ours() -> None:
    after = made(deployment(), change())
    assert active(after, "replicas") is not None
    assert active(after, "minReplicas") is None
    after["spec"]["replicas"] = 3
    assert active(after, "replicas") is None


def test_the_write_is_bound_to_the_version_that_was_read() -> None:
    assert applied(deployment(), change(), "docuquery")["metadata"]["resourceVersion"] == "7"


@pytest.mark.parametrize("text", ["[1]", "{", '[{"id": "a"}]', '[{"until": "x"}]'])
def test_a_spoilt_record_is_an_error_and_no_guess(text: str) -> None:
    obj = deployment()
    obj["metadata"]["annotations"][KEY] = text
    with pytest.raises(ValueError):
        due(obj, NOW)


@pytest.mark.parametrize("field", ["", "image", "env", "env/api", "env/api/", "annotation/", "replicas/x", "spec"])
def test_a_field_that_does_not_exist_is_an_error(field: str) -> None:
    with pytest.raises(ValueError):
        value(deployment(), field)
    with pytest.raises(ValueError):
        with_value(deployment(), field, 1)


def test_no_container_no_change() -> None:
    with pytest.raises(ValueError, match="no container"):
        with_value(deployment(), "env/none/X", {"name": "X"})


def managed(manager: str, *fields: str) -> list[dict[str, Any]]:
    tree: dict[str, Any] = {}
    for field in fields:
        place = tree
        for key in path_of(field):
            place = place.setdefault(key, {})
    return [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:replicas": {}}}}, {"manager": manager, "fieldsV1": tree}]


TRACKED = {"argocd.argoproj.io/tracking-id": "docuquery:apps/Deployment:ns/api"}
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ENV = "env/api/RATE_LIMIT_REQUESTS"
OWNED: list[tuple[str, dict[str, Any], str, bool]] = [
    ("nobody", {}, "replicas", False),
    ("a person with kubectl", {"managedFields": managed("kubectl", "replicas")}, "replicas", False),
    ("helm alone reverts nothing", {"managedFields": managed("helm", "replicas")}, "replicas", False),
    ("argo owns it", {"annotations": TRACKED, "managedFields": managed("argocd-controller", "replicas")}, "replicas", True),
    ("argo, not this field", {"annotations": TRACKED, "managedFields": managed("argocd-controller", ENV)}, "replicas", False),
    ("argo, this variable", {"annotations": TRACKED, "managedFields": managed("argocd-controller", ENV)}, ENV, True),
    ("argo, nothing known", {"annotations": TRACKED}, "replicas", True),
    ("argo, last applied", {"annotations": {**TRACKED, APPLIED: '{"spec": {"replicas": 2}}'}}, "replicas", True),
    ("argo, not in last applied", {"annotations": {**TRACKED, APPLIED: '{"spec": {}}'}}, "replicas", False),
    ("argo, last applied spoilt", {"annotations": {**TRACKED, APPLIED: "{"}}, "replicas", True),
    ("flux", {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "replicas", True),
    ("flux helm", {"labels": {"helm.toolkit.fluxcd.io/name": "apps"}}, "replicas", True),
    ("a manager alone", {"managedFields": managed("kustomize-controller", "replicas")}, "replicas", True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "meta", "field", "owned"), OWNED, ids=[o[0] for o in OWNED])
def test_whether_git_owns_a_field(name: str, meta: dict[str, Any], field: str, owned: bool) -> None:
    obj = {"metadata": {"name": "api", **meta}, "spec": {}}
    assert bool(owner_of(obj, field)) is owned
    if owned:
        assert git_owner(obj) in owner_of(obj, field)
