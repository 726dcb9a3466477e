"""Who sees what of the served tables: configs/roles.yaml, and the GoogleSQL that shows a relation to a role.

The text is GoogleSQL, as all questions are; BigQuery's views are that text, and DuckDB makes its own of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlglot import exp

from shoplake.contract.columns import Column, Privacy
from shoplake.contract.render import bigquery_type
from shoplake.contract.tables import TABLES, VIEWS, Table, View
from shoplake.errors import ConfigError
from shoplake.sections import ADMIN, GovernanceSettings
from shoplake.settings import find_resources
from shoplake.yaml_files import read_yaml

_MUST_NAME: tuple[Privacy, ...] = ("personal", "secret")
_INTEGERS = ("INT", "BIGINT")
_LONGEST_FILTER = 10_000  # a question may have 20,000 characters, and this is a part of one
_LONG = 12  # characters, of which four tell little
_SHOWN = "is_shown_to_role"


class Bucket(BaseModel):
    """A number, rounded down to a multiple.

    With more than the most a quotient of amounts, which have 4 decimals, would be rounded: NUMERIC has 9.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: Annotated[int, Field(gt=0, le=100_000)]


Mask = Literal["clear", "nullify", "hash", "last_four"] | Bucket


class TablePolicy(BaseModel):
    """What a role sees of one table.

    Attributes:
        columns: column -> how it is shown.
        rows: column -> the values that a row must have one of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, Mask] = {}
    rows: dict[str, Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]] = {}


class Role(BaseModel):
    """What a role sees.

    Attributes:
        classes: privacy class -> how its columns are shown; a class that is not there is shown as it is.
        tables: table -> what differs there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: dict[Privacy, Literal["clear", "nullify", "hash", "last_four"]]
    tables: dict[str, TablePolicy] = {}

    def mask(self, relation: Table | View, column: Column) -> Mask:
        """Give how a column is shown."""
        own = self.tables[relation.name].columns if relation.name in self.tables else {}
        return own.get(column.name, self.classes.get(column.privacy, "clear"))

    def rows(self, relation: Table | View) -> Mapping[str, Sequence[str]]:
        """Give which rows are shown: column -> its allowed values; nothing where all are."""
        return self.tables[relation.name].rows if relation.name in self.tables else {}

    def reads(self, relation: Table | View, column: Column) -> bool:
        """Tell whether what the role sees is made of the column's values."""
        return self.mask(relation, column) != "nullify" or column.name in self.rows(relation)

    def sees_all(self, relation: Table | View) -> bool:
        """Tell whether the role sees the relation as it is."""
        return not self.rows(relation) and all(self.mask(relation, column) == "clear" for column in relation.columns)


SEES_ALL = Role(classes={})


def load_roles(config_dir: Traversable | None = None) -> Mapping[str, Role]:
    """Read and check configs/roles.yaml.

    Raises:
        ConfigError: it cannot be read, or asks for what cannot be; the message says where.
    """
    file = (config_dir or find_resources("configs")) / "roles.yaml"
    try:
        roles = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,29}$")], Role]).validate_python(
            read_yaml(file))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{file}: {where}: {first['msg']}; seen: {first['input']!r}"[:500]) from error
    if mistakes := [*_find_mistakes(roles)]:
        raise ConfigError(f"{file}: {mistakes[0]}")
    return roles


def find_role(name: str, config_dir: Traversable | None = None) -> Role:
    """Look a role up.

    Raises:
        ConfigError: there is none of this name, or configs/roles.yaml is wrong.
    """
    roles = load_roles(config_dir)
    if name not in roles:
        raise ConfigError(f"no role {name!r} in configs/roles.yaml; there are {', '.join(roles)}")
    return roles[name]


def find_members(settings: GovernanceSettings, roles: Mapping[str, Role]) -> Mapping[str, Sequence[str]]:
    """Give who has each role in BigQuery, of governance.role_members; a role that nobody has is left out.

    Raises:
        ConfigError: a role that configs/roles.yaml does not have.
    """
    for name in settings.role_members:
        if name not in roles:
            raise ConfigError(f"governance.role_members names {name!r}, which is no role of configs/roles.yaml; there "
                              f"are {', '.join(roles)}")
    return {name: settings.role_members[name] for name in roles if settings.role_members.get(name)}


