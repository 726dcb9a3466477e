"""What can be fetched: configs/sources.yaml, read and checked."""

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, TypeAdapter, ValidationError

from shoplake.contract.events import V1_FIELDS, check_mapping
from shoplake.errors import ConfigError
from shoplake.sections import SourceName
from shoplake.yaml_files import read_yaml

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Events(_Definition):
    """What gives rows that become events.

    Attributes:
        fields: the contract's field -> where it stands in a row.
        constants: the contract's field -> the same value for all rows.
    """

    fields: dict[str, str]
    constants: dict[str, str | int] = {}

    def model_post_init(self, context: Any) -> None:
        """Refuse what could never be an event, or not be told from its copy."""
        check_mapping(self.fields, self.constants, (*V1_FIELDS, "event_id"))
        if "event_id" not in self.fields:
            raise ValueError("event_id must be a field: without it a row that is read twice would count twice")


class DatabaseSource(_Events):
    """A table of a database, read in the order of a column that grows.

    Attributes:
        url_env: the environment variable with the SQLAlchemy address.
        table: its name, with its schema before a dot if it has one.
        cursor: the column.
        overlap: how far before the bookmark is read again, in seconds where the column is a time, else in its own
            unit: rows that were written earlier and committed later. Copies are recognized by their event_id.
        time_zone: of times without one.
    """

    kind: Literal["database"]
    url_env: Variable
    table: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*\.)?[A-Za-z_][A-Za-z0-9_]*$")]
    cursor: Identifier
    overlap: Annotated[int, Field(ge=0)] = 600
    time_zone: str = "UTC"


class HttpSource(_Events):
    """A service that answers with JSON, page by page.

    Attributes:
        url: where, without a login; redirects are not followed.
        private_network: that it is in one, or on this machine, and nowhere else; without it no address there is spoken
            to, also if the name leads there. Link-local addresses and those of clouds' metadata never are.
        token_env: the environment variable with the bearer token; none if the service asks for none.
        parameters: sent with each request.
        records: the dotted path of the list in an answer; empty if the answer is the list.
        page_parameter: which page is asked for.
        next: the dotted path of the next page's name in an answer, which ends where it is empty; without it pages are
            numbered from 1, and the first one without records is the last.
        bookmark_parameter: from where on; not sent the first time.
        bookmark_field: the dotted path in a record of what the bookmark is the greatest of: numbers, or texts whose
            order is that of time.
        requests_per_second: at most.
        page_bytes: of an answer, unpacked, at most.
        page_seconds: until an answer must be there whole.
    """

    kind: Literal["http_api"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s\\\x00-\x20\x7f]+$", max_length=2000)]
    private_network: bool = False
    token_env: Variable | None = None
    parameters: dict[str, str | int] = {}
    records: str = ""
    page_parameter: str = "page"
    next: str = ""
    bookmark_parameter: str
    bookmark_field: str
    requests_per_second: PositiveFloat = 5.0
    page_bytes: PositiveInt = 50_000_000
    page_seconds: PositiveFloat = 120.0

    def model_post_init(self, context: Any) -> None:
        """Refuse an address that has a login in it, and a token that would travel in the clear."""
        super().model_post_init(context)
        place = urlsplit(self.url)
        if "@" in place.netloc or not place.hostname:
            raise ValueError("url must have a host, and no login before it; a token's place is token_env")
        if self.token_env and place.scheme == "http" and not self.private_network:
            raise ValueError("url must be https where a token is sent, or the service in a private network")


class PublicSet(_Definition):
    """A set that Kaggle keeps.

    Attributes:
        dataset: owner/name.
        source: the source that reads it.
        sha256: of the archive; a file with another one is refused.
    """

    kind: Literal["public_set"]
    dataset: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    source: SourceName
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


Definition = Annotated[DatabaseSource | HttpSource | PublicSet, Field(discriminator="kind")]
_DEFINITIONS = TypeAdapter(dict[SourceName, Definition])


def load_definitions(path: Traversable) -> dict[str, DatabaseSource | HttpSource | PublicSet]:
    """Read the file.

    Raises:
        ConfigError: it is missing or wrong; every mistake is named.
    """
    try:
        return _DEFINITIONS.validate_python(read_yaml(path) or {})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"{path}: {wrong}") from error


def read_variable(variable: str, environment: Mapping[str, str]) -> str:
    """Give the value of a variable of the environment.

    Raises:
        ConfigError: it is not set.
    """
    value = environment.get(variable, "")
    if not value:
        raise ConfigError(f"the environment variable {variable} is not set; the source needs it. Set it, and run this "
                          "again")
    return value


def look_into(row: Any, path: str) -> Any:
    """Give what stands at a dotted path of nested objects; None where there is nothing."""
    for part in path.split(".") if path else ():
        row = row.get(part) if isinstance(row, Mapping) else None
    return row
