"""Settings of the status page, read once from the environment: DOCUQUERY_PAGE_<NAME>."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PageSettings(BaseSettings):
    """All settings with their defaults; a wrong one stops the start with its name."""

    model_config = SettingsConfigDict(env_prefix="DOCUQUERY_PAGE_", extra="ignore")

    namespace: str = Field(min_length=1, description="Namespace whose Stacks, Incidents and MaintenanceWindows are shown")
    stack: str = Field(default="", description="Show only this Stack; empty: all of the namespace")
    title: str = Field(default="Service status", min_length=1, max_length=100, description="Title of the page")
    url: str = Field(default="", pattern=r"^(https?://[^\s]+)?$", description="Public address, for absolute links in feeds")
    lease_namespace: str = Field(default="default", description="Namespace of the operator's Lease")
    lease_name: str = Field(default="docuquery-operator", description="Name of the operator's Lease")
    stale_seconds: float = Field(default=120.0, ge=30, le=86400, description="Data that are older are called so")
    http_port: int = Field(default=8080, ge=0, le=65535, description="Port of the page")
    http_host: str = Field(default="0.0.0.0", description="Address of the same")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Level of our own logs")
    kubeconfig: str | None = Field(default=None, description="Path of a kubeconfig; default: the pod's service account")
