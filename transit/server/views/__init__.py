"""Views, SQL, subscriptions and reconcilers over the network: what `transit.views` is embedded.

Owns who may see what of it, how long an answer may take, and how large it is. What is folded and
run is code that the operator named when the server began; a client sends queries, keys and
positions, and no code. A view that is called `tally` is `$views/tally` to a token: a prefix of its
own, that no stream of the store has.

    room       all of it for one served store
    declared   what an operator named, and who may use it
    serving    views, and the threads that fold
    queries    SQL: which records, within which limits
    rows       pages of tables, and of what differs between two states
    following  changes as they come, to subscribers
    states     routes: views, tables, differences
    sql        the route of SQL
    changes    the routes of subscriptions
    loops      the routes of reconcilers
"""
