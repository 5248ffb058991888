"""Flags of a program that can be set by environment variables too."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from compute_router.transport import flag_values

PREFIX: Final = "COMPUTE_ROUTER_"


class ProgramParser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and not all flags with it; half a word is no flag."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog="Each flag can be set by the environment variable named with it; the flag wins.",
            # Half a word must not be taken for a flag about money.
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """End the process with exit code 2."""
        self.exit(2, f"{self.prog} --help tells all flags.\n{self.prog}: error: {message}\n")


class Flags:
    """Adds flags to a parser; each is read from the command line, then from its variable, then by default.

    ``prefix`` begins the names of the variables.
    """

    def __init__(
        self, parser: argparse.ArgumentParser, environ: Mapping[str, str], *, prefix: str = PREFIX
    ) -> None:
        self._parser = parser
        self._environ = environ
        self._prefix = prefix

    def option(
        self,
        flag: str,
        read: Callable[[str], Any],
        default: str | None,
        text: str,
        *,
        variable: str | None = None,
    ) -> None:
        """A flag with a value. ``variable``: the name of its variable after the prefix, if not the flag's."""
        name = self._prefix + variable if variable else variable_of(flag, self._prefix)
        shown = "" if not default else f" Default: {default}."
        # argparse passes defaults that are text through ``type``, so the environment is checked like flags.
        self._parser.add_argument(
            flag,
            type=read,
            default=self._environ.get(name) or default,
            metavar=flag.lstrip("-").replace("-", "_").upper(),
            help=f"{text}{shown} [{name}]",
        )

    def switch(self, flag: str, text: str) -> None:
        """A flag that is yes or no; alone it is yes."""
        name = variable_of(flag, self._prefix)
        self._parser.add_argument(
            flag,
            type=flag_values.yes_or_no,
            nargs="?",
            const="yes",
            default=self._environ.get(name) or "no",
            metavar="yes|no",
            help=f"{text} Default: no. [{name}]",
        )


def variable_of(flag: str, prefix: str = PREFIX) -> str:
    """The name of the variable that sets a flag."""
    return prefix + flag.lstrip("-").replace("-", "_").upper()


def is_given(flag: str, argv: Sequence[str]) -> bool:
    """Whether a flag is on the command line, whatever its value."""
    return any(argument == flag or argument.startswith(f"{flag}=") for argument in argv)
