"""The only door to fsspec: where things are, how they are read, how objects are put.

Local paths never pass through fsspec: ``#``, ``%``, ``::`` and spaces are ordinary
characters in a file name, and a local read costs microseconds.

Remote reads and writes have time-outs, are tried again in one place, and are checked against
the lengths and hashes that servers give. What others say of an address is shown without its
query and without whose it is.
"""

from daskimg.fetch._access import READING, STORE, access_error, bucket_of, check_access
from daskimg.fetch._ahead import Found, find_ahead, in_order, read_ahead
from daskimg.fetch._buckets import Bucket, find_bucket, own_zone
from daskimg.fetch._found import expand, is_folder
from daskimg.fetch._listing import list_below, list_matches
from daskimg.fetch._objects import Folder, open_folder, put_copy
from daskimg.fetch._options import (
    Options,
    configure,
    configured,
    lend,
    lenders,
    parse_storage,
    read_environment,
    take_back,
    using,
)
from daskimg.fetch._outages import note_outage
from daskimg.fetch._owners import OWN, acting_for, threads
from daskimg.fetch._paths import is_remote, is_url, join, local_path, name_of, pinned, refuse_slip
from daskimg.fetch._rate import Answers, Limiter, Part, limiter
from daskimg.fetch._secrets import MAY_HOLD, public
from daskimg.fetch._shown import scrubbed, scrubbing, shown
from daskimg.fetch._sources import (
    begin_read,
    limited,
    open_input,
    read,
    read_part,
    under_extensions,
)
from daskimg.fetch._system import Content, Listed
from daskimg.fetch._systems import storage_options
from daskimg.fetch._traffic import Kind, Traffic, traffic

__all__ = [
    "MAY_HOLD",
    "OWN",
    "READING",
    "STORE",
    "Answers",
    "Bucket",
    "Content",
    "Folder",
    "Found",
    "Kind",
    "Limiter",
    "Listed",
    "Options",
    "Part",
    "Traffic",
    "access_error",
    "acting_for",
    "begin_read",
    "bucket_of",
    "check_access",
    "configure",
    "configured",
    "expand",
    "find_ahead",
    "find_bucket",
    "in_order",
    "is_folder",
    "is_remote",
    "is_url",
    "join",
    "lend",
    "lenders",
    "limited",
    "limiter",
    "list_below",
    "list_matches",
    "local_path",
    "name_of",
    "note_outage",
    "open_folder",
    "open_input",
    "own_zone",
    "parse_storage",
    "pinned",
    "public",
    "put_copy",
    "read",
    "read_ahead",
    "read_environment",
    "read_part",
    "refuse_slip",
    "scrubbed",
    "scrubbing",
    "shown",
    "storage_options",
    "take_back",
    "threads",
    "traffic",
    "under_extensions",
    "using",
]
