"""Subscriptions: durable places in many streams that wake workers when there is more.

Sections 6 and 7 of the Durable Streams protocol, with its control routes under `/v1/stream/__ds/`.
A worker is woken by a webhook, or reads a stream of wake events and claims the work. Each wake has
a number, its generation; what a worker says about an older one is refused.

Everything is records of layer `server`, stream `subscriptions/<id>`: a crash forgets no lease, no
place and no retry. A wake event is written in the frame of the record that says so.

    globs      which paths a pattern means
    records    what is remembered of one subscription, and the records it is made of
    waking     linking, waking, claiming, acknowledging
    webhooks   the request that wakes, signed; where it may go to
    routes     the control routes
"""
