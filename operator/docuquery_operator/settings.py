"""Settings, read once from the environment: DOCUQUERY_<NAME>."""

from __future__ import annotations

import ipaddress
import socket
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """All settings with their defaults; a wrong one stops the start with its name."""

    model_config = SettingsConfigDict(env_prefix="DOCUQUERY_", extra="ignore")

    watch_namespaces: Annotated[list[str], NoDecode] = Field(
        default=[], description="Comma-separated namespaces to watch; empty: all"
    )
    namespace: str = Field(default="default", description="Namespace of the operator itself: its leader Lease lives there")
    instance: str = Field(default_factory=socket.gethostname, description="Identity of this replica")
    address: str = Field(default="", description="Address of this replica's pod: whoever is blocked, it never is")
    image: str = Field(default="", description="Image of the operator itself, from which the Jobs of backups run")
    lease_name: str = Field(default="docuquery-operator", description="Name of the leader Lease")
    lease_seconds: float = Field(default=15.0, gt=0, description="Lease duration: a dead leader is replaced after it")
    renew_seconds: float = Field(default=10.0, gt=0, description="Without a renewal for so long the leader stops acting")
    retry_seconds: float = Field(default=2.0, gt=0, description="Time between two tries to take or renew the Lease")
    workers: int = Field(default=8, ge=1, le=64, description="Passes that may run side by side")
    resync_seconds: float = Field(default=600.0, gt=0, description="Time between two resyncs")
    drain_seconds: float = Field(default=25.0, gt=0, description="Time for running passes to end after SIGTERM")
    http_port: int = Field(default=8080, ge=0, le=65535, description="Port of /livez, /readyz and /metrics")
    http_host: str = Field(default="0.0.0.0", description="Address of the same")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Level of our own logs")
    notify_allow: Annotated[list[str], NoDecode] = Field(
        default=[], description="Comma-separated networks that messages may go to although they are refused by themselves"
    )
    plain_registries: Annotated[list[str], NoDecode] = Field(
        default=[], description="Comma-separated registries of images, host or host:port, that speak HTTP without TLS"
    )
    kubeconfig: str | None = Field(default=None, description="Path of a kubeconfig; default: the pod's service account")

    @field_validator("renew_seconds", "retry_seconds")
    @classmethod
    def _in_order(cls, value: float, info: ValidationInfo) -> float:
        """A leader that stops acting later than it is replaced would be a second one."""
        name = "lease_seconds" if info.field_name == "renew_seconds" else "renew_seconds"
        longer = info.data.get(name)
        if longer is not None and value >= longer:
            raise ValueError(f"must be less than DOCUQUERY_{name.upper()}, which is {longer:g}; it is {value:g}")
        return value

    @field_validator("notify_allow")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ipaddress.ip_network(network, strict=False)
        return value

    @field_validator("watch_namespaces", "notify_allow", "plain_registries", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [n.strip() for n in value.split(",") if n.strip()] if isinstance(value, str) else value
