"""Phases of a restore: plan, apply, rollback, dropPrevious, and a throwaway copy. Each looks at the servers first.

Nothing live changes before every part has been restored beside and checked, and what is there now is saved as a set of its
own. Killed at any point, the same phase with the same restore id comes to the same end.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from ..domain.backups.manifest import Check, DatabaseFacts, Document, Manifest
from ..domain.backups.report import PlanReport, ReconcileReport, RestoreStepReport, Result
from ..domain.backups.request import RestoreRequest
from . import application, configuration_part
from .clock import now
from .contracts import MoverError, Report
from .leftovers import Leftovers
from .objects import SetReader
from .restore_parts import Parts, parts_of
from .sets import Place, entry_of, manifest_of, place_of

Say = Callable[[Document], None]
UNVERIFIED = "RestoredUnverified"
DIGEST = 12
SUMMARY = 500
State = Literal["Running", "Done", "Failed", "Skipped", "RolledBack"]


async def restore(request: RestoreRequest, report: Report, say: Say) -> Result:
    """One phase; MoverError says what to do where it cannot be done."""
    place = place_of(request)
    work = _Restore(request, place, report, say)
    match request.phase:
        case "plan":
            return await work.planned(await _manifest(place, request))
        case "apply":
            return await work.applied(await _manifest(place, request))
        case "scratch":
            return await work.thrown_away(await _manifest(place, request))
        case "rollback":
            return await work.rolled_back(await _manifest(place, request))
        case "dropPrevious":
            return await work.dropped(await _manifest(place, request))


async def _manifest(place: Place, request: RestoreRequest) -> Manifest:
    await place.store.check(place.layout.catalogue())
    return await manifest_of(place, await entry_of(place, request.set_id), request.manifest_sha256)


class _Restore:
    """One phase under way."""

    def __init__(self, request: RestoreRequest, place: Place, report: Report, say: Say) -> None:
        self._request, self._place, self._report, self._say = request, place, report, say
        self._id, self._secrets = request.restore_id, place.secrets
        self._reader = SetReader(place.store, place.layout, request.set_id, place.secrets / "identity", report)
        self._leftovers = Leftovers(request.safety, report)
        self._warnings: list[str] = []

    # Plan

    async def planned(self, manifest: Manifest) -> Result:
        """What would happen, in order, and a digest over what it rests on."""
        parts = parts_of(self._request, manifest)
        # A key that does not fit is told now, not in the night in which the plan is confirmed.
        self._reader.check_keys(parts.objects(manifest))
        lines: list[str] = [f"set {manifest.set_id}, finished {manifest.finished_at:%Y-%m-%d %H:%M:%S} UTC"]
        fixed: dict[str, Any] = {"set": manifest.set_id, "manifest": await self._hash()}
        size = 0
        if parts.postgres is not None:
            from .postgres.restore import plan as of_postgres

            part, request, wanted = parts.postgres
            plans = await of_postgres(part, wanted, request, self._secrets, self._id)
            in_the_way = [problem for each in plans for problem in each.in_the_way]
            if in_the_way:
                raise MoverError("InTheWay", "; ".join(in_the_way), retry=False)
            lines += [line for each in plans for line in each.lines]
            fixed["postgres"], size = [each.fixed for each in plans], sum(each.bytes for each in plans)
        if parts.qdrant is not None:
            from .qdrant.restore import plan as of_qdrant

            of_collections = await of_qdrant(parts.qdrant[0], manifest, parts.qdrant[1], self._id, self._secrets)
            lines += of_collections.lines
            fixed["qdrant"], size = of_collections.depends, size + of_collections.bytes
        if parts.configuration:
            lines += await configuration_part.planned(self._request, manifest, self._reader)
        lines.append("what is there now is saved as a set of its own first")
        digest = hashlib.sha256(json.dumps(fixed, sort_keys=True, default=str).encode()).hexdigest()[:DIGEST]
        plan = PlanReport(digest=digest, lines=lines, bytes=size, run=manifest.run, manifest_sha256=fixed["manifest"])
        return self._end("Planned", plan=plan)

    async def _hash(self) -> str:
        return (await entry_of(self._place, self._request.set_id)).manifest_sha256

    # Apply

    async def applied(self, manifest: Manifest) -> Result:
        """Safety set, copies beside, checks, exchange, comparison, and a look at the application."""
        parts = parts_of(self._request, manifest)
        self._reader.check_keys(parts.objects(manifest))
        fresh = await self._unchanged(manifest)
        safety = self._request.safety
        self._warnings += await self._leftovers.clean(but=safety.set_id if safety else "")
        if fresh:
            await self._step("safety", lambda: self._safety(parts))
        checks = await self._beside(parts, manifest)
        wrong = [check for check in checks if check.ok is False]
        if wrong:
            said = "; ".join(f"{check.name}: {check.detail}" for check in wrong)
            raise MoverError("RestoredDiffers", f"nothing live was changed: {said}"[:1000])
        if parts.configuration:
            await self._step("configuration", lambda: configuration_part.applied(self._request, manifest, self._reader))
        await self._exchange(parts)
        self._warnings += await self._leftovers.clean()
        reconciled = await self._reconciled()
        problem = await self._looked_at()
        return self._judged(checks, problem, reconciled)

    async def _unchanged(self, manifest: Manifest) -> bool:
        """The plan must still be what two persons wanted, unless an earlier try has begun to exchange already."""
        if not self._request.plan_digest or await self._begun(parts_of(self._request, manifest)):
            return False
        plan = (await self.planned(manifest)).plan
        if plan is None or plan.digest != self._request.plan_digest:
            text = (
                f"the servers have changed since the plan {self._request.plan_digest} was made; "
                "make another RestoreJob and look at its plan"
            )
            raise MoverError("PlanChanged", text, retry=False)
        return True

    async def _begun(self, parts: Parts) -> bool:
        if parts.postgres is not None:
            from .postgres.restore import begun as in_postgres

            _, request, wanted = parts.postgres
            if await in_postgres(request, self._secrets, [facts.name for facts in wanted], self._id):
                return True
        if parts.qdrant is not None:
            from .qdrant.names import begun as in_qdrant
            from .qdrant.peers import look, opened

            async with opened(parts.qdrant[1], self._secrets) as cluster:
                return in_qdrant(await look(cluster), self._id)
        return False

    async def _safety(self, parts: Parts) -> str:
        """What is there now, as far as there is anything: after a disaster there may be nothing."""
        safety = self._request.safety
        if safety is None:
            return "nothing is saved: no store of the Stack is replaced"
        from .backup import back_up

        changes: dict[str, Any] = {"postgres": None}
        if safety.postgres is not None and parts.postgres is not None:
            from .postgres.restore import existing

            there = await existing(safety.postgres, self._secrets, [facts.name for facts in parts.postgres[2]])
            changes["postgres"] = safety.postgres.model_copy(update={"databases": there}) if there else None
        if safety.qdrant is not None:
            # Those of the set may be gone; whatever is there is worth keeping.
            changes["qdrant"] = safety.qdrant.model_copy(update={"collections": ["*"]})
        if changes["postgres"] is None and safety.qdrant is None:
            return "there is nothing to save"
        result = await back_up(safety.model_copy(update=changes), self._report)
        self._warnings += result.warnings
        return f"saved as set {result.entry.set_id}" if result.entry else result.reason

    async def _beside(self, parts: Parts, manifest: Manifest) -> list[Check]:
        checks: list[Check] = []
        scratch = Path(self._request.scratch_dir)
        if parts.postgres is not None:
            from .postgres.restore import restore_beside as of_postgres

            part, request, wanted = parts.postgres
            for facts in wanted:

                async def beside(facts: DatabaseFacts = facts) -> str:
                    found = await of_postgres(
                        part, facts, manifest, self._reader, request, self._secrets, self._id, scratch, self._report
                    )
                    checks.extend(found)
                    return _told(found)

                await self._step(f"postgres/{facts.name}/restore", beside)
        if parts.qdrant is not None:
            from .qdrant.restore import restore_beside as of_qdrant

            collections, searched = parts.qdrant

            async def copies() -> str:
                found = await of_qdrant(collections, manifest, searched, self._reader, self._id, self._secrets, self._report)
                checks.extend(found)
                return _told(found)

            await self._step("qdrant/restore", copies)
        return checks

    async def _exchange(self, parts: Parts) -> None:
        """PostgreSQL first: it is one transaction, and what Qdrant then has too much or too little the comparison finds."""
        if parts.postgres is not None:
            from .postgres.restore import swap

            _, request, wanted = parts.postgres
            for facts in wanted:
                work = lambda name=facts.name: swap(request, self._secrets, name, self._id)  # noqa: E731
                await self._step(f"postgres/{facts.name}/swap", work)
        if parts.qdrant is not None:
            from .qdrant.switch import switch

            collections, searched = parts.qdrant

            async def switched() -> str:
                return "; ".join(await switch(collections, searched, self._id, self._secrets, self._report, self._leftovers))

            await self._step("qdrant/swap", switched)

    async def _reconciled(self) -> ReconcileReport | None:
        """Documents against points, and what the request wants done about the difference."""
        wanted, postgres, qdrant = self._request.reconcile, self._request.postgres, self._request.qdrant
        if wanted is None or postgres is None or qdrant is None:
            return None
        from .postgres.restore import document_ids, run_sql
        from .qdrant.points import delete_points, point_ids
        from .reconcile import compared

        found: list[ReconcileReport] = []

        async def compare() -> str:
            points = point_ids(qdrant, self._secrets, wanted.collection)
            documents = document_ids(postgres, self._secrets, wanted.database, wanted.query)
            async with compared(points, documents, Path(self._request.scratch_dir)) as sides:
                found.append(sides.report(wanted.action))
                text = f"{found[0].missing} documents without points, {found[0].orphans} points without a document"
                if wanted.action == "DeleteOrphans" and found[0].orphans:
                    number = await delete_points(qdrant, self._secrets, wanted.collection, sides.ids("orphans"))
                    text += f"; {number} points deleted"
                if wanted.action == "RunSql" and found[0].missing and wanted.sql:
                    ids = [each async for each in sides.ids("missing")]
                    rows = await run_sql(postgres, self._secrets, wanted.database, wanted.sql, ids)
                    text += f"; {rows} rows changed by the statement"
                return text

        await self._step("reconcile", compare)
        return found[0] if found else None

    async def _looked_at(self) -> str:
        """What is wrong with the application, '' when it is well or there is none."""
        if not self._request.api_url:
            return ""
        problem = await application.problem(self._request.api_url)
        self._tell("application", "Failed" if problem else "Done", problem or "the api says that all it rests on is up")
        return problem

    def _judged(self, checks: Sequence[Check], problem: str, reconciled: ReconcileReport | None) -> Result:
        unasked = [f"{check.name}: {check.detail}" for check in checks if check.ok is None]
        doubts = [*([problem] if problem else []), *unasked]
        self._warnings += doubts
        reason = UNVERIFIED if problem else "Restored"
        return self._end(reason, "; ".join(doubts)[:SUMMARY], reconciled=reconciled)

    # The way back, and the end

    async def rolled_back(self, manifest: Manifest) -> Result:
        """Names lead to what they led to before. Qdrant first: the reverse of the way there."""
        parts, lines = parts_of(self._request, manifest), list[str]()
        if parts.qdrant is not None:
            from .qdrant.switch import rollback as in_qdrant

            searched = parts.qdrant[1]

            async def back() -> str:
                return "; ".join(await in_qdrant(searched, self._id, self._secrets))

            lines.append(await self._step("qdrant/rollback", back, "RolledBack"))
        if parts.postgres is not None:
            from .postgres.restore import rollback as in_postgres

            _, request, wanted = parts.postgres
            for facts in wanted:
                work = lambda name=facts.name: in_postgres(request, self._secrets, name, self._id)  # noqa: E731
                lines.append(await self._step(f"postgres/{facts.name}/rollback", work, "RolledBack"))
        self._warnings += await self._leftovers.clean()
        return self._end("RolledBack", "; ".join(lines)[:SUMMARY])

    async def dropped(self, manifest: Manifest) -> Result:
        """What was kept for the way back is removed."""
        parts, lines = parts_of(self._request, manifest), list[str]()
        if parts.postgres is not None:
            from .postgres.restore import drop_previous as in_postgres

            _, request, wanted = parts.postgres
            for facts in wanted:
                work = lambda name=facts.name: in_postgres(request, self._secrets, name, self._id)  # noqa: E731
                lines.append(await self._step(f"postgres/{facts.name}/drop", work))
        if parts.qdrant is not None:
            from .qdrant.switch import drop_previous as in_qdrant

            searched = parts.qdrant[1]

            async def drop() -> str:
                return "; ".join(await in_qdrant(searched, self._id, self._secrets))

            lines.append(await self._step("qdrant/drop", drop))
        self._warnings += await self._leftovers.clean()
        await self._leftovers.forget()
        return self._end("PreviousDropped", "; ".join(lines)[:SUMMARY])

    # A throwaway copy

    async def thrown_away(self, manifest: Manifest) -> Result:
        """Servers in this pod, the same comparisons as a check of the set, and time to look at the result."""
        from ..domain.backups.manifest import VerifyLevel
        from ..domain.backups.request import VerifyRequest
        from .verify import verify

        request = self._request
        level = VerifyLevel.ASSERTIONS if request.assertions else VerifyLevel.RESTORE
        asked = VerifyRequest(
            source=request.source,
            destination=request.destination,
            secrets_dir=request.secrets_dir,
            scratch_dir=request.scratch_dir,
            volume_dir=request.volume_dir,
            attempt_id=request.attempt_id,
            set_id=request.set_id,
            level=level,
            manifest_sha256=request.manifest_sha256,
            assertions=request.assertions,
        )
        result = await verify(asked, self._report)
        return result.model_copy(update={"reason": "Restored" if result.ok else result.reason, "retry": False})

    # Telling

    async def _step(self, name: str, work: Callable[[], Awaitable[str]], done: State = "Done") -> str:
        self._tell(name, "Running", "")
        try:
            text = await work()
        except MoverError as problem:
            self._tell(name, "Failed", problem.message)
            raise
        except asyncio.CancelledError:
            raise
        self._tell(name, done, text)
        return text

    def _tell(self, name: str, state: State, summary: str) -> None:
        self._say(RestoreStepReport(name=name, state=state, summary=summary[:SUMMARY]))

    def _end(self, reason: str, message: str = "", **more: Any) -> Result:
        return Result(ok=True, reason=reason, message=message, at=now(), warnings=self._warnings, **more)


def _told(checks: Sequence[Check]) -> str:
    wrong = next((check for check in checks if check.ok is False), None)
    if wrong is not None:
        return f"{wrong.name}: {wrong.detail}"[:SUMMARY]
    return f"{sum(check.ok is True for check in checks)} of {len(checks)} checks passed"
