"""Prints the last result of every (tool, method) in $BENCH/out/results.jsonl as CSV, and writes analysis/speed/table.csv."""
import json
import os
import pathlib

rows = {}
for line in open(os.environ["BENCH"] + "/out/results.jsonl"):
    row = json.loads(line)
    if not row.get("error"):
        rows[row["tool"], row["method"]] = row
text = "tool,method,queries,wall_seconds,peak_gigabytes,top100_overlap\n"
for (tool, method), row in rows.items():
    queries = row.get("T", 10 if method.endswith("10-queries") else 10000)
    text += f"{tool},{method},{queries},{row['wall_total']:.1f},{row['rss_GB']:.2f},{row['top100']:.4f}\n"
pathlib.Path(__file__).with_name("table.csv").write_text(text)
print(text, end="")
