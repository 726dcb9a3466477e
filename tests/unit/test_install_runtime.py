"""How set-up's Java reaches the network: the machine's proxies and authorities."""

import runpy
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from shoplake.installation import locate_installation
from shoplake.settings import PROJECT_ROOT

SHELL = runpy.run_path(str(PROJECT_ROOT / "utils" / "install_runtime.py"))


@pytest.mark.parametrize(("proxies", "options"), [
    ({}, []),
    ({"no": "localhost"}, []),
    ({"https": "http://proxy.example:3128"}, ["-Dhttps.proxyHost=proxy.example", "-Dhttps.proxyPort=3128"]),
    ({"http": "http://a:1", "https": "http://b", "no": "localhost, .example"},
     ["-Dhttp.proxyHost=a", "-Dhttp.proxyPort=1", "-Dhttps.proxyHost=b", "-Dhttps.proxyPort=80",
      "-Dhttp.nonProxyHosts=localhost|.example"]),
])
def test_java_is_told_the_proxies(proxies: dict[str, str], options: list[str]) -> None:
    assert SHELL["_proxy_options"](proxies) == options


def test_java_trusts_the_machines_authorities(tmp_path: Path) -> None:
    """Count, with Java's own tool, the authorities that arrive from the machine's bundle."""
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is None:
        pytest.skip("this machine has no bundle of authorities")
    options = SHELL["_trust_options"](tmp_path / "trust.p12")
    places = locate_installation(Path(sys.prefix))
    shown = subprocess.run(
        [places.bundled_java / "bin" / "java", "-m", "java.base/sun.security.tools.keytool.Main", "-list",
         "-keystore", tmp_path / "trust.p12", "-storepass", options[2].partition("=")[2]],
        capture_output=True, text=True, check=True).stdout
    assert shown.count("trustedCertEntry") == Path(bundle).read_text().count("BEGIN CERTIFICATE") > 0
