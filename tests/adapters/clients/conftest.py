"""Skipped without the clients of OpenAI and Anthropic."""

from __future__ import annotations

import pytest

pytest.importorskip("openai", reason="`just adapters clients` runs it")
pytest.importorskip("anthropic", reason="`just adapters clients` runs it")
