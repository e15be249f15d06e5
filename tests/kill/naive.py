"""A deliberately naive restarter, which the campaign must find out: it acts first and remembers afterwards.

Usage: naive.py NAMESPACE, with the API server in DOCUQUERY_KUBECONFIG. Never a part of the product.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

JSON = dict[str, Any]
MERGE = "application/merge-patch+json"


def main(namespace: str) -> None:
    """Restart the database for every open incident, for ever."""
    server = json.loads(Path(os.environ["DOCUQUERY_KUBECONFIG"]).read_text())["clusters"][0]["cluster"]["server"]
    print('{"message": "leading"}', flush=True)
    while True:
        for incident in call("GET", f"{server}/apis/ops.docuquery.ai/v1alpha1/namespaces/{namespace}/incidents")["items"]:
            if (incident.get("status") or {}).get("phase") != "Resolved":
                heal(server, namespace, incident)
        time.sleep(0.5)


def heal(server: str, namespace: str, incident: JSON) -> None:
    """No intent, no identity: whoever dies in here does it all again."""
    apps = f"{server}/apis/apps/v1/namespaces/{namespace}/statefulsets/postgres"
    pod = f"{server}/api/v1/namespaces/{namespace}/pods/postgres-0"
    stamp = {"ops.docuquery.ai/attempt": f"naive-{time.time_ns()}"}
    call("PATCH", apps, {"spec": {"template": {"metadata": {"annotations": stamp}}}})
    call("DELETE", pod)
    time.sleep(5)
    status = (
        f"{server}/apis/ops.docuquery.ai/v1alpha1/namespaces/{namespace}/incidents/{incident['metadata']['name']}/status"
    )
    report = {"configMap": "none", "updatedAt": "2026-01-01T00:00:00.000Z"}
    call("PATCH", status, {"status": {"phase": "Resolved", "report": report}})


def call(method: str, url: str, body: JSON | None = None) -> JSON:
    """One request."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": MERGE if method == "PATCH" else "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30) as answer:
        found: JSON = json.load(answer)
        return found


if __name__ == "__main__":
    main(sys.argv[1])
