"""Object stores: where logs are published to and fetched from.

`transit.store` is the only part that knows fsspec. It keeps nothing, and decides nothing about what
the objects mean.

objects     `ObjectStore`: what a remote must offer; keys, counts of requests, trying again
addresses   what a text names: a folder or a URL; refuses slips and credentials
opening     from an address to a store
s3          a bucket, through s3fs: one request a call
sessions    a bucket's client, and what all such clients share
versions    freeing an object with every version of it
folder      a folder
filesystem  any other file system of fsspec
answers     what servers' answers and clients' errors mean
causes      why a request got no answer, and whether waiting helps
loops       clients' coroutines, with a deadline
"""

from transit.store.addresses import address_folder
from transit.store.objects import (
    ObjectStore,
    Traffic,
    check_key,
    folder_of_store,
    server_of_store,
)
from transit.store.opening import open_store

__all__ = [
    "ObjectStore",
    "Traffic",
    "address_folder",
    "check_key",
    "folder_of_store",
    "open_store",
    "server_of_store",
]
