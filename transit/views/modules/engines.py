"""Engines: the settings of wasmtime, modules as they are compiled, and the memory of instances.

Everything is off whose result depends on the processor or on time: threads, relaxed SIMD, WASI; NaN
has one form. Fuel is counted by wasmtime: the same module takes the same fuel for the same records,
on every machine with the same version of wasmtime.

A new instance has new memory, and until the system has found all of its pages the call waits: for a
call of many records that is more than copying them. So one engine keeps the memory of the instance
before, which wasmtime makes as it was at the beginning. There is one such memory in a process. A
call that comes while it is in use has an instance of the other engine, where all is new, and so
have all calls where it cannot be had. What a call comes to is the same in both.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

import wasmtime

STACK_BYTES_MAX: Final = 512 * 1024
TABLES_MAX: Final = 4
TABLE_ELEMENTS_MAX: Final = 10_000
KEPT_BYTES_MAX: Final = 8 << 20
"""So much of the memory that is kept stays with the process."""
_MEMORY_BYTES_MAX: Final = 1 << 30
_OFF: Final = (
    "wasm_threads", "shared_memory", "wasm_relaxed_simd", "wasm_memory64", "wasm_multi_memory",
    "wasm_exceptions", "wasm_function_references", "wasm_gc", "wasm_component_model",
    "wasm_stack_switching", "wasm_custom_page_sizes", "wasm_wide_arithmetic",
    "parallel_compilation",
)  # fmt: skip

_is_used = threading.Lock()


class Compiled:
    """A module for both engines; `wasmtime.WasmtimeError` for bytes that are none."""

    def __init__(self, module: bytes) -> None:
        self.module = wasmtime.Module(_engine(), module)
        self._keeping = _again(self.module)

    @contextmanager
    def store(self) -> Iterator[tuple[wasmtime.Store, wasmtime.Module]]:
        """A store for one instance of the module in it; nothing of it is there after the block."""
        module, is_used = self._keeping, _is_used
        if module is None or not is_used.acquire(blocking=False):
            with wasmtime.Store(_engine()) as store:
                yield store, self.module
            return
        try:
            engine = _engine_keeping()
            assert engine is not None
            with wasmtime.Store(engine) as store:
                yield store, module
        finally:
            is_used.release()


def _config() -> wasmtime.Config:
    config = wasmtime.Config()
    for name in _OFF:
        # Versions that do not know one of them have it off.
        if hasattr(wasmtime.Config, name):
            setattr(config, name, False)
    config.wasm_relaxed_simd_deterministic = True
    config.cranelift_nan_canonicalization = True
    config.consume_fuel = True
    config.max_wasm_stack = STACK_BYTES_MAX
    return config


@cache
def _engine() -> wasmtime.Engine:
    """The engine that makes all anew."""
    return wasmtime.Engine(_config())


@cache
def _engine_keeping() -> wasmtime.Engine | None:
    """The engine that has one memory, and keeps it; None where it cannot be had."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        # It takes its addresses at once, and where there are too few wasmtime ends the process.
        return None
    config = _config()
    try:
        # A part of wasmtime's interface in C that has no name of its own in wasmtime-py.
        from wasmtime import _bindings as c

        prefix = "wasmtime_pooling_allocation_config_"
        pool = c.wasmtime_pooling_allocation_config_new()
        for name, value in (
            ("total_core_instances", 1),
            ("total_memories", 1),
            ("total_tables", TABLES_MAX),
            ("max_tables_per_module", TABLES_MAX),
            ("table_elements", TABLE_ELEMENTS_MAX),
            ("max_memory_size", _MEMORY_BYTES_MAX),
            ("linear_memory_keep_resident", KEPT_BYTES_MAX),
        ):
            getattr(c, f"{prefix}{name}_set")(pool, value)
        c.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
        c.wasmtime_pooling_allocation_config_delete(pool)
    except (ImportError, AttributeError):
        return None
    return wasmtime.Engine(config)


def _again(module: wasmtime.Module) -> wasmtime.Module | None:
    """The module for the engine that keeps its memory; None where there is none, or no room."""
    engine = _engine_keeping()
    try:
        return None if engine is None else wasmtime.Module.deserialize(engine, module.serialize())
    except wasmtime.WasmtimeError:
        return None


def _begin_anew() -> None:
    # What wasmtime knows of the pages of the memory that it kept may be about the parent's.
    global _is_used  # noqa: PLW0603 - a lock that another thread had cannot be made free
    _is_used = threading.Lock()
    if _engine_keeping.cache_info().currsize:
        _is_used.acquire()


os.register_at_fork(after_in_child=_begin_anew)
