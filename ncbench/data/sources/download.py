"""One file over http(s), from the first mirror that gives it.

What has come in is gone on with when it was cut off, and a server that only drips is given up. The checksum is compared
before a file is moved to its place.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ncbench

if TYPE_CHECKING:
    import requests

_BLOCK = 1 << 18
_BUSY = (429, 500, 502, 503, 504)
_SLOWEST = 1 << 10  # bytes a second; a server that sends less is not waited for

Progress = Callable[[str, int, int], None]
"""Called with a file's path, the bytes of it that are here or unpacked, and its size."""


@dataclass(frozen=True)
class RetryPolicy:
    """How a server is waited for and asked again.

    Args:
        timeout: Seconds without a byte before a connection is given up; over as many seconds, a server has to send a
            kilobyte a second.
        attempts: Requests that bring nothing new before the next mirror is tried.
        pause: Seconds before a busy server is asked again, doubled each time.
        longest: Most seconds to wait, even when a server asks for more (Retry-After).
    """

    timeout: float = 30.0
    attempts: int = 4
    pause: float = 1.0
    longest: float = 60.0


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Args:
        name: What the progress display calls it.
        urls: Mirrors in order of preference.
        sha256: The hexadecimal digits that its SHA-256 begins with, all of them or fewer.
        bytes: Its size; None to take the server's word.
    """

    name: str
    urls: Sequence[str]
    sha256: str
    bytes: int | None = None

    def is_at(self, path: Path) -> bool:
        """Whether the file is at `path`, whole."""
        if not path.is_file() or self.bytes not in (None, path.stat().st_size):
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest().startswith(self.sha256)


class MirrorError(Exception):
    """A mirror cannot give what is asked for; the next one may. The message has no control characters."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join("".join(letter if letter.isprintable() else " " for letter in reason).split()))


def download(
    file: RemoteFile, target: Path, say: Callable[[str], None], progress: Progress | None, policy: RetryPolicy
) -> None:
    """Bring a file to `target`, whole and verified, from the first mirror that gives it; unless it is there.

    Raises:
        MirrorError: None does; each one's reason is named. What has come in stays beside `target`, to be gone on with.
    """
    if file.is_at(target):
        return
    reasons = []
    for url in file.urls:
        say(f"Fetching {url}")
        try:
            _from_mirror(url, file, target, progress, policy)
        except MirrorError as error:
            say(f"{url}: {error}")
            reasons.append(f"{url}: {error}")
        else:
            return
    raise MirrorError("; ".join(reasons))


def part_of(target: Path) -> Path:
    """Return where what has come in of a file is kept until it is whole."""
    return target.with_name(f"{target.name}.part")


def _from_mirror(url: str, file: RemoteFile, target: Path, progress: Progress | None, policy: RetryPolicy) -> None:
    part = part_of(target)
    inherited = part.exists()
    _Resuming(file, part, progress, policy).bring(url)
    if file.is_at(part):
        part.replace(target)
        return
    part.unlink()
    if not inherited:
        raise MirrorError("what it sent is not the published file (its sha256 differs); it was discarded")
    _from_mirror(url, file, target, progress, policy)  # what an earlier attempt left may be what was wrong


class _Resuming:
    """Goes on with the part of a file that is here, as long as the mirror brings something new."""

    def __init__(self, file: RemoteFile, part: Path, progress: Progress | None, policy: RetryPolicy) -> None:
        self.file, self.part, self.progress, self.policy = file, part, progress, policy
        self.size = file.bytes

    def bring(self, url: str) -> None:
        """Bring what is missing."""
        import requests  # here: most commands download nothing

        idle, furthest = 0, self._here()
        with _session(self.policy) as session:
            while self.size is None or self._here() < self.size:
                try:
                    reason = self._request(session, url)
                except requests.RequestException as error:
                    raise MirrorError(f"the connection failed ({_innermost(error)})") from error
                # Only what was never reached before is progress: a server may send the same short page for ever.
                idle = 0 if self._here() > furthest else idle + 1
                furthest = max(furthest, self._here())
                if idle >= self.policy.attempts:
                    raise MirrorError(reason)

    def _request(self, session: requests.Session, url: str) -> str:
        """Ask for what is missing and append it, or begin anew if the server sends it all; say why it ended."""
        from urllib3.exceptions import HTTPError

        here = self._here()
        asked = {"Range": f"bytes={here}-"} if here else {}
        with session.get(url, headers=asked, stream=True, timeout=self.policy.timeout) as answer:
            part_of_it = answer.headers.get("Content-Range", "").startswith(f"bytes {here}-")
            if answer.status_code == 416 or (answer.status_code == 206 and not part_of_it):
                self.part.unlink(missing_ok=True)  # what is here is no part of what the server has
                return "the server sent another part of the file than was asked for"
            if not answer.ok:
                raise MirrorError(f"the server answered {answer.status_code} {answer.reason}")
            if self.size is None:
                start = here if answer.status_code == 206 else 0
                self.size = start + _length(answer)
            try:
                self._append(answer, self.size, "ab" if answer.status_code == 206 else "wb")
            except HTTPError as error:
                return f"the connection failed ({_innermost(error)})"
        return "the connection was closed early"

    def _append(self, answer: requests.Response, size: int, mode: str) -> None:
        with self.part.open(mode) as output:
            since, before = time.monotonic(), output.tell()
            while block := answer.raw.read1(_BLOCK, decode_content=False):
                output.write(block)
                if self.progress is not None:
                    self.progress(self.file.name, output.tell(), size)
                if output.tell() > size:  # it will fail the checksum; don't let it fill the disk
                    return
                if (seconds := time.monotonic() - since) > self.policy.timeout:
                    if output.tell() - before < _SLOWEST * seconds:
                        raise MirrorError("the server sends less than a kilobyte a second")
                    since, before = time.monotonic(), output.tell()

    def _here(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


def _length(answer: requests.Response) -> int:
    try:
        return int(answer.headers["Content-Length"])
    except (KeyError, ValueError) as error:
        raise MirrorError("the server does not say how long the file is") from error


def _session(policy: RetryPolicy) -> requests.Session:
    """Return a session that waits for busy servers, and follows redirects to http(s) only."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import InvalidHeader
    from urllib3.response import BaseHTTPResponse
    from urllib3.util import Retry

    class Waiting(Retry):
        def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
            try:
                return min(super().get_retry_after(response) or 0.0, policy.longest)
            except InvalidHeader:  # neither seconds nor a date
                return None

    busy = Waiting(
        policy.attempts,
        status_forcelist=_BUSY,
        backoff_factor=policy.pause,
        backoff_max=policy.longest,
        raise_on_status=False,
    )
    session = requests.Session()
    session.headers.update({"User-Agent": f"ncbench/{ncbench.__version__}", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=busy))
    return session


def _innermost(error: BaseException) -> BaseException:
    """Return the error that the others were raised for, which says best what is wrong."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error
