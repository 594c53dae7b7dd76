"""Fetches Kafka's jars once: from Maven, in the versions that pom.xml pins, into .dev/kafka/<version>/libs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

from deploy.kafka.errors import KafkaFailed

_HERE: Final = Path(__file__).parent
_POM: Final = _HERE / "pom.xml"
_LOGGING: Final = _HERE / "log4j2.properties"
SCRATCH: Final = _HERE.parents[1] / ".dev" / "kafka"
"""The folder for everything that is not committed."""
_LEAST_JAVA: Final = 17
_FETCH_SECONDS: Final = 600
_SMALL_AND_QUICK: Final = ("-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
"""With these, a node starts in two seconds and uses about 300 MB. Not for a cluster under load."""


def version() -> str:
    """The version of Kafka that pom.xml pins."""
    found = ET.parse(_POM).find("{*}dependencies/{*}dependency[{*}artifactId='kafka_2.13']/{*}version")  # noqa: S314 - our own file
    if found is None or not found.text:
        message = f"{_POM.name} pins no version of kafka_2.13"
        raise KafkaFailed(message)
    return found.text


def libraries() -> Path:
    """The folder of Kafka's jars. They are fetched if they are missing.

    Raises:
        KafkaFailed: Maven is missing, or could not fetch them.
    """
    folder = SCRATCH / version() / "libs"
    if not folder.is_dir():
        _fetch(folder)
    return folder


def java(main_class: str, *arguments: str | Path) -> list[str]:
    """The command that runs one of Kafka's programs.

    Raises:
        KafkaFailed: Java is missing or too old, or Kafka cannot be fetched.
    """
    # Java first: without Java, fetching Kafka would be useless.
    program = _java()
    flags = [*_SMALL_AND_QUICK, f"-Dlog4j2.configurationFile={_LOGGING}", "-cp", f"{libraries()}/*"]
    return [program, *flags, main_class, *map(str, arguments)]


def _java() -> str:
    program = shutil.which("java")
    if program is None:
        message = f"Kafka needs Java {_LEAST_JAVA} or newer, and there is none: apt install openjdk-17-jre-headless"
        raise KafkaFailed(message)
    printed = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603 - java
    found = re.search(r'version "(?:1\.)?(\d+)', printed)
    if found is None or int(found[1]) < _LEAST_JAVA:
        message = (
            f"Kafka needs Java {_LEAST_JAVA} or newer, and {program} is {found[1] if found else 'something else'}: "
            "apt install openjdk-17-jre-headless"
        )
        raise KafkaFailed(message)
    return program


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        message = "Maven is needed to fetch Kafka, and there is none: apt install maven"
        raise KafkaFailed(message)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # First into a folder with another name, so that an interrupted fetch does not look complete.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as fetching:
        output = Path(fetching) / "libs"
        goal = [maven, "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={output}"]
        done = subprocess.run(goal, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS)  # noqa: S603 - mvn
        if done.returncode != 0 or not output.is_dir():
            message = f"Maven could not fetch Kafka {version()}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise KafkaFailed(message)
        try:
            output.rename(folder)
        except OSError as error:
            # Another process may have been quicker. Any other reason leaves no folder.
            if not folder.is_dir():
                message = f"{folder} cannot be made: {error.strerror}"
                raise KafkaFailed(message) from error
