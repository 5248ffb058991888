"""Keys to the results of sealed jobs on disk, for command lines that end before the job does."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from compute_router.protocol.receipts import sha256_hex
from compute_router.sdk.errors import InvalidArgumentError
from compute_router.sdk.private_writing import write_privately
from compute_router.sdk.sealing import JobHandle, ReplyKey

KEPT_S: Final = 30 * 86_400.0
_ACCESS_FOR_OTHERS: Final = 0o077
_KEYS: Final = msgspec.json.Decoder(ReplyKey)


class ReplyKeyFiles:
    """One file for each sealed job whose result was not read yet, readable by its owner alone.

    A key is on disk before its job is sent. Then its file is named by a hash of the job's id, which comes
    from the coordinator and must not choose a path. What is older than KEPT_S is deleted whenever a new key
    is kept.
    """

    def __init__(self, directory: Path, now_s: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now_s = now_s

    def put(self, key: ReplyKey) -> None:
        """Keep the key to a job that is not sent yet, so that its id is not known.

        Raises:
            InvalidArgumentError: the file cannot be written.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._drop_old()
            write_privately(self._unsent(key), msgspec.json.encode(key))
        except OSError as error:
            raise InvalidArgumentError(
                f"The key to the result cannot be kept in {self._directory}: {error.strerror or error}. "
                "Nothing was sent. Name a trust file in another place with --trust-file."
            ) from None

    def name(self, key: ReplyKey, job_id: str) -> None:
        """Say which job a kept key belongs to.

        Raises:
            InvalidArgumentError: the file cannot be renamed.
        """
        try:
            self._unsent(key).replace(self._path(job_id))
        except OSError as error:
            raise InvalidArgumentError(
                f"The job {job_id} was taken, but the key to its result stays in {self._unsent(key)}: "
                f"{error.strerror or error}."
            ) from None

    def drop_unsent(self, key: ReplyKey) -> None:
        """Forget a key whose job was not taken, or cannot be found."""
        with contextlib.suppress(OSError):
            self._unsent(key).unlink()

    def handle(self, job_id: str) -> JobHandle:
        """The job's id with the key to its result, if one is kept.

        Raises:
            InvalidArgumentError: others may read the file, or it is damaged.
        """
        path = self._path(job_id)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read()
        except FileNotFoundError:
            return JobHandle(job_id)
        except OSError as error:
            raise InvalidArgumentError(f"{path} cannot be read: {error.strerror or error}.") from None
        if mode & _ACCESS_FOR_OTHERS:
            raise InvalidArgumentError(
                f"The key file {path} is open to other users (mode {stat.S_IMODE(mode):04o}). "
                f"Run: chmod 600 {path}"
            )
        try:
            return JobHandle(job_id, _KEYS.decode(content))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise InvalidArgumentError(f"The key file {path} is damaged.") from None

    def drop(self, job_id: str) -> None:
        """Forget the key of a job, if one is kept: its result was read, or there will be none."""
        with contextlib.suppress(OSError):
            self._path(job_id).unlink()

    def _unsent(self, key: ReplyKey) -> Path:
        return self._directory / f"unsent-{key.request_hash[:32]}.json"

    def _path(self, job_id: str) -> Path:
        return self._directory / f"{sha256_hex(job_id.encode('utf-8', 'replace'))[:32]}.json"

    def _drop_old(self) -> None:
        oldest = self._now_s() - KEPT_S
        for path in self._directory.glob("*.json"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
