"""Jobs that move data: what they may use, whose credentials they get, and what is shown of one that is at work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .common import ApiModel, ObjectName, Quantity, SecretRef, Time

ALARMS_KEPT = 8


class MoverResources(ApiModel):
    """What the pod of a Job may use."""

    cpu: Annotated[Quantity, Field(description="Processor that is asked for, default 100m; there is no limit")] = "100m"
    memory: Annotated[Quantity, Field(description="Memory of a pod that saves or reads a store, default 256Mi")] = "256Mi"
    drill_memory: Annotated[
        Quantity, Field(description="Memory of a pod that runs servers of its own to prove a set, default 1Gi")
    ] = "1Gi"
    scratch: Annotated[
        Quantity | None,
        Field(description="Disk of the pod; default 2Gi, and for servers of its own 1.5 times what the set holds and 2Gi"),
    ] = None


class Mover(ApiModel):
    """The pods of the Jobs."""

    resources: Annotated[MoverResources, Field(description="What they may use")] = MoverResources()
    service_account_name: Annotated[
        ObjectName | None,
        Field(
            description="ServiceAccount of the namespace: for a store that knows pods by it, or to restore configuration; "
            "its token is mounted only for the latter. Default: the namespace's default, without its token"
        ),
    ] = None


class ServerCredentials(ApiModel):
    """Secrets for the servers, where they are not those of the Stack's components."""

    postgres: Annotated[SecretRef | None, Field(description="Secret with username and password")] = None
    qdrant: Annotated[SecretRef | None, Field(description="Secret with api-key")] = None


class Work(ApiModel):
    """A Job that is at work or about to be; written before the Job is made."""

    kind: Annotated[
        Literal["Backup", "Verify", "Catalogue", "Delete", "Plan", "Apply", "Rollback", "DropPrevious", "Scratch"],
        Field(description="What it does"),
    ]
    attempt_id: Annotated[str, Field(max_length=40, description="Identity of the Job, on its label")]
    set_id: Annotated[str | None, Field(max_length=40, description="The set that it makes or reads")] = None
    started_at: Annotated[Time, Field(description="When it was decided")]
    seen: Annotated[bool, Field(description="The Job was seen; where it is not there now, somebody has deleted it")] = False
    progress: Annotated[
        str, Field(max_length=128, description="Step and share of the bytes, in coarse steps, such as postgres/app 45%")
    ] = ""
    bytes: Annotated[int, Field(ge=0, description="Bytes of that step so far, in coarse steps")] = 0
    message: Annotated[str, Field(max_length=512, description="Why it does not get on, where it does not")] = ""


class Alarm(ApiModel):
    """An Incident that this object has opened or is about to."""

    name: Annotated[str, Field(max_length=253, description="Name of the Incident")]
    type: Annotated[Literal["BackupFailure", "VerificationFailure"], Field(description="Its type")]
    text: Annotated[str, Field(max_length=512, description="Its description")] = ""
    opened: Annotated[bool, Field(description="It exists or did; it is not opened again")] = False


class Removal(ApiModel):
    """A run whose set retention removes."""

    id: Annotated[str, Field(max_length=128, description="The run")]
    reason: Annotated[str, Field(max_length=256, description="Why")]


class CatalogueView(ApiModel):
    """What the store said when it was last read."""

    read_at: Annotated[Time | None, Field(description="When; absent: it could not be read yet")] = None
    due_again: Annotated[bool, Field(description="Something has changed since")] = False
    tries: Annotated[int, Field(ge=0, description="Failed readings since then")] = 0
    retry_at: Annotated[Time | None, Field(description="When it is tried again")] = None
    message: Annotated[str, Field(max_length=512, description="Why it could not be read, or why retention stands still")] = (
        ""
    )
    dry_run: Annotated[bool, Field(description="True: what is named in `removals` would go; False: it has gone")] = True
    kept: Annotated[int, Field(ge=0, description="Sets that retention keeps")] = 0
    removals: Annotated[list[Removal], Field(max_length=20, description="First of the sets that it removes")] = []
    warnings: Annotated[
        list[Annotated[str, Field(max_length=256)]], Field(max_length=8, description="What a person should look at")
    ] = []
