"""Settings of the receiver, read once from the environment: DOCUQUERY_<NAME>."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class ReceiverSettings(BaseSettings):
    """All settings with their defaults; a wrong one stops the start with its name."""

    model_config = SettingsConfigDict(env_prefix="DOCUQUERY_", extra="ignore")

    watch_namespaces: Annotated[list[str], NoDecode] = Field(
        default=[], description="Comma-separated namespaces whose Stacks alerts may name; empty: all"
    )
    receiver_secrets: Path = Field(
        default=Path("/etc/docuquery/receiver"), description="Folder of the mounted Secret: tokens and signing secrets"
    )
    receiver_port: int = Field(default=8080, ge=0, le=65535, description="Port for alerts and answers")
    receiver_host: str = Field(default="0.0.0.0", description="Address of the same")
    http_port: int = Field(default=8081, ge=0, le=65535, description="Port of /livez, /readyz and /metrics")
    http_host: str = Field(default="0.0.0.0", description="Address of the same")
    receiver_parallel: int = Field(default=8, ge=1, le=64, description="Requests that are worked on side by side")
    receiver_waiting: int = Field(default=32, ge=0, le=1024, description="Requests that may wait; more are told 503")
    drain_seconds: float = Field(default=5.0, ge=0, description="Time for requests to end after SIGTERM")
    notify_allow: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="Comma-separated networks; where loopback is among them it may stand in for Slack, as in tests",
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Level of our own logs")
    kubeconfig: str | None = Field(default=None, description="Path of a kubeconfig; default: the pod's service account")

    @field_validator("notify_allow")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ipaddress.ip_network(network, strict=False)
        return value

    @field_validator("watch_namespaces", "notify_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [n.strip() for n in value.split(",") if n.strip()] if isinstance(value, str) else value
