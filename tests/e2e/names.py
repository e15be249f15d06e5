"""Namespaces of the scenarios: fixed beforehand, for the operator gets its rights namespace by namespace."""

SCENARIOS = (
    "e2e-process-down",
    "e2e-crash-loop",
    "e2e-oom-killed",
    "e2e-too-many-connections",
    "e2e-auth-failed",
    "e2e-network-policy",
    "e2e-service-without-endpoints",
    "e2e-read-only",
    "e2e-disk-full",
    "e2e-paused",
    "e2e-approval",
    "e2e-deleted-in-the-middle",
    "e2e-leader-killed",
    "e2e-detected",
    "e2e-harmless",
    "e2e-redis-frozen",
    "e2e-redis-too-many-clients",
    "e2e-redis-cannot-save",
    "e2e-redis-detected",
)
