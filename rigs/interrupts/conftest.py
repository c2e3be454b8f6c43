"""Scripts that end by themselves, as the tests of processes run them."""

from tests.process.conftest import run  # noqa: F401
