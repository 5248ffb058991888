"""Lets a test be a coroutine: each one gets an event loop of its own and a time limit."""

from __future__ import annotations

import asyncio
import inspect
from typing import Final

import pytest

PATIENCE_SECONDS: Final = 30.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test with its fixtures; other tests are left to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    async def run() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await pyfuncitem.obj(**arguments)

    asyncio.run(run())
    return True
