"""Object stores: where logs are published to and fetched from.

`transit.store` is the only part that knows fsspec. It keeps nothing, and decides nothing about what
the objects mean.
"""

from transit.store.addresses import address_folder
from transit.store.objects import ObjectStore, Traffic, check_key
from transit.store.opening import open_store

__all__ = ["ObjectStore", "Traffic", "address_folder", "check_key", "open_store"]
