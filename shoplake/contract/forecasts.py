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
    readers=("ml/accuracy.py", "utils/record_run.py"),
)
DEMAND_TOTALS = Table(
    "gold.demand_totals", "Forecast units of each product, each category and the shop, for the next day and the week",
    "as_of_date, horizon_days, level, name, model", ("as_of_date", "horizon_days", "level", "name", "model"),
    (Column("as_of_date", "DATE", "The last complete shop day used; the cutoff is its end", privacy="public"),
     Column("horizon_days", "INT", "How many days from the next one on: 1 or 7", privacy="public"),
     Column("last_target_date", "DATE", "The last of these days", privacy="public"),
     Column("level", "STRING", "product, category or shop", privacy="public"),
     Column("name", "STRING", "The product; the category, whose products are those with this last known category; "
            "all for the shop", privacy="public"),
     Column("model", "STRING", "The model's name"),
     Column("model_version", "STRING", "SHA-256 of the model's artifact"),
     Column("product_count", "BIGINT", "Products in it", privacy="public"),
     Column("predicted_units", "DOUBLE", "Expected units, at least 0: the sum of gold.demand_predictions",
            privacy="public"),
     Column("lower_80", "DOUBLE", "Four of five totals should lie between this …", nullable=True, privacy="public"),
     Column("upper_80", "DOUBLE", "… and this; NULL where a product has none in gold.demand_predictions, and with "
            "fewer than 4 known totals of the category or the shop", nullable=True, privacy="public"),
     Column("lower_95", "DOUBLE", "The same of 19 of 20 totals; of categories and the shop with fewer than 19 known "
            "ones NULL", nullable=True, privacy="public"),
     Column("upper_95", "DOUBLE", "See lower_95", nullable=True, privacy="public"),
     Column("band_source", "STRING", "Whose past errors made the limits: bands (the quantile model) or a model's name; "
            "NULL without limits", nullable=True),
     Column("band_count", "BIGINT", "How many past totals of the category or the shop they are made of",
            nullable=True),
     Column("fallback_count", "BIGINT", "Products for which another figure stands in")),
    partition_by="as_of_date", cluster_by=("level", "name"), served=True,
    writer="ml/inference.py", inputs=("gold.daily_sales",),
)
FORECAST_ACCURACY = Table(
    "gold.forecast_accuracy", "How near each day's forecasts came, when the day is over",
    "target_date, model, horizon", ("target_date", "model", "horizon"),
    (Column("target_date", "DATE", "The shop day that was forecast, complete", privacy="public"),
     Column("model", "STRING", "The model's name"),
     Column("horizon", "INT", "How many days ahead it was forecast", privacy="public"),
     Column("product_count", "BIGINT", "Products that were forecast", privacy="public"),
     Column("predicted_units", "DOUBLE", "Their forecast units", privacy="public"),
     Column("actual_units", "BIGINT", "What the shop sold, of products that were not forecast too", privacy="public"),
     Column("absolute_error", "DOUBLE", "Sum over the products; one that was not forecast counts with all it sold",
            privacy="public"),
     Column("wape", "DOUBLE", "absolute_error / actual_units; NULL where nothing was sold", nullable=True,
            privacy="public"),
     Column("bias", "DOUBLE", "(predicted_units - actual_units) / actual_units: above 0 is too high; NULL where "
            "nothing was sold", nullable=True, privacy="public"),
     Column("missed_count", "BIGINT", "Products that sold but were not forecast", privacy="public"),
     Column("missed_units", "BIGINT", "What they sold", privacy="public"),
     Column("fallback_count", "BIGINT", "Products for which another figure stood in"),
     Column("banded_count", "BIGINT", "Products with limits", privacy="public"),
     Column("coverage_80", "DOUBLE", "The share of them that sold within their 80% limits", nullable=True,
            privacy="public"),
     Column("coverage_95", "DOUBLE", "The same of the 95% limits", nullable=True, privacy="public"),
     Column("drift_score", "DOUBLE", "How far the shop's sales have run from the newest forecasts of the days up to "
            "this one: a CUSUM, above 0 more was sold; NULL in forecasts that a newer one replaced, and while too few "
            "days are known", nullable=True),
     Column("is_drifting", "BOOLEAN", "It has passed the limit: a lasting shift of the level, not a few odd days")),
    served=True, writer="ml/accuracy.py", inputs=("gold.demand_predictions", "gold.daily_sales"),
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
