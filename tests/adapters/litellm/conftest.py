"""LiteLLM without a network: its list of prices is the one that it brings."""

from __future__ import annotations

import gc
import os
import warnings

import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
pytest.importorskip("litellm", reason="`just adapters litellm` runs it")

import litellm


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Let go of the clients and loops that LiteLLM keeps open for the life of the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litellm.in_memory_llm_clients_cache.flush_cache()
        for _ in range(3):
            gc.collect()
