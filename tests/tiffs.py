"""TIFFs of tiles, which Pillow reads but does not write."""

import struct
from io import BytesIO

import numpy as np
from PIL import Image


def saved(image, **options):
    file = BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


def tiled(image, tall, wide, compression="raw"):
    """A tiled TIFF, which Pillow reads but does not write: Pillow compresses each tile."""
    tiles, tags = [], {}
    for top in range(0, image.height, tall):
        for left in range(0, image.width, wide):
            content = saved(
                image.crop((left, top, left + wide, top + tall)), compression=compression
            )
            tags = Image.open(BytesIO(content)).tag_v2
            (start,), (count,) = tags[273], tags[279]  # one strip
            tiles.append(content[start : start + count])
    kept = {tag: tags[tag] for tag in (258, 259, 262, 277, 284, 317, 320, 338, 530) if tag in tags}
    return assembled(image.height, image.width, tall, wide, kept, tiles, tags.get(347, b""))


def assembled(height, width, tall, wide, tags, tiles, tables=b""):
    """A TIFF of these tiles."""
    places = np.cumsum([8, *map(len, tiles)])
    fields = {tag: numbers("H", value) for tag, value in tags.items()}
    fields |= {256: numbers("I", width), 257: numbers("I", height)}
    fields |= {322: numbers("I", wide), 323: numbers("I", tall)}
    fields |= {324: numbers("I", tuple(places[:-1])), 325: numbers("I", tuple(map(len, tiles)))}
    if tables:
        fields[347] = 7, len(tables), tables
    at = int(places[-1])
    directory, rest = struct.pack("<H", len(fields)), b""
    for tag, (kind, count, value) in sorted(fields.items()):
        if len(value) > 4:
            place = struct.pack("<I", at + 2 + 12 * len(fields) + 4 + len(rest))
            rest, value = rest + value, place
        directory += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    header = b"II" + struct.pack("<HI", 42, at)
    return header + b"".join(tiles) + directory + bytes(4) + rest


def numbers(letter, value):
    values = value if isinstance(value, tuple) else (value,)
    return {"H": 3, "I": 4}[letter], len(values), struct.pack(f"<{len(values)}{letter}", *values)