def write_role_query(relation: Table | View, role: Role, source: str, salt: str) -> str:
    """Give the GoogleSQL that selects from `source` what the role sees of the relation, with all of its columns.

    An engine may compute what a question asks before it leaves rows out (Google's own does), and an error would tell of
    a row that is not shown. So such a row has NULL in all columns but the partition's, which prunes by its plain name.

    Args:
        source: the name under which the whole relation is read.
        salt: in GoogleSQL, the text that is hashed with each value, so that nobody without it can try which value a
            hash is of.
    """
    if not role.rows(relation):
        shown = (f"{_show(column, role.mask(relation, column), salt)} AS {_quoted(column.name)}"
                 for column in relation.columns)
        return _select(shown, source)
    partition = relation.partition_by if isinstance(relation, Table) else None
    shown = (_quoted(column.name) if column.name == partition else
             f"IF({_SHOWN}, {_show(column, role.mask(relation, column), salt)}, NULL) AS {_quoted(column.name)}"
             for column in relation.columns)
    read = [_quoted(column.name) for column in relation.columns if role.reads(relation, column)]
    rows = _select([*read, f"{write_row_filter(relation, role)} AS {_SHOWN}"], source)
    return f"{_select(shown, f'({rows}) AS whole')}\nWHERE {_SHOWN}"


def write_row_filter(relation: Table | View, role: Role) -> str:
    """Give the GoogleSQL condition that holds for the rows that the role sees."""
    conditions = (f"{_quoted(name)} IN ({', '.join(write_text(value) for value in values)})"
                  for name, values in role.rows(relation).items())
    return " AND ".join(conditions) or "TRUE"


def write_text(value: str) -> str:
    """Give a text as a literal of GoogleSQL."""
    return str(exp.Literal.string(value).sql(dialect="bigquery"))


def _select(shown: Iterable[str], source: str) -> str:
    listed = ",\n  ".join(shown)
    return f"SELECT\n  {listed}\nFROM {source}"


def _show(column: Column, mask: Mask, salt: str) -> str:
    name = _quoted(column.name)
    if mask == "clear":
        return name
    if mask == "nullify":
        return f"CAST(NULL AS {_plain_type(column)})"
    hashed = f"TO_HEX(SHA256({salt} || {name}))"
    if mask == "hash":
        return hashed
    if mask == "last_four":
        return f"IF(LENGTH({name}) >= {_LONG}, 'XXXXX' || RIGHT({name}, 4), {hashed})"
    size = mask.bucket
    if column.type in _INTEGERS:  # their quotient would be FLOAT64
        return f"{name} - MOD(MOD({name}, {size}) + {size}, {size})"
    return f"FLOOR({name} / {size}) * {size}"


def _find_mistakes(roles: Mapping[str, Role]) -> list[str]:
    if ADMIN not in roles:
        return [f"there is no role {ADMIN}"]
    if roles[ADMIN] != SEES_ALL:
        return [f"{ADMIN} sees everything, and can have neither classes nor tables"]
    return [mistake for name, role in roles.items() if name != ADMIN for mistake in _find_in_role(name, role)]


def _find_in_role(name: str, role: Role) -> list[str]:
    relations: tuple[Table | View, ...] = (*(table for table in TABLES if table.served), *VIEWS)
    served = {relation.name: relation for relation in relations}
    mistakes = [f"{name}: classes must say how {class_} columns are shown" for class_ in _MUST_NAME
                if class_ not in role.classes]
    for table in role.tables:
        if table not in served:
            mistakes.append(f"{name}: {table} is not served; there are {', '.join(served)}")
    read = {base for view in VIEWS for base in view.reads}
    for relation in served.values():
        if not role.sees_all(relation) and relation.name in read:
            mistakes.append(f"{name}: {relation.name} must be shown as it is, because a view is made of it")
        mistakes += [f"{name}: {relation.name}.{mistake}" for mistake in _find_in_table(relation, role)]
        if len(write_row_filter(relation, role)) > _LONGEST_FILTER:
            mistakes.append(f"{name}: {relation.name}: rows have more than {_LONGEST_FILTER:,} characters of values")
    return mistakes


def _find_in_table(relation: Table | View, role: Role) -> list[str]:
    known = {column.name: column for column in relation.columns}
    policy = role.tables.get(relation.name, TablePolicy())
    mistakes = [f"{name} is no column of it" for name in (*policy.columns, *policy.rows) if name not in known]
    mistakes += [f"{name} is of type {known[name].type}, and rows are chosen by STRING columns only"
                 for name in policy.rows if name in known and known[name].type != "STRING"]
    partition = relation.partition_by if isinstance(relation, Table) else None
    for column in relation.columns:
        mask = role.mask(relation, column)
        if mask != "clear" and column.name == partition:
            mistakes.append(f"{column.name} is what the table is partitioned by, and must be clear")
        if mask in ("hash", "last_four") and column.type != "STRING":
            mistakes.append(f"{column.name} is of type {column.type}; {mask} is for STRING")
        if isinstance(mask, Bucket) and not (
                column.type in (*_INTEGERS, "DOUBLE") or column.type.startswith("DECIMAL")):
            mistakes.append(f"{column.name} is of type {column.type}; a bucket is for numbers")
        if mask == "nullify" and column.type.startswith("ARRAY"):
            mistakes.append(f"{column.name} is an array, which BigQuery has no NULL of")
    return mistakes


def _plain_type(column: Column) -> str:
    return bigquery_type(column).split("(")[0]


def _quoted(name: str) -> str:
    return f"`{name}`"

