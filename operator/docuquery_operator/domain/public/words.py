"""The fixed texts of the status page, and the words of Statuspage for our states."""

from __future__ import annotations

import re
from enum import StrEnum

from ...api.common import Severity
from ...api.incident import Phase
from ...api.stack import ComponentState, ComponentType

# Neutral names: what runs behind a service is nobody's business outside.
TITLES = {
    ComponentType.API: "API",
    ComponentType.CELERY_WORKER: "Background processing",
    ComponentType.POSTGRESQL: "Database",
    ComponentType.REDIS: "Cache",
    ComponentType.QDRANT: "Search",
}
STATES = {
    ComponentState.OPERATIONAL: "Operational",
    ComponentState.DEGRADED: "Degraded performance",
    ComponentState.PARTIAL_OUTAGE: "Partial outage",
    ComponentState.MAJOR_OUTAGE: "Major outage",
    ComponentState.UNDER_MAINTENANCE: "Under maintenance",
    ComponentState.UNKNOWN: "No current data",
}
# Statuspage has no word for what is not known; `degraded_performance` is at least no promise.
STATE_CODES = {
    ComponentState.OPERATIONAL: "operational",
    ComponentState.DEGRADED: "degraded_performance",
    ComponentState.PARTIAL_OUTAGE: "partial_outage",
    ComponentState.MAJOR_OUTAGE: "major_outage",
    ComponentState.UNDER_MAINTENANCE: "under_maintenance",
    ComponentState.UNKNOWN: "degraded_performance",
}
# Each with a shape of its own, so that colour is never alone.
STATE_SHAPES = {
    ComponentState.OPERATIONAL: "ok",
    ComponentState.DEGRADED: "degraded",
    ComponentState.PARTIAL_OUTAGE: "degraded",
    ComponentState.MAJOR_OUTAGE: "down",
    ComponentState.UNDER_MAINTENANCE: "maintenance",
    ComponentState.UNKNOWN: "unknown",
}
BADNESS = (
    ComponentState.OPERATIONAL,
    ComponentState.UNDER_MAINTENANCE,
    ComponentState.UNKNOWN,
    ComponentState.DEGRADED,
    ComponentState.PARTIAL_OUTAGE,
    ComponentState.MAJOR_OUTAGE,
)
PHASES = {
    Phase.INVESTIGATING: "We have noticed a problem and are looking for its cause.",
    Phase.IDENTIFIED: "The cause has been found and a fix is being put in place.",
    Phase.MONITORING: "A fix is in place. We are watching whether it holds.",
    Phase.RESOLVED: "The problem is resolved. The service works as usual.",
}


class Impact(StrEnum):
    """How much users notice, in the words of Statuspage."""

    NONE = "none"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


IMPACTS = {
    Severity.P0: Impact.CRITICAL,
    Severity.P1: Impact.MAJOR,
    Severity.P2: Impact.MINOR,
    Severity.P3: Impact.NONE,
}
IMPACT_WORDS = {
    Impact.NONE: "No impact",
    Impact.MINOR: "Minor impact",
    Impact.MAJOR: "Major impact",
    Impact.CRITICAL: "Critical impact",
}


class WindowState(StrEnum):
    """Of planned work, in the words of Statuspage; `verifying` is not used, as our windows know no such phase."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


WINDOW_WORDS = {
    WindowState.SCHEDULED: "Scheduled",
    WindowState.IN_PROGRESS: "In progress",
    WindowState.COMPLETED: "Completed",
}
WINDOW_TEXTS = {
    WindowState.SCHEDULED: "Maintenance is planned. Service may be interrupted for a short time.",
    WindowState.IN_PROGRESS: "Maintenance is in progress.",
    WindowState.COMPLETED: "The maintenance is completed.",
}
MAINTENANCE_TITLE = "Scheduled maintenance"
EVERYTHING = "all services"


class Indicator(StrEnum):
    """The whole page in one word, as in Statuspage's status.json."""

    NONE = "none"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"
    MAINTENANCE = "maintenance"


HEADLINES = {
    Indicator.NONE: "All systems operational",
    Indicator.MINOR: "Some services are impaired",
    Indicator.MAJOR: "Some services are down",
    Indicator.CRITICAL: "All services are down",
    Indicator.MAINTENANCE: "Maintenance in progress",
}
NO_DATA = "No current data"
UNSURE = "The state of some services is not known"
OPEN_INCIDENT = "An incident is open"


_UNPRINTABLE = re.compile("[^\\t\\n\\x20-\\x7e\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def clean(text: str | None) -> str:
    """What any format can hold, XML included: no control characters, no halves of characters."""
    return _UNPRINTABLE.sub("", (text or "").replace("\r\n", "\n").replace("\r", "\n")).strip()
