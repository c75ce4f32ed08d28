"""What is done to a picture: an ordered tuple of transforms, as pure data.

A recipe is hashable, goes to and from TOML, and is checked end to end before a byte is read.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tomli_w

from daskimg.decode import Picture, Source, decode, decode_by_windows, decoder_versions
from daskimg.errors import OptionError, PlanError, SampleError, TransformError
from daskimg.options import DecodeOptions
from daskimg.targets import Keypoints, MaskFile
from daskimg.transforms import (
    Autocontrast,
    CenterCrop,
    Choose,
    Concatenate,
    Equalize,
    Fit,
    Flip,
    Grayscale,
    Heatmaps,
    MinSize,
    Mirror,
    Modes,
    NoiseFit,
    NoiseFrames,
    PersonCrop,
    PhotometricJitter,
    RandomCrop,
    RandomMirror,
    Resize,
    Rotate,
    Sample,
    Spec,
    SquareCrop,
    Tiles,
    Transform,
    resolve_chain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from daskimg.transforms import Target

    Decoder = Callable[[bytes], NDArray[Any]]

NAMED: dict[str, type[Any]] = {
    "resize": Resize,
    "center-crop": CenterCrop,
    "fit": Fit,
    "tiles": Tiles,
    "noise-frames": NoiseFrames,
    "noise-fit": NoiseFit,
    "min-size": MinSize,
    "modes": Modes,
    "grayscale": Grayscale,
    "autocontrast": Autocontrast,
    "equalize": Equalize,
    "square-crop": SquareCrop,
    "mirror": Mirror,
    "flip": Flip,
    "rotate": Rotate,
    "random-crop": RandomCrop,
    "random-mirror": RandomMirror,
    "photometric-jitter": PhotometricJitter,
    "concatenate": Concatenate,
    "choose": Choose,
    "person-crop": PersonCrop,
    "heatmaps": Heatmaps,
}
"""The transforms that TOML and the command line know by a short name."""

TARGETS: dict[str, type[Any]] = {"keypoints": Keypoints, "mask": MaskFile}
"""The targets that TOML knows by a short name."""


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


@dataclass(frozen=True)
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
        specs = resolve_chain(self.transforms, self._start(None, None, None))
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
        return len(resolve_chain(self.transforms, self._start(height, width, mode)))

    def _start(self, height: int | None, width: int | None, mode: str | None) -> Spec:
        targets = tuple(spec for each in self.targets for spec in each.specs())
        return Spec(height, width, self.decode.channels, self.decode.dtype, targets, mode)

    @cached_property
    def _settled(self) -> int:
        """The number of steps after which each sample is one output, and stays one."""
        specs = [self._start(None, None, None)]
        settled = 0
        for number, step in enumerate(self.transforms, 1):
            made = [step.resolve(spec) for spec in specs]
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
        for sample in self.samples(image, source, row, parts):
            if isinstance(sample, SampleError):
                raise sample
            made.append(sample)
        return made, source

    def samples(
        self, image: Picture, source: Source, row: Row, parts: range | None = None
    ) -> list[Sample | SampleError]:
        """Return the finished samples of a decoded picture; see ``apply``.

        Once their number is settled, each has its own faults: which others are made with it
        depends on the shard.
        """
        samples = self._started(image, source, row)
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
            samples = self._started(*self.decoded(content, row), row)
        yield Stage("decode", tuple(samples))
        for number, step in enumerate(self.transforms):
            with _placed(f"{short_name(step)} ({self._place(number)})", row):
                samples = self._stepped(number, samples, row, renumber=number < self._settled)
            yield Stage(short_name(step), tuple(samples))

    def _place(self, number: int) -> str:
        return f"step {number + 1} of {len(self.transforms)}"

    def _started(self, image: Picture, source: Source, row: Row) -> list[Sample]:
        targets: dict[str, Target] = {}
        for each in self.targets:
            if isinstance(each, MaskFile):
                size, limit = (source.height, source.width), self.decode.max_pixels
                targets |= each.read(row.files[each.column], *size, limit)
            else:
                targets |= each.read(row.cells)
        first = Sample(image, targets=targets, seed=self.seed, row=row.number)
        first.cells, first.mode = row.cells, source.mode
        return [first]

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
        found: dict[str, Any] = {"seed": self.seed, "decode": _plain(self.decode)}
        if self.decoder is not None:
            found["decoder"] = _address(self.decoder)
        if self.targets:
            found["target"] = [_named(each) for each in self.targets]
        found["transform"] = [_named(step) for step in self.transforms]
        if self.splits:
            found["split"] = {
                name: {"transform": [_named(step) for step in steps]}
                for name, steps in self.splits
            }
        return found

    def to_toml(self) -> str:
        """Return the recipe as TOML, as ``--recipe FILE.toml`` takes it."""
        return tomli_w.dumps(self.to_dict())

    def sources(self) -> dict[str, str]:
        """Return a hash of the source of each callable that is the user's own, by address."""
        known = {*NAMED.values(), *TARGETS.values()}
        every = (*_flattened(self._all_steps()), *self.targets)
        own: list[Any] = [type(each) for each in every if type(each) not in known]
        if self.decoder is not None:
            own.append(self.decoder)
        return {_address(thing): _source_hash(thing) for thing in own}

    def versions(self) -> dict[str, str]:
        """Return the versions of what decodes: other versions may give other bits."""
        if self.decoder is None:
            return decoder_versions()
        return {"decoder": _address(self.decoder)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Recipe:
        """Return the recipe that ``to_dict`` wrote, or that a TOML file holds.

        Raises
        ------
        OptionError
            Naming the key that is unknown or out of range.
        """
        known = ("seed", "decode", "decoder", "target", "transform", "split")
        _refuse_unknown("recipe", given, known)
        return cls(
            _steps_from(given, "transform"),
            _made(DecodeOptions, "decode", _table(given, "decode")),
            _imported(str(given["decoder"])) if "decoder" in given else None,
            given.get("seed", 0),
            _steps_from(given, "target"),
            tuple(
                (name, _steps_from(_table(_table(given, "split"), name), "transform"))
                for name in _table(given, "split")
            ),
        )

    def changed(self, **decode: Any) -> Recipe:
        """Return the recipe with other decode options."""
        return replace(self, decode=replace(self.decode, **decode)) if decode else self


def _table(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = given.get(name, {})
    if not isinstance(found, dict):
        raise OptionError(f"{name} must be a table, got {found!r}; write [{name}]")
    return found


def _steps_from(given: Mapping[str, Any], kind: str) -> tuple[Any, ...]:
    found = given.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(step, dict) for step in found):
        raise OptionError(f"{kind} must be a list of tables; write [[{kind}]]")
    return tuple(_step_from(step, kind) for step in found)


def step_class(name: str, kind: str = "transform") -> type[Any]:
    """Return a transform or target by its short name or by ``module:Class``, or refuse."""
    named = TARGETS if kind == "target" else NAMED
    if name in named:
        return named[name]
    if ":" in name:
        found = _imported(name)
        if isinstance(found, type):
            return found
    raise OptionError(
        f"no {kind} is called {name!r}; there are {', '.join(named)}, or module:Class"
    )


def _step_from(step: Mapping[str, Any], kind: str) -> Any:
    values = {name: _thawed(value, kind) for name, value in step.items()}
    if "name" not in values:
        raise OptionError(f"a {kind} needs a name, got {values}; try name = {next(iter(NAMED))!r}")
    name = str(values.pop("name"))
    return _made(step_class(name, kind), name, values)


def _thawed(value: Any, kind: str) -> Any:
    """Return a value of TOML as a field holds it: steps within steps, tuples for lists."""
    if isinstance(value, dict) and "name" in value:
        return _step_from(value, kind)
    return tuple(_thawed(each, kind) for each in value) if isinstance(value, list) else value


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


def _plain(options: Any) -> dict[str, Any]:
    """Return a dataclass's fields as TOML can hold them: no ``None``, lists for tuples."""
    if not is_dataclass(options):
        raise OptionError(f"{type(options).__name__} must be a frozen dataclass")
    values = {f.name: getattr(options, f.name) for f in fields(options)}
    return {name: _frozen(value) for name, value in values.items() if value is not None}


def _frozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_frozen(each) for each in value]
    return _named(value) if is_dataclass(value) else value


