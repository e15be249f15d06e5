"""Cuts the operations that DocuQuery uses out of Qdrant's OpenAPI document: `python cut.py FULL.json > used.json`."""

import json
import pathlib
import sys
from typing import Any

USED = {
    "/": ["get"],
    "/readyz": ["get"],
    "/cluster": ["get"],
    "/collections": ["get"],
    "/collections/{collection_name}": ["get", "put", "patch", "delete"],
    "/collections/{collection_name}/exists": ["get"],
    "/collections/{collection_name}/index": ["put"],
    "/collections/{collection_name}/cluster": ["get"],
    "/collections/{collection_name}/optimizations": ["get"],
    "/collections/{collection_name}/aliases": ["get"],
    "/collections/{collection_name}/snapshots": ["get", "post"],
    "/collections/{collection_name}/snapshots/recover": ["put"],
    "/collections/{collection_name}/snapshots/{snapshot_name}": ["get", "delete"],
    "/collections/{collection_name}/snapshots/upload": ["post"],
    "/collections/{collection_name}/shards/{shard_id}/snapshots": ["get", "post"],
    "/collections/{collection_name}/shards/{shard_id}/snapshots/recover": ["put"],
    "/collections/{collection_name}/shards/{shard_id}/snapshots/upload": ["post"],
    "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}": ["get", "delete"],
    "/collections/{collection_name}/points": ["put", "post"],
    "/collections/{collection_name}/points/{id}": ["get"],
    "/collections/{collection_name}/points/count": ["post"],
    "/collections/{collection_name}/points/delete": ["post"],
    "/collections/{collection_name}/points/query": ["post"],
    "/collections/{collection_name}/points/scroll": ["post"],
    "/collections/aliases": ["post"],
    "/aliases": ["get"],
    "/snapshots": ["get", "post"],
}
_PROSE = {"description", "example", "examples", "summary", "externalDocs", "title", "tags", "operationId", "deprecated"}


def bare(node: Any, names: bool = False) -> Any:
    """Drop the prose; under `names` the keys are names of properties, not words of the format."""
    if isinstance(node, list):
        return [bare(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if names or key not in _PROSE}
    return {key: bare(value, key in {"properties", "schemas"}) for key, value in kept.items()}


def references(node: Any) -> set[str]:
    """Every schema that `node` names."""
    if isinstance(node, list):
        return set().union(*map(references, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    found = set().union(*map(references, node.values())) if node else set()
    return found | ({node["$ref"].rsplit("/", 1)[1]} if isinstance(node.get("$ref"), str) else set())


def cut(full: dict[str, Any]) -> dict[str, Any]:
    """The used operations and every schema that they lead to."""
    paths = {path: {method: bare(full["paths"][path][method]) for method in methods} for path, methods in USED.items()}
    for operation in (each for item in paths.values() for each in item.values()):
        operation["responses"] = {code: answer for code, answer in operation["responses"].items() if code == "200"}
    wanted = references(paths)
    schemas: dict[str, Any] = {}
    while missing := wanted - schemas.keys():
        schemas |= {name: bare(full["components"]["schemas"][name]) for name in missing}
        wanted |= references([schemas[name] for name in missing])
    return {
        "openapi": full["openapi"],
        "info": {"title": "Qdrant API, cut"},
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def lines(document: dict[str, Any]) -> str:
    """JSON with one path or schema a line, so that a change of one shows as one."""
    paths, schemas = document["paths"], document["components"]["schemas"]
    sections = [
        ",\n".join(f"{json.dumps(name)}:{json.dumps(each, separators=(',', ':'))}" for name, each in part.items())
        for part in (paths, schemas)
    ]
    head = f'"openapi":{json.dumps(document["openapi"])},"info":{json.dumps(document["info"])}'
    return f'{{{head},"paths":{{\n{sections[0]}}},"components":{{"schemas":{{\n{sections[1]}}}}}}}'


if __name__ == "__main__":
    print(lines(cut(json.loads(pathlib.Path(sys.argv[1]).read_text()))))
