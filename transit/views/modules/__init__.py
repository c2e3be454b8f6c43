"""Modules of WebAssembly as reducers.

program   `wasm`: a module as it is declared
abi       what a module is given, and what it answers
engines   how modules are compiled, and where their memory is
machine   a module that runs, within its limits
fold      a fold of one: its memory is in the map, as rows are
"""
