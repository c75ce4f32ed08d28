"""The recipe: from a picture's bytes to its samples, one step after the other."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tomli_w

from daskimg.decode import Picture, Source, decode, decode_by_windows, decoder_versions
from daskimg.errors import OptionError, PlanError, SampleError, TransformError
from daskimg.options import DecodeOptions, given
from daskimg.recipe._plain import made, named, plain, refuse_unknown, steps_from, table
from daskimg.recipe._steps import (
    NAMED,
    TARGETS,
    address,
    flattened,
    imported,
    short_name,
    source_hash,
)
from daskimg.recipe._told import line, page
from daskimg.targets import Keypoints, MaskFile
from daskimg.transforms import Sample, Spec, Transform, resolve_chain, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from daskimg.transforms import Target

    Decoder = Callable[[bytes], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """Who a picture is: its row in the manifest, and its path for messages.

    Attributes
    ----------
    number, path
        The row, from 0, and the cell of its path column.
    cells
        Its cells in the columns that the recipe reads.
    files
        The files that those cells name, of columns that hold pictures: masks.
    """

    number: int
    path: str
    cells: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


class Stage(NamedTuple):
    """What a picture has become after a step: the step's name, and the samples."""

    name: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, repr=False)
class Recipe:
    """A picture's way from bytes to samples.

    Attributes
    ----------
    transforms
        The steps, in order; see ``daskimg.transforms``.
    decode
        What the decoder is to give.
    decoder
        A function bytes -> (height, width, channel) array of the user's own, in place of
        Pillow. It lives in a module, so that workers and ``verify`` can import it.
    seed
        Key of all randomness.
    targets
        What goes with each picture, from columns of the manifest; see ``daskimg.targets``.
    splits
        Other steps for the splits named: pairs, or a mapping, of name and transforms.
    """

    transforms: tuple[Transform, ...]
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    decoder: Decoder | None = None
    seed: int = 0
    targets: tuple[Keypoints | MaskFile, ...] = ()
    splits: tuple[tuple[str, tuple[Transform, ...]], ...] = ()

    def __post_init__(self) -> None:
        """Freeze lists of transforms, and refuse what is none."""
        steps: object = self.transforms
        if not isinstance(steps, Iterable) or isinstance(steps, str):
            raise OptionError(
                f"transforms must be a list, got {given(steps)}; try Recipe([Resize(224, 224)])"
            )
        if self.decoder is not None and not callable(self.decoder):
            raise OptionError(
                f"decoder must be a function of bytes, got {given(self.decoder)}; leave it out "
                "for Pillow's"
            )
        object.__setattr__(self, "transforms", tuple(self.transforms))
        object.__setattr__(self, "targets", tuple(self.targets))
        splits = tuple((name, tuple(steps)) for name, steps in dict(self.splits).items())
        object.__setattr__(self, "splits", splits)
        for step in self._all_steps():
            if isinstance(step, type) or not isinstance(step, Transform):
                raise OptionError(
                    f"{step!r} is not a transform: it needs resolve(spec) and __call__(sample)"
                )
        seed: object = self.seed  # TOML may hold anything
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise OptionError(f"seed must be a whole number of 0 to 2**64 - 1, got {self.seed!r}")

    def of(self, split: str) -> Recipe:
        """Return the recipe of one split."""
        return replace(self, transforms=dict(self.splits).get(split, self.transforms), splits=())

    def _all_steps(self) -> tuple[Transform, ...]:
        return (*self.transforms, *(step for _, steps in self.splits for step in steps))

    @property
    def by_size(self) -> bool:
        """Whether the number of samples depends on a picture's size or mode."""
        return any(getattr(step, "by_size", False) for step in self.transforms)

    @property
    def by_mode(self) -> bool:
        """Whether it depends on the mode too, which only the header tells."""
        return any(getattr(step, "by_mode", False) for step in self.transforms)

    @property
    def columns(self) -> tuple[str, ...]:
        """The manifest's columns that steps and targets read."""
        every = (*self.targets, *self._all_steps())
        names = (name for each in every for name in getattr(each, "columns", ()))
        return tuple(dict.fromkeys(names))

    @property
    def file_columns(self) -> tuple[str, ...]:
        """Those of them whose cells name files to be read."""
        return tuple(each.column for each in self.targets if isinstance(each, MaskFile))

    def outputs(self) -> tuple[Spec, ...]:
        """Return the spec of each sample that a row becomes; one, if their number varies.

        Raises
        ------
        PlanError
            If samples would differ in shape, or their size would depend on the picture's.
        """
        specs = resolve_chain(self.transforms, self.start())
        for spec in specs:
            if spec.height is None or spec.width is None:
                raise PlanError(
                    "samples would not be of one size; end the recipe with resize, center-crop "
                    "or fit"
                )
            if spec != specs[0]:
                raise PlanError(f"samples of one row would differ: {specs[0]} and {spec}")
        if not specs:
            raise PlanError("the recipe makes no sample of any row")
        return tuple(specs[:1] if self.by_size else specs)

    def count(self, height: int, width: int, mode: str | None) -> int:
        """Return how many samples a picture of a size and mode becomes."""
        return len(resolve_chain(self.transforms, self.start(height, width, mode)))

    def start(
        self, height: int | None = None, width: int | None = None, mode: str | None = None
    ) -> Spec:
        """Return what the first step is given, of a picture of any size or of this one."""
        targets = tuple(spec for each in self.targets for spec in each.specs())
        return Spec(height, width, self.decode.channels, self.decode.dtype, targets, mode)

    @cached_property
    def _settled(self) -> int:
        """The number of steps after which each sample is one output, and stays one."""
        specs = [self.start()]
        settled = 0
        for number, step in enumerate(self.transforms, 1):
            made = [resolved(step, spec) for spec in specs]
            if getattr(step, "by_size", False) or any(len(each) != 1 for each in made):
                settled = number
            specs = [spec for each in made for spec in each]
        return settled

    def apply(
        self, content: bytes, row: Row, parts: range | None = None
    ) -> tuple[list[Sample], Source]:
        """Return the finished samples of one picture, and what its file held.

        Parameters
        ----------
        content
            The file.
        row
            Whose it is.
        parts
            Only these of the row's samples; by default all.

        Raises
        ------
        SampleError
            If the file, or a target of the row, is at fault.
        TransformError
            If a transform or the custom decoder raised: the row is named, and the run stops.
        """
        image, source = self.decoded(content, row)
        made: list[Sample] = []
        for sample in self.samples(self.started(image, source, row), row, parts):
            if isinstance(sample, SampleError):
                raise sample
            made.append(sample)
        return made, source

    def samples(
        self, start: Sample, row: Row, parts: range | None = None
    ) -> list[Sample | SampleError]:
        """Return the finished samples of a picture with its targets; see ``started``.

        Once their number is settled, each has its own faults: which others are made with it
        depends on the shard.
        """
        samples = [start]
        for number in range(self._settled):
            samples = self._stepped(number, samples, row, renumber=True)
        return [made for sample in _chosen(samples, parts) for made in self._finished(sample, row)]

    def _finished(self, sample: Sample, row: Row) -> list[Sample] | list[SampleError]:
        samples = [sample]
        try:
            for number in range(self._settled, len(self.transforms)):
                samples = self._stepped(number, samples, row, renumber=False)
        except SampleError as error:
            return [error]
        return samples

    def stages(self, content: bytes, row: Row) -> list[Stage]:
        """Return every intermediate state of one picture, to be looked at.

        Raises
        ------
        SampleError, TransformError
            As ``apply``; the error names the stage.
        """
        return list(self._staged(content, row))

    def _staged(self, content: bytes, row: Row) -> Iterator[Stage]:
        with _placed("decode", row):
            samples = [self.started(*self.decoded(content, row), row)]
        yield Stage("decode", tuple(samples))
        for number, step in enumerate(self.transforms):
            with _placed(f"{short_name(step)} ({self._place(number)})", row):
                samples = self._stepped(number, samples, row, renumber=number < self._settled)
            yield Stage(short_name(step), tuple(samples))

    def _place(self, number: int) -> str:
        return f"step {number + 1} of {len(self.transforms)}"

    def started(self, image: Picture, source: Source, row: Row) -> Sample:
        """Return a decoded picture with its row's targets, as the first step is given it.

        Raises
        ------
        SampleError
            If a target cannot be used.
        """
        targets: dict[str, Target] = {}
        for each in self.targets:
            if isinstance(each, MaskFile):
                targets |= self._mask(each, source, row)
            else:
                targets |= each.read(row.cells)
        first = Sample(image, targets=targets, seed=self.seed, row=row.number)
        first.cells, first.mode = row.cells, source.mode
        return first

    def _mask(self, mask: MaskFile, source: Source, row: Row) -> dict[str, Target]:
        size, limit = (source.height, source.width), self.decode.max_pixels
        try:
            return mask.read(row.files[mask.column], *size, limit)
        except SampleError as error:
            raise SampleError("target", f"{mask.column}: {error.message}") from error

    def _stepped(
        self, number: int, samples: list[Sample], row: Row, *, renumber: bool
    ) -> list[Sample]:
        step = self.transforms[number]
        try:
            made = [each for sample in samples for each in step(sample)]
        except SampleError:
            raise  # the step found the row's own fault
        except Exception as error:
            raise _bug(step, row, error, self._place(number)) from error
        if renumber:
            for part, sample in enumerate(made):
                sample.part = part
        return made

    def decoded(self, content: bytes, row: Row) -> tuple[Picture, Source]:
        """Return a file's picture, and what the file held."""
        if self.decoder is None:
            return self._decoded(content)
        try:
            array = np.asarray(self.decoder(content))
            picture = Picture.from_array(array)
        except Exception as error:
            raise _bug(self.decoder, row, error, "the decoder") from error
        if (picture.channels, picture.dtype) != (self.decode.channels, self.decode.dtype):
            wanted = f"{self.decode.channels} channels of {self.decode.dtype}"
            given = ValueError(f"gave {array.shape} of {array.dtype}, not {wanted}")
            raise _bug(self.decoder, row, given, "the decoder")
        return picture, Source(picture.width, picture.height, "custom", reduced=False)

    def _decoded(self, content: bytes) -> tuple[Picture, Source]:
        least = getattr(self.transforms[0], "least", None) if self.transforms else None
        try:
            return decode(content, self.decode, least)
        except SampleError as error:
            # A recipe of tiles needs no more than a tile of it at once.
            windows = decode_by_windows(content, self.decode) if self.by_size else None
            if error.reason != "pixels" or windows is None:
                raise
            return windows

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, as it stands in TOML and in the store."""
        found: dict[str, Any] = {"seed": self.seed, "decode": plain(self.decode)}
        if self.decoder is not None:
            found["decoder"] = address(self.decoder)
        if self.targets:
            found["target"] = [named(each) for each in self.targets]
        found["transform"] = [named(step) for step in self.transforms]
        if self.splits:
            found["split"] = {
                name: {"transform": [named(step) for step in steps]} for name, steps in self.splits
            }
        return found

    def __repr__(self) -> str:
        return line(self)

    def _repr_html_(self) -> str:
        return page(self)

    def to_toml(self) -> str:
        """Return the recipe as TOML, as ``--recipe FILE.toml`` takes it."""
        return tomli_w.dumps(self.to_dict())

    def sources(self) -> dict[str, str]:
        """Return a hash of the source of each callable that is the user's own, by address."""
        known = {*NAMED.values(), *TARGETS.values()}
        every = (*flattened(self._all_steps()), *self.targets)
        own: list[Any] = [type(each) for each in every if type(each) not in known]
        if self.decoder is not None:
            own.append(self.decoder)
        return {address(thing): source_hash(thing) for thing in own}

    def versions(self) -> dict[str, str]:
        """Return the versions of what decodes: other versions may give other bits."""
        if self.decoder is None:
            return decoder_versions()
        return {"decoder": address(self.decoder)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Recipe:
        """Return the recipe that ``to_dict`` wrote, or that a TOML file holds.

        Raises
        ------
        OptionError
            Naming the key that is unknown or out of range.
        """
        known = ("seed", "decode", "decoder", "target", "transform", "split")
        refuse_unknown("recipe", given, known)
        return cls(
            steps_from(given, "transform"),
            made(DecodeOptions, "decode", table(given, "decode")),
            imported(str(given["decoder"])) if "decoder" in given else None,
            given.get("seed", 0),
            steps_from(given, "target"),
            tuple(_split_from(given, name) for name in table(given, "split")),
        )

    def changed(self, **decode: Any) -> Recipe:
        """Return the recipe with other decode options."""
        return replace(self, decode=replace(self.decode, **decode)) if decode else self


def _split_from(given: Mapping[str, Any], name: str) -> tuple[str, tuple[Transform, ...]]:
    own = table(table(given, "split"), name)
    refuse_unknown(f"split.{name}", own, ("transform",))
    return name, steps_from(own, "transform")


def _chosen(samples: list[Sample], parts: range | None) -> list[Sample]:
    return samples if parts is None else samples[parts.start : parts.stop]


@contextmanager
def _placed(stage: str, row: Row) -> Iterator[None]:
    """Have what is wrong with a row say at which stage it was found."""
    try:
        yield
    except SampleError as error:
        place = f"at {stage} of row {row.number} ({row.path})"
        raise SampleError(error.reason, f"{error.message}; {place}") from error


def _bug(step: Any, row: Row, error: Exception, place: str) -> TransformError:
    called = getattr(step, "__name__", type(step).__name__)
    said = f"{type(error).__name__}: {error}"
    said = ", ".join([said, *getattr(error, "__notes__", ())])  # where in its branches it was
    return TransformError(f"{called} ({place})", row.number, row.path, said)
