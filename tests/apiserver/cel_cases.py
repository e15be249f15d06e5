"""For each CEL rule of each kind: a change that it refuses and one that it accepts. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from docuquery_operator.api.blocking import CIDR_MESSAGE, LONGEST_MESSAGE

Change = dict[str, Any]

REDIS = {
    "type": "Redis",
    "workload": {"kind": "StatefulSet", "name": "redis"},
    "endpoint": {"service": "redis", "port": 6379},
}
API = {
    "type": "Api",
    "workload": {"kind": "Deployment", "name": "api"},
    "endpoint": {"service": "api", "port": 8000},
    "blocking": {"enforcer": "ApiDenySet"},
}
POSTGRES = {
    "type": "PostgreSQL",
    "workload": {"kind": "StatefulSet", "name": "postgres"},
    "endpoint": {"service": "postgres", "port": 5432},
    "database": "app",
    "credentials": {"secretName": "postgres"},
}
WORKER = {"type": "CeleryWorker", "workload": {"kind": "Deployment", "name": "worker"}, "celery": {"app": "app.worker"}}
AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
STACK_REF = {"name": "docuquery"}
START = "2026-12-15T02:00:00Z"

BASE: dict[str, Change] = {
    "Stack": {"components": {"redis": REDIS}},
    "Incident": {"stackRef": STACK_REF, "type": "RedisConnection"},
    "Runbook": {
        "incidentType": "Custom",
        "severity": "P1",
        "componentType": "Redis",
        "symptom": "true",
        "diagnose": [{"name": "workload", "probe": "workload"}],
        "causes": [{"name": "Unknown", "when": "true"}],
    },
    "MaintenanceWindow": {"stackRef": STACK_REF, "schedule": {"cron": "0 3 * * 0"}, "duration": "2h"},
    "BackupJob": {
        "stackRef": STACK_REF,
        "include": {"postgres": {}},
        "destination": {"volume": {"claimName": "backups"}},
    },
    "RestoreJob": {"backup": {"jobRef": {"name": "nightly"}}, "target": {"scratch": {}}},
}


@dataclass(frozen=True)
class Case:
    """Merge patches on BASE; with `before` the object exists and is changed, else it is created."""

    kind: str
    message: str
    refused: Change
    accepted: Change
    before: Change | None = None
    shown: str | None = None


def _prometheus(labels: dict[str, str]) -> Change:
    return {"thresholds": {"prometheus": {"service": "prometheus", "labels": labels}}}


def _component(change: Change) -> Change:
    return {"components": {"extra": change}}


def _task(**fields: Any) -> Change:
    return {"tasks": [fields]}


DURATION = "write a Go-style duration such as 30s, 5m or 1h30m; a day is 24h"
PERCENT = "write a percentage from 0% to 100%, such as 10% or 2.5%"
RATE = "write a count per time such as 3/1h: three in one hour, in no time of 0"
CRON = "cron must have five fields: minute, hour, day of month, month, day of week; for example '0 3 * * 0'"
RRULE = (
    "rrule must be a rule of RFC 5545 that begins with FREQ, for example FREQ=MONTHLY;BYDAY=3TU; "
    "the first instant belongs in start"
)
RRULE_START = "rrule needs start, the instant from which the rule counts"
START_RRULE = "start belongs to rrule; cron counts from the object's creation"
ZONE = "timeZone must be an IANA name such as Europe/Berlin or Etc/UTC"
TYPE_NAME = "write a name in CamelCase without spaces, such as ProcessDown"
MONTHLY = {"cron": None, "rrule": "FREQ=MONTHLY;BYDAY=3TU", "start": START}
NIGHTLY = {"cron": "0 2 * * *"}


def _talk(**fields: Any) -> Change:
    return {"communication": fields}


def _stand_in(start: str, end: str) -> Change:
    return {"group": "onCall", "contact": "ana", "from": start, "until": end}


STACK = [
    Case("Stack", "components must name at least one component",
         {"components": {"redis": None}}, {}),
    Case("Stack", "paused: true needs pauseReason; say why, so that the next person knows",
         {"paused": True, "pauseReason": ""}, {"paused": True, "pauseReason": "upgrade"}),
    Case("Stack", "dependsOn must name other components of this Stack",
         _component(REDIS | {"dependsOn": ["postgres"]}), _component(REDIS | {"dependsOn": ["redis"]})),
    Case("Stack", "endpoint {service, port} is required for this type",
         _component({k: v for k, v in REDIS.items() if k != "endpoint"}), _component(WORKER)),
    Case("Stack", "a PostgreSQL component needs database, the name to connect to",
         _component({k: v for k, v in POSTGRES.items() if k != "database"}), _component(POSTGRES)),
    Case("Stack", "a PostgreSQL component needs credentials.secretName, a Secret with username and password",
         _component({k: v for k, v in POSTGRES.items() if k != "credentials"}), _component(POSTGRES)),
    Case("Stack", "celery.broker must name a component of type Redis of this Stack",
         _component(WORKER | {"celery": {"app": "a", "broker": "rabbit"}}),
         _component(WORKER | {"celery": {"app": "a", "broker": "redis"}})),
    Case("Stack", "a CeleryWorker component needs celery.app",
         _component({k: v for k, v in WORKER.items() if k != "celery"}), _component(WORKER)),
    Case("Stack", "a component's name must be lower-case letters, digits and '-', such as api or worker-2",
         {"components": {"Redis_2": REDIS}}, {"components": {"redis-2": REDIS}}),
    Case("Stack", "channels may be slack, pagerduty, phone, email, webhook, and apprise for whatever else",
         {"communication": {"channels": {"fax": {"secretRef": {"secretName": "fax"}}}}},
         {"communication": {"channels": {"slack": {"secretRef": {"secretName": "slack"}}}}}),
    Case("Stack", "write a time of day from 00:00 to 23:59, such as 22:00",
         _talk(quietHours={"from": "24:00", "until": "07:00"}), _talk(quietHours={"from": "22:00", "until": "07:00"})),
    Case("Stack", "from and until must differ: quiet hours around the clock would tell nobody",
         _talk(quietHours={"from": "22:00", "until": "22:00"}), _talk(quietHours={"from": "22:00", "until": "21:59"})),
    Case("Stack", TYPE_NAME, {"alerts": {"types": ["redis is down"]}}, {"alerts": {"types": ["RedisIsDown"]}}),
    Case("Stack", "write a duration of at least 1m, more than twice the repeat_interval of the watchdog's route",
         {"alerts": {"watchdog": {"after": "59s"}}}, {"alerts": {"watchdog": {"after": "1m"}}}),
    Case("Stack", "write slack: and the member id, such as slack:U0123ABCD",
         {"approvers": [{"id": "U0123ABCD", "user": "ana"}]}, {"approvers": [{"id": "slack:U0123ABCD", "user": "ana"}]}),
    Case("Stack", "timeZone must be an IANA name such as Europe/Berlin or Etc/UTC",
         _talk(quietHours={"from": "22:00", "until": "07:00", "timeZone": "my town"}),
         _talk(rotations=[{"group": "onCall", "start": "2026-11-23T09:00:00Z", "timeZone": "Europe/Berlin"}])),
    Case("Stack", "until must be later than from",
         _talk(overrides=[_stand_in("2026-12-02T00:00:00Z", "2026-12-02T00:00:00Z")]),
         _talk(overrides=[_stand_in("2026-12-02T00:00:00Z", "2026-12-03T00:00:00Z")])),
    Case("Stack", "href must begin with https://",
         _talk(links=[{"text": "Dashboard", "href": "javascript:alert(1)"}]),
         _talk(links=[{"text": "Dashboard", "href": "https://grafana.example/d/1"}])),
    Case("Stack", DURATION, {"detection": {"interval": "5 seconds"}}, {"detection": {"interval": "1m30s"}}),
    Case("Stack", PERCENT, {"thresholds": {"info": {"responseTime": "1s", "errorRate": "100.5%"}}},
         {"thresholds": {"info": {"responseTime": "1s", "errorRate": "2.5%"}}}),
    Case("Stack", "labels must say which series are the api's, such as {namespace: docuquery, service: api}",
         _prometheus({}), _prometheus({"service": "api"})),
    Case("Stack", "a label's name must be letters, digits and '_', such as namespace or service",
         _prometheus({"the-service": "api"}), _prometheus({"the_service": "api"})),
    Case("Stack", "only a component of type Api has clients to block: take blocking away",
         _component(REDIS | {"blocking": {"enforcer": "ApiDenySet"}}), _component(API)),
    Case("Stack", "enforcer: IngressNginx needs ingress, the name of the Ingress; the other enforcers take none",
         _component(API | {"blocking": {"enforcer": "IngressNginx"}}),
         _component(API | {"blocking": {"enforcer": "IngressNginx", "ingress": "front"}})),
    Case("Stack", "only a component of type Redis has keys: take cacheKeys away",
         _component(API | {"cacheKeys": ["cache:*"]}), _component(REDIS | {"cacheKeys": ["cache:*"]})),
    Case("Stack", "a pattern must begin with three plain characters before the first wildcard, such as cache:*",
         _component(REDIS | {"cacheKeys": ["*"]}), _component(REDIS | {"cacheKeys": ["ab:*"]})),
    Case("Stack", CIDR_MESSAGE, _component(API | {"blocking": {"enforcer": "ApiDenySet", "allow": ["10.0.0.1/8"]}}),
         _component(API | {"blocking": {"enforcer": "ApiDenySet", "allow": ["10.0.0.0/8", "2001:db8::/32"]}})),
    Case("Stack", LONGEST_MESSAGE, _component(API | {"blocking": {"enforcer": "ApiDenySet", "maxFor": "25h"}}),
         _component(API | {"blocking": {"enforcer": "ApiDenySet", "maxFor": "1h30m"}})),
    Case("Stack", RATE, {"healing": {"budget": {"perTarget": "3 per hour"}}},
         {"healing": {"budget": {"perTarget": "3/1h"}}}),
    Case("Stack", RATE, {"healing": {"budget": {"perTarget": "3/0s"}}},
         {"healing": {"budget": {"perTarget": "0/10s"}}}),
]  # fmt: skip

INCIDENT = [
    Case("Incident", "stackRef and type cannot be changed; open another Incident",
         {"type": "DatabaseConnectionFailure"}, {"severity": "P0"}, before={}),
    Case("Incident", TYPE_NAME, {"type": "redis is down"}, {"type": "RedisIsDown"}),
]  # fmt: skip

RUNBOOK = [
    Case("Runbook", "diagnose must hold at least one probe", {"diagnose": []}, {}),
    Case("Runbook", "causes must hold at least one cause; end with {name: Unknown, when: 'true'}", {"causes": []}, {}),
    Case("Runbook", DURATION, {"verify": {"settle": "soon"}}, {"verify": {"settle": "30s"}}),
    Case("Runbook", TYPE_NAME, {"incidentType": "custom type"}, {"incidentType": "CustomType"}),
    Case("Runbook",
         "write the name of a probe or action of the catalogue, such as postgresReady or restartWorkload; "
         "commands are not possible",
         {"causes": [{"name": "A", "when": "true", "remediate": [{"action": "rm -rf /"}]}]},
         {"causes": [{"name": "A", "when": "true", "remediate": [{"action": "restartWorkload"}]}]}),
    Case("Runbook", "minimum of a parameter must not be above its maximum",
         {"parameters": [{"name": "limit", "type": "Integer", "minimum": 5, "maximum": 4}]},
         {"parameters": [{"name": "limit", "type": "Integer", "minimum": 4, "maximum": 4}]}),
    Case("Runbook", "minimum and maximum are bounds of type: Integer; use values for strings",
         {"parameters": [{"name": "word", "type": "String", "minimum": 1}]},
         {"parameters": [{"name": "word", "type": "String", "values": ["a", "b"]}]}),
]  # fmt: skip

_AM = {"service": "alertmanager", "labels": {"namespace": "docuquery"}}
ALERTMANAGER = [
    Case("Stack", "labels must say which alerts are the Stack's, such as {namespace: docuquery}",
         {"alertmanager": _AM | {"labels": {}}}, {"alertmanager": _AM}),
    Case("Stack", "an alert label's name must be letters, digits and '_', such as namespace or service",
         {"alertmanager": _AM | {"labels": {"name space": "docuquery"}}}, {"alertmanager": _AM | {"labels": {"name_space": "d"}}}),
    Case("Stack", "labels of single pods, such as pod or instance, change with each restart; write labels of the whole Stack",
         {"alertmanager": _AM | {"labels": {"pod": "postgres-0"}}}, {"alertmanager": _AM | {"labels": {"job": "docuquery"}}}),
    Case("Stack", "componentLabel must be no label of single pods",
         {"alertmanager": _AM | {"componentLabel": "pod"}}, {"alertmanager": _AM | {"componentLabel": "service"}}),
]  # fmt: skip

WINDOW = [
    Case("MaintenanceWindow", "schedule needs exactly one of cron, rrule and at",
         {"schedule": {"at": START}}, {"schedule": {"cron": None, "at": START}}),
    Case("MaintenanceWindow", CRON, {"schedule": {"cron": "0 0 3 * * 0"}}, {"schedule": {"cron": "*/15 1-5 * JAN,JUL MON#2"}}),
    Case("MaintenanceWindow", RRULE, {"schedule": MONTHLY | {"rrule": "third tuesday"}}, {"schedule": MONTHLY}),
    Case("MaintenanceWindow", RRULE_START, {"schedule": MONTHLY | {"start": None}}, {"schedule": MONTHLY}),
    Case("MaintenanceWindow", START_RRULE, {"schedule": {"start": START}}, {"schedule": MONTHLY}),
    Case("MaintenanceWindow", ZONE, {"timeZone": "+01:00"}, {"timeZone": "America/Argentina/Buenos_Aires"}),
    Case("MaintenanceWindow",
         "duration of a window must be more than 0s and at most 24h; split longer work into several windows",
         {"duration": "24h1s"}, {"duration": "24h"}),
    Case("MaintenanceWindow", DURATION, {"duration": "two hours"}, {"duration": "90m"}),
    Case("MaintenanceWindow", PERCENT, _task(type="CapacityPlan", capacityPlan={"warnAt": "most"}),
         _task(type="CapacityPlan", capacityPlan={"warnAt": "75%"})),
    Case("MaintenanceWindow", "a RotateLogs task needs rotateLogs.path",
         _task(type="RotateLogs"), _task(type="RotateLogs", rotateLogs={"path": "/var/log"})),
    Case("MaintenanceWindow", "write a Kubernetes quantity such as 512Mi or 10Gi",
         _task(type="RotateLogs", rotateLogs={"path": "/var/log", "maxSize": "much"}),
         _task(type="RotateLogs", rotateLogs={"path": "/var/log", "maxSize": "2Gi"})),
    Case("MaintenanceWindow",
         "keep: 0 leaves no archive on the volume; it needs archive, so that each is in a store before it goes",
         _task(type="RotateLogs", rotateLogs={"path": "/var/log", "keep": 0}),
         _task(type="RotateLogs", rotateLogs={"path": "/var/log", "keep": 0, "archive": {"backupJob": "nightly"}})),
    Case("MaintenanceWindow",
         "parameters must stand in the field named like the task's type, such as vacuumDatabase for VacuumDatabase",
         _task(type="AnalyzeTables", vacuumDatabase={}), _task(type="VacuumDatabase", vacuumDatabase={"parallel": 2})),
    Case("MaintenanceWindow", "healing: Runbooks goes with runbooks, the incident types that may be healed, such as [RedisConnection]",
         {"effects": {"healing": "Block", "runbooks": ["RedisConnection"]}},
         {"effects": {"healing": "Runbooks", "runbooks": ["RedisConnection"]}}),
    Case("MaintenanceWindow", TYPE_NAME, {"effects": {"healing": "Runbooks", "runbooks": ["redis down"]}},
         {"effects": {"healing": "Runbooks", "runbooks": ["RedisDown"]}}),
    Case("MaintenanceWindow", "pierce has a meaning only with paging: Mute or Downgrade",
         {"effects": {"paging": "None", "pierce": ["P0"]}}, {"effects": {"pierce": ["P0"]}}),
    Case("MaintenanceWindow", "maxExtension has a meaning only with overrun: Extend",
         {"maxExtension": "1h", "overrun": "Warn"}, {"maxExtension": "1h", "overrun": "Extend"}),
    Case("MaintenanceWindow", "stackRef cannot be changed; make another MaintenanceWindow",
         {"stackRef": {"name": "other"}}, {"suspend": True}, before={}),
]  # fmt: skip

BACKUP = [
    Case("BackupJob", "a BackupJob without schedule runs once and cannot be changed; make another BackupJob",
         {"timeout": "1h"}, {}, before={}),
    Case("BackupJob", "schedule cannot be removed; set suspend: true to stop the runs",
         {"schedule": None}, {"suspend": True}, before={"schedule": NIGHTLY}),
    Case("BackupJob",
         "stackRef and destination cannot be changed, the sets already taken would be lost; make another BackupJob",
         {"destination": {"volume": {"claimName": "other"}}}, {"schedule": {"cron": "0 4 * * *"}},
         before={"schedule": NIGHTLY}),
    Case("BackupJob", "suspend and startingDeadline need schedule; a BackupJob without schedule runs once",
         {"startingDeadline": "1h"}, {"startingDeadline": "1h", "suspend": True, "schedule": NIGHTLY}),
    Case("BackupJob", "include.configuration.secrets needs encryption.recipients; Secrets are never stored in clear",
         {"include": {"configuration": {"secrets": ["postgres"]}}},
         {"include": {"configuration": {"secrets": ["postgres"]}}, "encryption": {"recipients": [AGE]}}),
    Case("BackupJob",
         "credentials are for parts that include names: add include.postgres or include.qdrant, or leave them out",
         {"credentials": {"qdrant": {"secretName": "q"}}}, {"credentials": {"postgres": {"secretName": "p"}}}),
    Case("BackupJob", "write a Kubernetes quantity such as 512Mi or 10Gi",
         {"mover": {"resources": {"memory": "much"}}}, {"mover": {"resources": {"memory": "512Mi", "scratch": "4Gi"}}}),
    Case("BackupJob", "each recipient must be a public key of age: age1 and 58 characters; keep its private key elsewhere",
         {"encryption": {"recipients": ["AGE-SECRET-KEY-1"]}}, {"encryption": {"recipients": [AGE]}}),
    Case("BackupJob", "include needs at least one of postgres, qdrant and configuration; {} takes the part's defaults",
         {"include": {"postgres": None}}, {"include": {"postgres": None, "qdrant": {}}}),
    Case("BackupJob", "destination needs exactly one of s3, gcs, azure and volume",
         {"destination": {"s3": {"bucket": "backups"}}},
         {"destination": {"volume": None, "azure": {"account": "docuquery", "container": "backups"}}}),
    Case("BackupJob", "write a relative path such as backups/demo",
         {"destination": {"volume": {"path": "/etc"}}}, {"destination": {"volume": {"path": "backups/demo"}}}),
    Case("BackupJob",
         "retention needs at least one of keepLast, keepDaily, keepWeekly and keepMonthly above 0; "
         "leave retention out to keep everything",
         {"retention": {"keepLast": 0}}, {"retention": {"keepMonthly": 12}}),
    Case("BackupJob", "assertions are asked of a restored copy; they need level: Restore",
         {"verification": {"assertions": [{"name": "a", "database": "d", "query": "SELECT 1", "expect": "1"}]}},
         {"verification": {"level": "Restore",
                           "assertions": [{"name": "a", "database": "d", "query": "SELECT 1", "expect": "1"}]}}),
    Case("BackupJob", "every must be Run, or a time such as 12h, 7d or 1w",
         {"verification": {"every": "weekly"}}, {"verification": {"every": "1w"}}),
    Case("BackupJob", "schedule needs exactly one of cron and rrule; without schedule it runs once",
         {"schedule": {}}, {"schedule": NIGHTLY}),
    Case("BackupJob", CRON, {"schedule": {"cron": "@daily"}}, {"schedule": NIGHTLY}),
    Case("BackupJob", RRULE, {"schedule": MONTHLY | {"rrule": "DAILY"}}, {"schedule": MONTHLY}),
    Case("BackupJob", RRULE_START, {"schedule": MONTHLY | {"start": None}}, {"schedule": MONTHLY}),
    Case("BackupJob", START_RRULE, {"schedule": NIGHTLY | {"start": START}}, {"schedule": MONTHLY}),
    Case("BackupJob", ZONE, {"timeZone": "Local"}, {"timeZone": "Europe/Berlin"}),
    Case("BackupJob", DURATION, {"timeout": "1 hour"}, {"timeout": "1h"}),
]  # fmt: skip

_ONTO = {"target": {"scratch": None, "stackRef": STACK_REF}, "confirm": "docuquery"}
_DIGEST = {"planDigest": "0123456789ab"}
_RECONCILE = {"database": "app", "query": "SELECT id FROM documents", "collection": "documents"}

RESTORE = [
    Case("RestoreJob", "confirm must repeat the name of target.stackRef: its data is going to be replaced",
         _ONTO | {"confirm": "yes"}, _ONTO, shown="confirm must be 'docuquery', the name of target.stackRef"),
    Case("RestoreJob", "mode: Apply onto a Stack needs planDigest; first create it with mode: Plan and read status.plan.digest",
         _ONTO | {"mode": "Apply"}, _ONTO | _DIGEST | {"mode": "Apply"}),
    Case("RestoreJob", "backup, include and target cannot be changed, the plan would be another; make another RestoreJob",
         {"include": {"postgres": {}}}, _DIGEST | {"mode": "Apply"}, before=_ONTO),
    Case("RestoreJob", "mode cannot go back from Apply to Plan; set rollback: true to undo",
         {"mode": "Plan"}, {"rollback": True}, before=_ONTO | _DIGEST | {"mode": "Apply"}),
    Case("RestoreJob", "rollback undoes a restore onto a Stack; it needs mode: Apply and target.stackRef",
         {"rollback": True, "mode": "Apply"}, _ONTO | _DIGEST | {"rollback": True, "mode": "Apply"}),
    Case("RestoreJob", "include.configuration needs mover.serviceAccountName, an account that may write these objects",
         _ONTO | {"include": {"configuration": {"configMaps": ["api"]}}},
         _ONTO | {"include": {"configuration": {"configMaps": ["api"]}}, "mover": {"serviceAccountName": "restorer"}}),
    Case("RestoreJob", "target needs exactly one of stackRef and scratch",
         {"target": {"scratch": None}}, _ONTO),
    Case("RestoreJob", "include needs at least one of postgres, qdrant and configuration; without include all is restored",
         {"include": {}}, {"include": {"qdrant": {}}}),
    Case("RestoreJob", "action: RunSql needs sql, the statement that is run for the missing ids",
         {"reconcile": _RECONCILE | {"action": "RunSql"}},
         {"reconcile": _RECONCILE | {"action": "RunSql", "sql": "UPDATE documents SET hash = NULL WHERE id = ANY($1)"}}),
    Case("RestoreJob", "write a Kubernetes quantity such as 512Mi or 10Gi",
         {"target": {"scratch": {"size": "10 GB"}}}, {"target": {"scratch": {"size": "10Gi"}}}),
    Case("RestoreJob", DURATION, {"timeout": "forever"}, {"timeout": "6h"}),
]  # fmt: skip

CASES = [*STACK, *ALERTMANAGER, *INCIDENT, *RUNBOOK, *WINDOW, *BACKUP, *RESTORE]
