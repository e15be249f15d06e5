"""The post-incident review: what people write of it, and what the operator keeps of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .common import ApiModel, ListMap, Time

Text = Annotated[str, Field(max_length=1024)]


class FollowUp(ApiModel):
    """One task that came out of the review."""

    title: Annotated[str, Field(min_length=1, max_length=256, description="What is to be done")]
    owner: Annotated[str, Field(min_length=1, max_length=256, description="Who does it")]
    due: Annotated[str | None, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", max_length=10, description="Due day")] = None
    done: Annotated[bool, Field(description="Whether it is done")] = False


class Review(ApiModel):
    """The post-incident review, written by people."""

    root_cause: Annotated[str | None, Field(max_length=4096, description="Root cause")] = None
    lessons: Annotated[list[Text], Field(max_length=20, description="Lessons learned")] = []
    actions: Annotated[list[FollowUp], ListMap("title"), Field(max_length=20, description="Follow-ups")] = []


class Reminder(ApiModel):
    """One reminder, frozen as an absolute time."""

    key: Annotated[str, Field(max_length=16, description="review-<working days>, or due-<day> of follow-ups")]
    due_at: Annotated[Time, Field(description="When it is due")]
    told_at: Annotated[Time | None, Field(description="When it was put into the outbox")] = None


class ReviewState(ApiModel):
    """What the operator keeps of the review of this round."""

    ended_at: Annotated[Time | None, Field(description="End of the incident from which the reminders count")] = None
    earlier: Annotated[
        str | None, Field(max_length=12, description="Digest of a review that was written for an earlier round")
    ] = None
    reminders: Annotated[list[Reminder], Field(max_length=24, description="Reminders that still matter")] = []
