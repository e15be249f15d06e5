"""ErrorRate in the simulated world: the logs of all pods, what cannot be read, and a container that died."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from docuquery_operator.catalogue.tasks import error_rate
from docuquery_operator.ports import POD, Refused
from tests.fakes.faults import Faults
from tests.fakes.rig import NAMESPACE, Rig
from tests.fakes.task_context import context


async def looked(rig: Rig, **task: Any) -> Any:
    return await error_rate.run(context(rig, {"type": "ErrorRate", **task}))


def wrote(rig: Rig, pod: str, *lines: tuple[float, str]) -> None:
    """Lines, each so many minutes ago."""
    now = rig.clock.now()
    rig.server.streams[pod] = [(now - timedelta(minutes=ago), text) for ago, text in lines]


def api(rig: Rig) -> str:
    return rig.simulator.pods("api")[0]["metadata"]["name"]


async def test_errors_of_the_last_hour_are_grouped_and_the_most_frequent_comes_first():
    rig = Rig()
    many = [(float(n), f"ERROR cannot embed document {n}") for n in range(12)]
    wrote(rig, api(rig), (90.0, "ERROR too long ago"), *many, (5.0, "INFO fine"))
    wrote(rig, "postgres-0", (3.0, "FATAL:  could not write: No space left on device password=hunter2"))
    found = await looked(rig)
    assert found.state == "Succeeded"
    assert found.figures["errors"] == 13
    assert found.figures["errors per minute"] == round(13 / 60, 3)
    assert found.figures["pods read"] == 2
    first, second = found.tables[0].rows
    assert first[:3] == ("ERROR cannot embed document #", "api", 12)
    assert second[1:3] == ("postgres", 1)
    assert [f.rank for f in found.findings] == ["Warning", "Critical"]
    assert "hunter2" not in found.model_dump_json()
    assert sum(v for s in found.series for _, v in s.points) == 13


async def test_a_shorter_time_and_fewer_groups_may_be_asked_for():
    rig = Rig()
    wrote(rig, api(rig), (20.0, "ERROR old"), (4.0, "ERROR a"), (3.0, "ERROR b"), (2.0, "ERROR b"))
    found = await looked(rig, errorRate={"since": "10m", "top": 1})
    assert found.figures["errors"] == 3
    assert [row[0] for row in found.tables[0].rows] == ["ERROR b"]
    assert found.figures["share of the groups shown (%)"] == 66.7


async def test_no_errors_are_zero_and_say_how_much_was_read():
    rig = Rig()
    wrote(rig, api(rig), (5.0, "INFO fine"))
    found = await looked(rig)
    assert found.figures["errors"] == 0
    assert found.figures["lines"] == 1
    assert found.figures["share of the groups shown (%)"] is None
    assert found.findings == ()


async def test_a_log_that_cannot_be_read_is_told_and_is_not_one_without_errors():
    rig = Rig()
    name = api(rig)

    class NoLogs(Faults):
        async def around(self, call: str, effect: Any) -> Any:
            if call == f"log stream {name}":
                raise Refused(403, "pods/log is not allowed")
            return await super().around(call, effect)

    rig.start(NoLogs())
    found = await looked(rig)
    assert found.figures["pods not read"] == 1
    assert found.findings[0].rank == "Warning"
    assert f"{name}: Refused 403" in found.findings[0].text


async def test_without_any_log_the_task_fails():
    rig = Rig()

    class NoLogs(Faults):
        async def around(self, call: str, effect: Any) -> Any:
            if call.startswith("log stream"):
                raise Refused(403, "no")
            return await super().around(call, effect)

    rig.start(NoLogs())
    found = await looked(rig)
    assert found.state == "Failed"
    assert found.figures == {}


async def test_what_a_container_said_before_it_ended_counts():
    rig = Rig()
    now = rig.clock.now()

    def restarted(pod: Any) -> None:
        ended = {"finishedAt": (now - timedelta(minutes=2)).isoformat(), "reason": "Error", "exitCode": 1}
        pod["status"]["containerStatuses"][0] |= {"restartCount": 1, "lastState": {"terminated": ended}}

    rig.server.edit(POD, NAMESPACE, api(rig), restarted)
    stamp = (now - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    rig.server.log_texts[api(rig), True] = f"{stamp} MemoryError: no more\n2020-01-01T00:00:00Z ERROR long ago"
    found = await looked(rig)
    assert [row[0] for row in found.tables[0].rows] == ["MemoryError: no more"]


async def test_it_ends_at_the_next_pod_when_it_must_stop():
    rig = Rig()
    found = await error_rate.run(context(rig, {"type": "ErrorRate"}, stopping=lambda: "suspend was set"))
    assert (found.state, found.summary) == ("Aborted", "suspend was set")


async def test_what_the_operator_logs_in_with_is_not_told_wherever_it_stands():
    rig = Rig()
    wrote(rig, api(rig), (1.0, "ERROR who are you, hunter2hunter2? no such user"))
    found = await looked(rig)
    assert found.figures["errors"] == 1
    assert "hunter2" not in found.model_dump_json()
    assert found.tables[0].rows[0][0] == "ERROR who are you, [redacted]? no such user"


async def test_only_the_components_of_the_window_are_read():
    rig = Rig()
    wrote(rig, api(rig), (1.0, "ERROR a"))
    wrote(rig, "postgres-0", (1.0, "ERROR b"))
    found = await error_rate.run(context(rig, {"type": "ErrorRate"}, components=["postgres"]))
    assert [row[1] for row in found.tables[0].rows] == ["postgres"]
