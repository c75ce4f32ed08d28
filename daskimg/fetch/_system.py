"""What is asked of a place where objects are, and what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskimg.fetch._bodies import Room
    from daskimg.fetch._permissions import RefusedError

Content = bytes | bytearray | memoryview


class BeyondError(FileNotFoundError):
    """Nothing of the range asked for is there: the object ends before."""


class Listed(NamedTuple):
    """What a listing tells of an object.

    Attributes
    ----------
    location
        Where it is: a path or a URL.
    size
        Its bytes; ``None`` where that is not said.
    generation
        Which writing of this name it is, in the words of the storage; ``None`` where it has none.
    crc32c, md5
        In base64, where the storage tells them.
    """

    location: str
    size: int | None
    generation: str | None
    crc32c: str | None = None
    md5: str | None = None


class Page(NamedTuple):
    """A part of a listing.

    Attributes
    ----------
    objects
        By rising name; their locations are names below the folder that was asked for.
    token
        Where the next part begins; ``None`` if there is none.
    folders
        The names of folders, without what is in them, where that was left out.
    """

    objects: list[Listed]
    token: str | None
    folders: Sequence[str] = ()


class System(Protocol):
    """Where objects are: every request is repeated, and its time limited, in here.

    All raise ``FileNotFoundError``, ``PermissionError`` and ``TransportError`` alike.
    """

    async def read(
        self,
        path: str,
        start: int | None,
        stop: int | None,
        limit: int | None,
        generation: str | None = None,
    ) -> bytes:
        """Return an object, or a part of it; a negative ``start`` counts from the end.

        With a ``generation`` it is that writing of the object, or none.
        """

    async def read_into(self, path: str, room: Room, *, checked: bool) -> memoryview:
        """Return an object, in memory that is given for it where that can be.

        Unless it is ``checked``, whoever asks finds out whether its bytes have arrived sound.
        """

    async def write(self, path: str, content: Content, *, create: bool) -> None:
        """Write an object whole; ``FileExistsError`` if it is there and was to be created."""

    async def find(self, path: str) -> Listed:
        """Return what a listing would tell of an object."""

    async def replace(self, path: str, content: Content, generation: str | None) -> None:
        """Write an object whole in the place of one writing of it, where that can be asked for.

        ``FileExistsError`` if another is there, or none.
        """

    async def copy(self, path: str, other: str, content: Content) -> None:
        """Write the object at ``path``, which holds ``content``, to another path, too."""

    async def size(self, path: str) -> int | None:
        """Return an object's bytes, or ``None`` if that cannot be said."""

    async def is_folder(self, path: str) -> bool:
        """Tell whether there is anything below a path."""

    async def page(self, folder: str, beginning: str, *, flat: bool, token: str | None) -> Page:
        """Return a part of a listing.

        Parameters
        ----------
        folder
            What the objects are below.
        beginning
            What their names begin with there.
        flat
            Leave out what is in folders within.
        token
            Where it begins; ``None`` for the first part.
        """

    async def facts(self, bucket: str) -> dict[str, Any]:
        """Return what a bucket says of itself."""

    async def refused(self, path: str, wanted: Sequence[str]) -> list[RefusedError]:
        """Return the refusals of those of some permissions that are not granted at a path."""

    async def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method of fsspec's file systems returns."""

    async def remove(self, path: str) -> None:
        """Delete an object, or all that is below a prefix; silent where there is nothing."""

    def address(self, path: str) -> str:
        """Return the URL of a path."""
