"""The tables of the forecasts: what was forecast, and how well it did."""

from shoplake.contract.columns import PRODUCT_ID, Column
from shoplake.contract.relations import Table

DEMAND_PREDICTIONS = Table(
    "gold.demand_predictions", "Forecast units of each product",
    "as_of_date, target_date, product_id, model", ("as_of_date", "target_date", "product_id", "model"),
    (Column("as_of_date", "DATE", "The last complete shop day used; the cutoff is its end", privacy="public"),
     Column("target_date", "DATE", "The shop day forecast", privacy="public"),
     Column("horizon", "INT", "target_date - as_of_date in days", privacy="public"), PRODUCT_ID,
     Column("category", "STRING", "The product's last known category", privacy="public"),
     Column("model", "STRING", "The model's name"),
     Column("model_version", "STRING", "SHA-256 of the model's artifact"),
     Column("predicted_units", "DOUBLE", "Expected units, at least 0", privacy="public"),
     Column("lower_80", "DOUBLE", "Four of five days should lie between this …", nullable=True, privacy="public"),
     Column("upper_80", "DOUBLE", "… and this; NULL where no bands were fitted, for a product of less than a month, "
            "and with a stand-in", nullable=True, privacy="public"),
     Column("lower_95", "DOUBLE", "The same of 19 of 20 days", nullable=True, privacy="public"),
     Column("upper_95", "DOUBLE", "See lower_95", nullable=True, privacy="public"),
     Column("is_fallback", "BOOLEAN", "Another figure stands in for the model's own"),
     Column("fallback_reason", "STRING", "Why, and which figure", nullable=True)),
    partition_by="target_date", cluster_by=("product_id", "category"), served=True,
    writer="ml/inference.py", inputs=("gold.daily_sales",),
    readers=("utils/record_run.py",),
)
BACKTEST_METRICS = Table(
    "gold.backtest_metrics", "How each forecaster did in the newest backtest of some data",
    "data, model, metric", ("data", "model", "metric"),
    (Column("data", "STRING", "gold.daily_sales, or the file's name"),
     Column("data_version", "STRING", "The Delta version of gold.daily_sales, or the file's SHA-256"),
     Column("as_of_date", "DATE", "The last shop day that was scored", privacy="public"),
     Column("model", "STRING", "The model's name"),
     Column("metric", "STRING", "As in docs/forecasting.md: week_wrmsse, week_wape, …"),
     Column("value", "DOUBLE", "Of the test origins; NULL where nothing could be scored", nullable=True),
     Column("ratio", "DOUBLE", "value over that of wmixt; NULL where the two are not compared", nullable=True),
     Column("ratio_low", "DOUBLE", "95% of drawn shops have a ratio from this …", nullable=True),
     Column("ratio_high", "DOUBLE", "… to this", nullable=True)),
    served=True, writer="ml/backtest.py", inputs=("gold.daily_sales",), readers=(),
)
