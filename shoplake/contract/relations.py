"""What a table is, and what a view is: the contract's tables are written in these words."""

from dataclasses import dataclass

from shoplake.contract.columns import Column


@dataclass(frozen=True)
class Table:
    """A Delta table of the lake.

    Attributes:
        grain: what one row is, in words.
        key: the columns that identify a row.
        partition_by: the date column that Delta and BigQuery partition by; None for small tables.
        cluster_by: BigQuery's clustering columns.
        readable_whole: BigQuery may read every partition at once, because a view has to look for the newest rows.
        served: readers see it in the warehouse.
        writer: the command that writes it, by its path.
        inputs: what it is made from: tables, or in words what comes from outside.
        readers: the commands that read it, by their paths; queries in sql/ are found by their text.
    """

    name: str
    description: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: str | None = None
    cluster_by: tuple[str, ...] = ()
    readable_whole: bool = False
    served: bool = False
    writer: str = ""
    inputs: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()

    @property
    def layer(self) -> str:
        """The part before the dot: bronze, silver, gold or ops."""
        return self.name.split(".")[0]

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names in the table's order."""
        return tuple(column.name for column in self.columns)

    @property
    def requires_partition_filter(self) -> bool:
        """Whether BigQuery refuses a query that does not say which partitions of the table it reads."""
        return self.served and self.partition_by is not None and not self.readable_whole


@dataclass(frozen=True)
class View:
    """A served question over the lake's tables, in GoogleSQL; `reads` names the tables it needs."""

    name: str
    description: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    reads: tuple[str, ...]
    sql: str
