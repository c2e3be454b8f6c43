"""Promises of derived state: maps, states that outlive crashes, runners that are killed.

models, histories, hostile_nodes   the map: random edits, trees that anybody may have written
programs, forests                  states beside a plain model, under branches and merges
crashing, killing, roots           states that crashes leave, processes killed, roots judged
savepoint_calls                    system calls of savepoints that kill, or find the disk full
delivering, finding, impure        subscribers that are killed; what is found; impure reducers
states_planted, children           mistakes in the core of views; processes that are killed
hostile_modules                    modules of WebAssembly that mean ill
foreman, plants, judging           runners of loops, killed and stopped; their mistakes; the judge
"""
