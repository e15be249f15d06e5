"""A Stack that is not understood any more is not ready, whatever it was before."""

from __future__ import annotations

from docuquery_operator.controllers.stack import StackController
from docuquery_operator.ports import STACK, Key
from tests.fakes.rig import NAMESPACE, Rig


async def test_a_stack_that_is_not_understood_is_not_ready() -> None:
    rig = Rig()
    stacks = StackController(rig.life.ports, rig.life.prober, lambda _key: None)
    key = Key(STACK.plural, NAMESPACE, "docuquery")
    for _ in range(4):
        await stacks.reconcile(key)
        rig.clock.advance(5)

    def states() -> dict[str, str]:
        found = rig.server.find(STACK, NAMESPACE, "docuquery")
        assert found is not None
        return {c["type"]: c["status"] for c in found["status"]["conditions"]}

    assert (states()["Ready"], states()["Stalled"]) == ("True", "False")
    rig.edit_stack(lambda s: s["spec"].update(components={"api": {"type": "Tape"}}))
    await stacks.reconcile(key)
    assert (states()["Ready"], states()["Stalled"]) == ("False", "True")
