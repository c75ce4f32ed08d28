"""FFCV's loader on pictures of a plain file; run by an interpreter that has it, see reading.py.

For each line that comes in it reads shuffled epochs, by a loader that is there, or by a new one
if the line is ``anew``, and writes the seconds that took, and the seconds of CPU.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main(plain, count, side, threads, epochs, batch):
    """Write the pictures as FFCV's file, and serve."""
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

    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "a.beton")
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        DatasetWriter(place, fields, num_workers=threads).from_indexed_dataset(Pictures())

        def open_anew():
            return Loader(
                place,
                batch_size=batch,
                num_workers=threads,
                order=OrderOption.RANDOM,
                os_cache=True,
                pipelines={"image": [SimpleRGBImageDecoder()], "label": None},
            )

        loader = open_anew()
        for line in sys.stdin:
            began, spent = time.perf_counter(), time.process_time()
            if line.strip() == "anew":
                loader = open_anew()
            for _ in range(epochs):
                for _ in loader:
                    pass
            took = time.perf_counter() - began, time.process_time() - spent
            sys.stdout.write("{} {}\n".format(*took))
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
