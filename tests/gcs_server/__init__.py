"""A server of Google Cloud Storage's protocol for tests: in memory, on loopback, in a process.

Imitated: buckets; objects with generations, hashes and metadata; listings in pages, with
prefixes, delimiters and offsets; preconditions; ranges; uploads in one request, in two parts and
in chunks; copies, moves, composition. By the JSON API that gcsfs and google-cloud-storage
speak, and by as much of the XML API as obstore does. Beside them: latency, faults by rule,
counts of requests, buckets of a million objects that nobody stored, permissions that a bucket
refuses to everybody.

Not imitated: credentials (all callers are the same to it), old generations and soft deletion,
batches, ``matchGlob``, customer's keys, folders of hierarchical buckets, gRPC, quotas (a 429 is
a fault to be asked for; what would bring one is counted as hasty), transcoding of gzip, TLS.
"""

from gcs_server.control import Gcs, OwnGcs, Stats, serving

__all__ = ["Gcs", "OwnGcs", "Stats", "serving"]
