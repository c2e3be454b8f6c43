"""`transit.connect`: the door to the room that speaks to servers, loaded when it is used."""

from __future__ import annotations

from importlib import import_module

from transit.engine.log import Log
from transit.engine.trusted import Keys
from transit.errors import InvalidInputError
from transit.proof.policy import Policy


def connect(
    url: str,
    *,
    token: str | None = None,
    durability: str | None = None,
    timeout_s: float = 30.0,
    ca_file: str | None = None,
    keys: Keys | None = None,
    policy: Policy | None = None,
) -> Log:
    """The store that a server at `url` serves (`transit serve`), used as an embedded one.

    What it gives are a `Log`, `Stream`s and so on, with the same methods, results and errors; what
    a network cannot give raises `InvalidInputError` that says why. Needs urllib3 (transit[client]).
    url: "http://host:port", or https. token: what the server knows you by; it goes into one header.
    durability: what appends wait for unless they say otherwise; None: what the server says.
    timeout_s: the longest time a call may take, what is tried again included, seconds.
    ca_file: certificates to trust instead of the system's, PEM.
    keys: of the log, as `VerifyingKey` or their texts, or policy: whose signatures the checkpoints
    must have that the server's proofs stand on (`ProofError`). Without them proofs are checked all
    the same, and signatures left to whoever gets them.

    Raises `RemoteUnavailableError` when no server answers, `RemoteSetupError` when it is none of
    transit's or its certificate is not trusted, `StorePermissionError` for a wrong token. A write
    whose answer is lost is sent again until `timeout_s` and written once; `OutcomeUnknownError`
    when it may have been written and no answer came.
    """
    try:
        room = import_module("transit.client")
    except ModuleNotFoundError as error:
        if error.name != "urllib3":
            raise
        raise InvalidInputError("a server needs urllib3: pip install 'transit[client]'") from None
    made = room.connect(
        url,
        token=token,
        durability=durability,
        timeout_s=timeout_s,
        ca_file=ca_file,
        keys=keys,
        policy=policy,
    )
    assert isinstance(made, Log)
    return made
