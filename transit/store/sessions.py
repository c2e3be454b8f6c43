"""The client of a bucket: its session, and the descriptions of S3 that all sessions share.

Owns that botocore's descriptions of requests and endpoints, some ten megabytes once they are
parsed, are there once in a process, and not once for each store: a client is in cycles of its own
making, so each would stay until it is collected. They hold nothing of a user's. All else is each
store's own: session, credentials, connections.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from transit.errors import InvalidInputError
from transit.store.answers import answer, error_of
from transit.store.causes import scrubbed
from transit.store.loops import wait_for

# Of making a client, which reads files and, where it has no credentials, looks for them.
_START_TIMEOUT_S: Final = 60.0
# Descriptions are of botocore's package and of the folders that a user names besides.
_FOLDERS_MAX: Final = 4


def connect(filesystem: Any, url: str) -> None:
    """Make the client of an `s3fs.S3FileSystem`, which sends no request to the store at `url`."""
    try:
        _share(filesystem)
        wait_for(filesystem.loop, filesystem.set_session(), _START_TIMEOUT_S)
    except (ValueError, TypeError) as error:
        # What botocore says here is about an option's name or an endpoint's spelling.
        said = f" ({scrubbed(str(error))})" if str(error).startswith("Invalid endpoint") else ""
        raise InvalidInputError(f"{url}: options that S3 does not know{said}") from None
    except Exception as error:
        raise error_of(answer(error), url) from error


def _share(filesystem: Any) -> None:
    """Give it the session that it would make, with the shared descriptions; a user's stays."""
    if filesystem.session is not None:
        return
    # Only a bucket needs it, and it takes longer to import than all of transit.
    from aiobotocore.session import AioSession

    session = AioSession(**filesystem.kwargs)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    filesystem.session = session


@lru_cache(_FOLDERS_MAX)
def _loader(folders: str | None) -> Any:
    """What reads descriptions, each once. folders: the user's, as botocore spells them."""
    # As above.
    from botocore.loaders import create_loader

    return create_loader(folders)
