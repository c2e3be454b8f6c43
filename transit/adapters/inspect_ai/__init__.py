"""Inspect AI: evaluations in a store, each event as it happens.

    pip install '.[inspect]'    # in a checkout of transit
    TRANSIT_STORE=runs inspect eval task.py

Installed, it is found by Inspect AI, and does nothing unless TRANSIT_STORE is set.

hooks         what Inspect AI tells its hooks; how it is read is in `transit.adapters.evaluations`
"""

from transit.adapters.evaluations import write_eval
from transit.adapters.inspect_ai.hooks import TransitHooks

__all__ = ["TransitHooks", "write_eval"]
