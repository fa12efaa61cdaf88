"""Agreements by query, and 95 % intervals of means, for the scripts of the folders here."""

import numpy
import polars

DRAWS = 5000
# Student's t by the number of values.
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}


def by_query(run, name="lds"):
    """Spearman's correlation over the halves, or over what else the evaluation left out, query by query."""
    table = polars.read_parquet(f"{run}/{name}.parquet").filter(polars.col("estimator") == "run")
    correlation = polars.corr("predicted", "actual", method="spearman").alias("spearman")
    return table.group_by("query").agg(correlation).sort("query")["spearman"].to_numpy()


def interval(values):
    """The mean and its interval by bootstrap."""
    draws = numpy.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(1)
    low, high = numpy.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def half_width(values):
    """Half the interval by Student's t."""
    return STUDENT.get(len(values), 2.0) * values.std(ddof=1) / numpy.sqrt(len(values))
