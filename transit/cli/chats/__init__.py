"""What `transit chat` does: channels, threads and decisions at a shell.

Owns the sub-verbs; `transit.cli.verbs.chat` gathers them. What each does is done by `transit.chat`.

places         arguments and options that they share; from what was typed to channels and messages
classifiers    the classifier that was named
rows           messages, threads and decisions as JSON and as cells
conversations  messages as a person reads them in a terminal
reasons        why a message is in its thread, in words
posting        post, reply, channels
reading        read; following: what comes while it is read
threads        threads, show; surveys: what threads come to
overriding     override
running        run, rerun, runs, adopt; recorded: runs that are there; comparing: compare
frozen         freeze, frozen
policies       policy
marking        unread, seen
importing      import
"""
