"""What holds for a bucket, whatever protocol it speaks."""

import pytest

from daskimg import fetch
from daskimg.errors import SampleError


def check_objects(bucket):
    """Objects go in and out, and are listed, below a folder of an empty bucket."""
    folder = fetch.open_folder(f"{bucket}/in")

    assert (folder.names(), folder.sizes(), folder.size("a")) == ([], {}, None)
    assert folder.create("a", b"1")
    assert not folder.create("a", b"2")
    folder.put("b/c", b"123456")
    assert folder.sizes() == {"a": 1, "b/c": 6}
    assert folder.names() == ["a", "b"]
    assert fetch.read(f"{bucket}/in/b/c", max_bytes=6) == b"123456"
    assert fetch.read_part(f"{bucket}/in/b/c", 1, 3) == b"23"
    assert fetch.read_part(f"{bucket}/in/b/c", -2) == b"56"
    with pytest.raises(SampleError, match="missing"):
        fetch.read(f"{bucket}/in/none")
    folder.remove("b")
    assert folder.sizes() == {"a": 1}


def check_replacement(bucket, content):
    """Only the writing of an object that was looked at is replaced."""
    folder = fetch.open_folder(bucket)
    folder.put("a", b"1")
    looks = []

    def overtaken():
        looks.append(folder.read("a"))
        if len(looks) == 1:
            folder.put("a", b"3")

    folder.put_once("a", b"1", lambda: pytest.fail("it is there already"))
    folder.put_once("a", content, overtaken)

    same = folder.read("a") == content  # nobody wants to see how 100 MiB differ
    assert looks == [b"1", b"3"]
    assert same
