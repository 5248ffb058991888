"""Tests of the tools may be coroutines."""

from __future__ import annotations

from tests.transport.async_tests import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]