def _named(step: Any) -> dict[str, Any]:
    return {"name": short_name(step), **_plain(step)}


def _flattened(steps: Iterable[Any]) -> Iterator[Any]:
    """Yield steps, and those within them."""
    for step in steps:
        if isinstance(step, tuple):
            yield from _flattened(step)
        elif is_dataclass(step):
            yield step
            yield from _flattened(getattr(step, f.name) for f in fields(step))


def _made(kind: type[Any], name: str, values: Mapping[str, Any]) -> Any:
    _refuse_unknown(name, values, tuple(f.name for f in fields(kind)))
    frozen = {name: _thawed(value, "transform") for name, value in values.items()}
    try:
        return kind(**frozen)
    except TypeError as error:
        missing = [f.name for f in fields(kind) if f.name not in frozen]
        hint = f"; it also takes {', '.join(missing)}" if missing else f": {error}"
        raise OptionError(f"{name} cannot be made of {frozen}{hint}") from error


def _refuse_unknown(what: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise OptionError(f"{what} has no field {name!r}; it has {', '.join(known)}")


def short_name(step: Any) -> str:
    """Return what TOML calls a transform, a target or a decoder."""
    short = {kind: name for name, kind in (NAMED | TARGETS).items()}
    return short.get(type(step)) or _address(step)


def _address(thing: Any) -> str:
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}:{named.__qualname__}"


def _imported(address: str) -> Any:
    module, _, name = address.partition(":")
    try:
        found = sys.modules.get(module) or import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(f"cannot import {address!r}: {error}; write module:name") from None
    return found


def _source_hash(thing: Any) -> str:
    """Hash a callable's source, so that a store notices when its code has changed."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    try:
        return hashlib.sha256(inspect.getsource(named).encode()).hexdigest()
    except (OSError, TypeError):  # built into C, or typed at a prompt
        return "no source"
