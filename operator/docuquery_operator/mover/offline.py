"""`docuquery-restore`: sets without Kubernetes. It lists, checks and unpacks them, and says how to go on.

    docuquery-restore list --from FOLDER                      or s3://BUCKET/PREFIX/STACK, gs://…, az://ACCOUNT/CONTAINER/…
    docuquery-restore check SET --from FOLDER [--identity key.txt]     SET may be latest, best with --job NAME
    docuquery-restore unpack SET --from FOLDER --to DIR [--identity key.txt] [--only postgres/]

FOLDER holds catalogue/ and sets/. Credentials come from the environment as each cloud's own tools take them, such as
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from --secrets, a folder with the files of the store's Secret.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..api.backup_job import Destination
from ..domain.backups.layout import Layout
from ..domain.backups.manifest import CatalogueEntry, Manifest, ObjectEntry
from . import restore_text
from .chunks import closing
from .contracts import MoverError, silent
from .leaving import leave
from .objects import SetReader, is_name
from .sets import Place, entry_of, manifest_of, parsed_entry
from .store import open_store, prefix_of

SCHEMES = "s3://BUCKET/PREFIX/STACK, gs://BUCKET/PREFIX/STACK or az://ACCOUNT/CONTAINER/PREFIX/STACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a set is damaged or the work failed."""
    options = _parser().parse_args(arguments)
    try:
        place = _place(options)
        return asyncio.run(_run(place, options))
    except MoverError as error:
        print(f"error: {error.message}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.strerror}: {error.filename}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="docuquery-restore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--from", dest="source", required=True, metavar="PLACE", help=f"a folder, {SCHEMES}")
    common.add_argument("--endpoint", help="address of a store that speaks S3")
    common.add_argument("--job", default="", metavar="NAME", help="only sets of this BackupJob, for list and latest")
    common.add_argument("--region", help="region of the bucket")
    common.add_argument("--secrets", type=Path, metavar="DIR", help="files such as accessKeyId and secretAccessKey")
    of_set = argparse.ArgumentParser(add_help=False, parents=[common])
    of_set.add_argument("set", help="name of a set, as list prints it; latest: the newest that is Complete")
    of_set.add_argument("--identity", type=Path, metavar="FILE", help="private key of age, for encrypted objects")
    commands.add_parser("list", parents=[common], help="the sets of a Stack, oldest first")
    commands.add_parser("check", parents=[of_set], help="read every byte and compare it with the manifest")
    unpack = commands.add_parser("unpack", parents=[of_set], help="decrypt and decompress the objects into a folder")
    unpack.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    unpack.add_argument("--only", default="", metavar="PREFIX", help="only objects whose names begin so")
    return parser


def _place(options: argparse.Namespace) -> Place:
    scheme, separator, rest = options.source.partition("://")
    parts = [part for part in rest.split("/") if part]
    if not separator:
        return _folder(Path(options.source))
    least = 3 if scheme == "az" else 2
    if scheme not in ("s3", "gs", "az") or len(parts) < least:
        raise MoverError("BadPlace", f"{options.source!r}: write a folder, {SCHEMES}", retry=False)
    secret = {"secretRef": {"secretName": "none"}} if options.secrets else {}
    prefix = "/".join(parts[least - 1 : -1])
    if scheme == "s3":
        s3 = {"bucket": parts[0], "prefix": prefix, "endpoint": options.endpoint, "region": options.region, **secret}
        destination = {"s3": {name: value for name, value in s3.items() if value is not None}}
    elif scheme == "gs":
        destination = {"gcs": {"bucket": parts[0], "prefix": prefix, **secret}}
    else:
        destination = {"azure": {"account": parts[0], "container": parts[1], "prefix": prefix, **secret}}
    wanted = Destination.model_validate(destination)
    store = open_store(wanted, options.secrets or Path("/nonexistent"), Path("/nonexistent"))
    return Place(store, Layout(prefix_of(wanted), parts[-1]), Path("/nonexistent"))


def _folder(folder: Path) -> Place:
    folder = folder.resolve()
    if not (folder / "catalogue").is_dir():
        near = sorted(str(p.parent) for p in folder.glob("*/catalogue")) + sorted(
            str(p.parent) for p in folder.glob("*/*/catalogue")
        )
        hint = f"; perhaps {near[0]}" if near else ""
        raise MoverError("BadPlace", f"{folder} has no folder catalogue{hint}", retry=False)
    volume = Destination.model_validate({"volume": {"claimName": "none"}})
    return Place(open_store(volume, folder, folder.parent), Layout("", folder.name), folder)


async def _run(place: Place, options: argparse.Namespace) -> int:
    if options.command == "list":
        return await _list(place, options.job)
    entry = await _entry(place, options.set, options.job)
    manifest = await manifest_of(place, entry)
    reader = SetReader(place.store, place.layout, entry.set_id, options.identity, silent)
    if options.command == "check":
        return await _check(manifest, reader, options.identity is not None)
    return await _unpack(manifest, reader, options.to, options.only)


async def _entries(place: Place, job: str) -> list[CatalogueEntry]:
    prefix = place.layout.catalogue()
    found = []
    async for stored in place.store.list(prefix):
        set_id = stored.key.removeprefix(prefix).removesuffix(".json")
        try:
            entry = parsed_entry(await place.store.get(stored.key) or b"", set_id)
        except MoverError as error:
            print(f"warning: {error.message}", file=sys.stderr)
            continue
        if entry is not None and job in ("", entry.source.backup_job):
            found.append(entry)
    return sorted(found, key=lambda e: e.set_id)


async def _list(place: Place, job: str) -> int:
    entries = await _entries(place, job)
    for entry in entries:
        print(f"{restore_text.row(entry)}  {entry.source.namespace}/{entry.source.backup_job}")
    if not entries:
        of = f" of BackupJob {job}; leave --job out to see those of all" if job else ""
        print(f"no sets in {place.store.where}/{place.layout.root}{of}", file=sys.stderr)
    return 0


async def _entry(place: Place, name: str, job: str) -> CatalogueEntry:
    if name != "latest":
        return await entry_of(place, name)
    complete = [e for e in await _entries(place, job) if e.state == "Complete"]
    if not complete:
        raise MoverError("SetMissing", "there is no set that is Complete; name one of list", retry=False)
    return complete[-1]


async def _check(manifest: Manifest, reader: SetReader, opened: bool) -> int:
    """Stored bytes always; with a key, or in clear, also what comes out of them."""
    bad = 0
    for entry in manifest.objects:
        try:
            if entry.recipients and not opened:
                await reader.check_stored(entry)
                print(f"stored bytes are right   {entry.name}   (not opened: no --identity)")
                continue
            async for _chunk in reader.read(entry):
                pass
            print(f"right                    {entry.name}   {entry.plain_bytes} bytes")
        except MoverError as error:
            bad += 1
            print(f"{error.reason:24} {error.message}")
    print(f"{manifest.set_id}: {len(manifest.objects) - bad} of {len(manifest.objects)} objects are right")
    return 1 if bad else 0


async def _unpack(manifest: Manifest, reader: SetReader, folder: Path, only: str) -> int:
    _make_empty(folder)
    wanted = [entry for entry in manifest.objects if entry.name.startswith(only)]
    for entry in wanted:
        await _one(reader, entry, folder / entry.name)
        print(f"{entry.name}   {entry.plain_bytes} bytes")
    (folder / "manifest.json").write_bytes(manifest.to_json())
    print(f"\n{len(wanted)} objects of {manifest.set_id} are in {folder}, each compared with the manifest. Go on with:\n")
    print("\n".join(restore_text.commands(restore_text.narrowed(manifest, {entry.name for entry in wanted}), str(folder))))
    return 0


def _make_empty(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise MoverError("NotEmpty", f"{folder} is not empty; name a new folder", retry=False)


async def _one(reader: SetReader, entry: ObjectEntry, path: Path) -> None:
    """Under its own name only when it is whole; readable for nobody else."""
    if not is_name(entry.name):
        raise MoverError("Damaged", f"{entry.name!r} is no name of an object; the manifest was made by somebody else")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            async with closing(reader.read(entry)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.rename(path)


def command() -> None:
    """As it is installed."""
    leave(main())


if __name__ == "__main__":
    command()
