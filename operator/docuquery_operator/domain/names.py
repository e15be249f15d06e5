"""Names that Kubernetes can hold."""

from __future__ import annotations

import hashlib

LABEL_LIMIT = 63
# Which object of ours another one was made for: `<plural>/<name>`.
OWNER_ANNOTATION = "ops.docuquery.ai/owner"
# Labels of an Incident: its Stack, and who has opened it.
STACK_LABEL = "ops.docuquery.ai/stack"
OPENED_BY_LABEL = "ops.docuquery.ai/opened-by"
# On the leader Lease: when its holder has looked at a Stack last.
LOOKED_ANNOTATION = "ops.docuquery.ai/stacks-looked-at"


def label_of(stack: str) -> str:
    """The Stack's name where a label can hold it, else its beginning and a digest: names may be 253 long, labels 63."""
    if len(stack) <= LABEL_LIMIT:
        return stack
    return f"{stack[:48].rstrip('-.')}-{hashlib.sha256(stack.encode()).hexdigest()[:12]}"
