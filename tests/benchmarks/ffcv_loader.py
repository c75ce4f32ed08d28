"""FFCV's loader on pictures of a plain file; run by an interpreter that has it, see reading.py.

For each line that comes in it reads shuffled epochs, and writes the seconds that took, and the
seconds of CPU; at the first line it makes, and compiles, its loader.
"""

import sys
import time
from pathlib import Path

import numpy as np


def main(place, plain, count, side, threads, epochs, batch):
    """Write the pictures as FFCV's file, unless it is there, and serve."""
    # Here: no test that only looks at this file needs them.
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.writer import DatasetWriter

    pictures = np.memmap(plain, np.uint8, "r").reshape(count, side, side, 3)

    class Pictures:
        def __len__(self):
            return count

        def __getitem__(self, index):
            return np.array(pictures[index]), index

    if not Path(place).exists():
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        DatasetWriter(place, fields, num_workers=threads).from_indexed_dataset(Pictures())
    loader = None
    for _ in sys.stdin:
        began, spent = time.perf_counter(), time.process_time()
        loader = loader or Loader(
            place,
            batch_size=batch,
            num_workers=threads,
            order=OrderOption.RANDOM,
            os_cache=True,
            pipelines={"image": [SimpleRGBImageDecoder()], "label": None},
        )
        for _ in range(epochs):
            for _ in loader:
                pass
        sys.stdout.write(f"{time.perf_counter() - began} {time.process_time() - spent}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
