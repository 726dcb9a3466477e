"""How to log in at a broker: the options of each client, from kafka.security_protocol and what goes with it."""

import ssl
from typing import Any

from shoplake.errors import ConfigError
from shoplake.lake.secrets import read_secret
from shoplake.settings import Settings

PASSWORD_VARIABLE = "SHOPLAKE_KAFKA__SASL_PASSWORD"  # noqa: S105 - a variable's name  # pragma: allowlist secret
_LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


def client_security(settings: Settings) -> dict[str, Any]:
    """Give the options of kafka-python's clients; none for a broker without TLS.

    The broker's certificate is always checked, its name too.

    Raises:
        ConfigError: user or password is missing, or kafka.ca_file holds no certificate.
        StorageError: Secret Manager does not answer.
    """
    kafka = settings.kafka
    if kafka.security_protocol == "PLAINTEXT":
        return {}
    user, password = find_login(settings)
    return {
        "security_protocol": kafka.security_protocol, "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": user, "sasl_plain_password": password,
        "ssl_cafile": _authorities(settings), "ssl_check_hostname": True,
    }


def spark_security(settings: Settings) -> dict[str, str]:
    """Give the same as options of Spark's Kafka source; raises as `client_security` does."""
    kafka = settings.kafka
    if kafka.security_protocol == "PLAINTEXT":
        return {}
    user, password = (text.replace("\\", "\\\\").replace('"', '\\"') for text in find_login(settings))
    file = _authorities(settings)
    trusted = {"kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.location": file} if file else {}
    return {
        "kafka.security.protocol": kafka.security_protocol, "kafka.sasl.mechanism": kafka.sasl_mechanism,
        "kafka.sasl.jaas.config":
            f'{_LOGIN_MODULES[kafka.sasl_mechanism]} required username="{user}" password="{password}";',
        "kafka.ssl.endpoint.identification.algorithm": "https", **trusted,
    }


def find_login(settings: Settings) -> tuple[str, str]:
    """Give user and password: those of the environment, else of the secret that kafka.sasl_secret names."""
    kafka = settings.kafka
    user, password = kafka.sasl_username, kafka.sasl_password.get_secret_value()
    if not password and kafka.sasl_secret:
        told = read_secret(settings.gcp.project_id, kafka.sasl_secret, settings.gcp.secret_endpoint)
        user, password = user or told.get("username", ""), told.get("password", "")
    if not (user and password):
        raise ConfigError(f"kafka.security_protocol of the profile {settings.profile} is {kafka.security_protocol}, "
                          f"and that wants kafka.sasl_username with {PASSWORD_VARIABLE}, or kafka.sasl_secret, a "
                          "secret of Secret Manager with both")
    return user, password


def _authorities(settings: Settings) -> str | None:
    if not settings.kafka.ca_file:
        return None
    file = settings.data_path / settings.kafka.ca_file
    try:
        ssl.create_default_context(cafile=str(file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"kafka.ca_file {file} holds no certificate that can be read: {error}") from error
    return str(file)
