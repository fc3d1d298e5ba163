"""Secrets in files: the one place that reads and writes them.

A file with a secret is for its owner, and at most for its group to read (0600 or 0640): another is refused. A link is
followed when one is read, because that is how Kubernetes mounts secrets; never when one is written.
"""

import os
import stat
import time
from pathlib import Path
from secrets import token_hex
from typing import Final

import structlog
from pydantic import SecretStr

from orderflow.files import UnreadableFile, text_of

#: Of one secret.
MOST_BYTES: Final = 16 * 1024
#: Who else may do what: at most its group may read it.
_TOO_OPEN: Final = 0o037
#: How often it is looked whether a file has changed.
_LOOK_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class SecretFileError(Exception):
    """A secret cannot be had from its file, or written to it; the message names the file and the rule."""


def read_bytes(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """What a secret's file holds. Raises SecretFileError: it is not there, too open, no file, or longer."""
    try:
        # A named pipe without a writer would hold the process up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise SecretFileError(f"{path} is no regular file")
            if mode & _TOO_OPEN:
                raise SecretFileError(
                    f"{path} has mode {stat.S_IMODE(mode):04o}: a secret is for its owner, and at most for its group "
                    "to read (0600 or 0640)"
                )
            content = os.read(descriptor, most_bytes + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SecretFileError(f"{path}: {error.strerror}") from None
    if len(content) > most_bytes:
        raise SecretFileError(f"{path} is longer than {most_bytes} bytes")
    return content


def read_secret(path: Path) -> str:
    """The text in a secret's file, without the blanks around it. Raises SecretFileError, also where there is none."""
    try:
        text = text_of(path, read_bytes(path)).strip()
    except UnreadableFile as error:
        raise SecretFileError(str(error)) from None
    if not text:
        raise SecretFileError(f"{path} is empty")
    return text


def write_secret(path: Path, text: str, *, replace: bool = False) -> None:
    """A new file, mode 0600 from its first byte: whole, or not there.

    Raises SecretFileError where there is one already, unless ``replace``: that stays until the new one is whole.
    """
    content = text.encode()
    written = path.with_name(f".{path.name}.{token_hex(8)}") if replace else path
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                written.replace(path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SecretFileError(f"{path} cannot be made: {error.strerror}") from None


class FiledSecret(SecretStr):
    """A secret that stands in a file: ``get_secret_value`` is what stands there now.

    A file that cannot be used any more is logged, and changes nothing: the value before it goes on.
    """

    def __init__(self, path: Path, variable: str) -> None:
        """Read it; ``variable`` is the setting that names the file. Raises SecretFileError."""
        super().__init__(read_secret(path))
        self.path = path
        self.variable = variable
        self._looked = time.monotonic()
        self._stamp = stamp(path)

    def get_secret_value(self) -> str:
        """The secret, read again when the file has changed; it is looked once a second at most."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            found = stamp(self.path)
            if found != self._stamp:
                self._stamp = found
                self._read_again()
        return super().get_secret_value()

    def _read_again(self) -> None:
        try:
            self._secret_value = read_secret(self.path)
        except SecretFileError as error:
            log.error("secret_file_unusable", setting=self.variable, error=str(error))
        else:
            log.info("secret_file_read", setting=self.variable)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What is another one as soon as the file is; None: it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
