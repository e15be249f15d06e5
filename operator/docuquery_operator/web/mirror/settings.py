"""Settings of the mirror: those of the page, and where its copies go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..page.settings import PageSettings

PART = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]


class MirrorSettings(PageSettings):
    """Also DOCUQUERY_PAGE_<NAME>. Credentials of the store come from the variables that its kind knows, such as AWS_*."""

    export_url: str = Field(default="", description="Where files go: s3://bucket/prefix, gs://…, az://… or file:///folder")
    export_options: dict[str, str] = Field(default={}, description="Further options of the store, as JSON, such as endpoint")
    export_seconds: float = Field(default=300.0, ge=60, description="A copy is at most so old while nothing changes")
    statuspage_page: str = Field(
        default="", pattern=r"^[A-Za-z0-9_-]{0,64}$", description="Id of the page at Statuspage.io; empty: none"
    )
    statuspage_key_file: Path | None = Field(default=None, description="File with the API key")
    statuspage_api: str = Field(default="https://api.statuspage.io", pattern=r"^https?://[^\s]+$", description="Its API")
    statuspage_components: dict[str, PART] = Field(
        default={}, description='Components there by our ids, as JSON, such as {"database": "8kbf7d35c070"}'
    )
    statuspage_notify: bool = Field(default=True, description="Let Statuspage.io tell its subscribers of incidents")
