"""All collections of one server, and their aliases."""

import json
import pathlib
import shutil
import threading

from qdrant_double import config
from qdrant_double.collection import Collection, Json
from qdrant_double.errors import ConflictError, WrongInputError, missing_collection

_FORBIDDEN = set('<>:"/\\|?*\0\x1f')


class Store:
    """The folder that the server owns."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Open everything that `folder` holds."""
        self._folder = folder / "collections"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._alias_file = folder / "aliases.json"
        self._lock = threading.RLock()
        self.aliases: dict[str, str] = json.loads(self._alias_file.read_text()) if self._alias_file.exists() else {}
        complete = [path for path in sorted(self._folder.iterdir()) if (path / "config.json").exists()]
        self._collections = {path.name: Collection(path.name, path) for path in complete}

    def names(self) -> list[str]:
        """Every collection."""
        return sorted(self._collections)

    def all(self) -> list[Collection]:
        """Every open collection."""
        return list(self._collections.values())

    def get(self, name: str) -> Collection:
        """A collection by its name or an alias."""
        found = self._collections.get(self.aliases.get(name, name))
        if found is None:
            raise missing_collection(name)
        return found

    def create(self, name: str, body: Json) -> None:
        """Make a new collection."""
        settings = config.created(body)
        with self._lock:
            if name in self._collections or name in self.aliases:
                raise ConflictError(f"Wrong input: Collection `{name}` already exists!")
            self._collections[name] = Collection.create(name, self.folder_for(name), settings)

    def drop(self, name: str) -> bool:
        """Remove a collection and the aliases that point to it; False when it is not there."""
        with self._lock:
            collection = self._collections.pop(name, None)
            if collection is None:
                return False
            self._save_aliases({alias: target for alias, target in self.aliases.items() if target != name})
            collection.drop()
            return True

    def replace(self, name: str, prepared: pathlib.Path) -> None:
        """Put the collection in `prepared` in the place of `name`."""
        with self._lock:
            old = self._collections.pop(name, None)
            if old is not None:
                old.drop()
            shutil.move(prepared, self.folder_for(name))
            self._collections[name] = Collection(name, self.folder_for(name))

    def change_aliases(self, actions: list[Json]) -> None:
        """Apply all actions or none."""
        changed = dict(self.aliases)
        for action in actions:
            self._apply(changed, action)
        with self._lock:
            self._save_aliases(changed)

    def _apply(self, aliases: dict[str, str], action: Json) -> None:
        if create := action.get("create_alias"):
            self.get(create["collection_name"])
            if create["alias_name"] in self._collections:
                raise ConflictError(f"Wrong input: Collection `{create['alias_name']}` already exists!")
            aliases[create["alias_name"]] = create["collection_name"]
        elif delete := action.get("delete_alias"):
            aliases.pop(delete["alias_name"], None)
        elif rename := action.get("rename_alias"):
            aliases[rename["new_alias_name"]] = aliases.pop(rename["old_alias_name"])
        else:
            raise WrongInputError(
                "Format error in JSON body: data did not match any variant of untagged enum AliasOperations"
            )

    def _save_aliases(self, aliases: dict[str, str]) -> None:
        temporary = self._alias_file.with_suffix(".new")
        temporary.write_text(json.dumps(aliases))
        temporary.rename(self._alias_file)
        self.aliases = aliases

    def folder_for(self, name: str) -> pathlib.Path:
        """Where a collection lives; names that could leave the folder are refused."""
        if not name or name in {".", ".."} or _FORBIDDEN & set(name):
            raise WrongInputError(
                f"Validation error in path parameters: collection name cannot contain {sorted(_FORBIDDEN)[:8]}"
            )
        return self._folder / name

    def close(self) -> None:
        """Write everything down."""
        for collection in self._collections.values():
            collection.close()
