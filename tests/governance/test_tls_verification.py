"""No file of the project turns the verification of TLS off; what a client does is proven in test_secure_broker.py."""

import re
import ssl
import subprocess

import pytest

from shoplake.settings import PROJECT_ROOT

# Put together, so that this file is not one that turns it off.
OFF = {
    "requests and httpx": (r"\bverify\s*=\s*False", "get(url, verify" + "=False)"),
    "a context": (r"\bCERT_(NONE|OPTIONAL)\b", "ssl.CERT" + "_NONE"),
    "a context without": (r"_create_(unverified|stdlib)_context", "ssl._create_" + "unverified_context()"),
    "a host's name": (r"check_hostname\W{0,3}\s*[:=]\s*(False|0\b)", "'ssl_check_" + "hostname': False"),
    "a flag": (r"--(insecure|no-check-certificate|trusted-host|allow-insecure)\b|\bcurl\b[^\n|]*\s-\w*k\w*\b",
               "curl -sS" + "k https://x"),
    "another library": (r"(?i)\b(ssl_verify|verify_ssl|verify_certs?|verify_tls|tls_verify)\W{0,3}\s*[:=]\s*"
                        r"[\"']?(false|no|0|none)\b", "verify_" + "certs: false"),
    "Terraform": (r"(?i)\b(insecure|skip_tls_verify|insecure_skip_verify|tls_insecure\w*)\W{0,3}\s*[:=]\s*[\"']?"
                  r"(true|yes|1)\b", "insecure_skip" + "_verify = true"),
    "warnings": (r"InsecureRequestWarning|disable_warnings\(", "urllib3.disable" + "_warnings()"),
    "the environment": (r"PYTHONHTTPSVERIFY|NODE_TLS_REJECT_UNAUTHORIZED|GIT_SSL_NO_VERIFY|http\.sslVerify",
                        "GIT_SSL_NO" + "_VERIFY=1"),
    "Kafka in Java": (r"endpoint\.identification\.algorithm(?!\W{1,6}https\b)",
                      "ssl.endpoint.identification" + ".algorithm=\n"),
    "librdkafka": (r"enable\.ssl\.certificate\.verification\W{0,3}\s*[:=]\s*[\"']?(?i:false)",
                   "enable.ssl.certificate" + ".verification=false"),
    "a database": (r"sslmode\W{0,3}\s*[:=]\s*[\"']?(disable|allow|prefer)\b", "?sslmode" + "=disable"),
    "Java": (r"TrustAll\w*|ALLOW_ALL_HOSTNAME|NoopHostnameVerifier", "Trust" + "AllStrategy()"),
    "SSH": (r"StrictHostKeyChecking[= ]no", "StrictHost" + "KeyChecking=no"),
}


def find_off(text: str) -> list[str]:
    return [match[0] for pattern, _ in OFF.values() for match in re.finditer(pattern, text)]


@pytest.mark.parametrize("kind", OFF)
def test_each_way_would_be_found(kind: str) -> None:
    assert find_off(OFF[kind][1])


@pytest.mark.parametrize("text", [
    "'ssl_check_hostname': True", '"kafka.ssl.endpoint.identification.algorithm": "https"', "verify=True",
    "curl -fsS x", "sslmode=verify-full", "insecure = false", "certificate verification is on"])
def test_what_leaves_it_on_is_not(text: str) -> None:
    assert find_off(text) == []


def test_nothing_of_the_project_turns_it_off() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split("\0") if name and not name.startswith("tests/")]
    assert len(names) > 300
    found = {name: off for name in names if (PROJECT_ROOT / name).is_file()
             and (off := find_off((PROJECT_ROOT / name).read_bytes().decode(errors="replace")))}
    assert found == {}


def test_this_pythons_own_context_verifies() -> None:
    context = ssl.create_default_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
