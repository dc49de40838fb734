"""Measures the columns of ClickHouse's `calls` and `bodies` with other codecs and types.

usage: python tests/codecs.py URL DATABASE

Copies each column of a filled table into tables with only that column, and prints bytes per row.
The codecs and types of the schema were chosen by these figures.
"""

import sys
import urllib.request

NUMBERS = ["LZ4", "ZSTD(1)", "Delta, ZSTD(1)", "DoubleDelta, ZSTD(1)", "T64, ZSTD(1)"]
TEXTS = ["LZ4", "ZSTD(1)", "ZSTD(3)", "ZSTD(9)"]
COLUMNS = {
    "place": ("Int64", NUMBERS),
    "started_at": ("DateTime64(6, 'UTC')", NUMBERS[:4]),
    "latency_us": ("Int64", NUMBERS),
    "tokens_input": ("Nullable(UInt64)", NUMBERS),
    "cost_total": ("Nullable(Int64)", NUMBERS),
    "id": ("UInt128", NUMBERS[:2]),
    "record": ("String", TEXTS),
    "words": ("String", TEXTS),
    "session_id": ("String", TEXTS[:2]),
    "user": ("String", TEXTS[:2]),
    "model": ("String", TEXTS[:2]),
    "alias": ("String", TEXTS[:2]),
    "client_key": ("String", TEXTS[:2]),
    "metadata": ("Map(String, String)", TEXTS[:2]),
}
LOW_CARDINALITY = {
    "model": "LowCardinality(String)",
    "alias": "LowCardinality(String)",
    "client_key": "LowCardinality(String)",
    "session_id": "LowCardinality(String)",
    "user": "LowCardinality(String)",
    "metadata": "Map(LowCardinality(String), String)",
}


def main(url, database):
    def ask(statement):
        with urllib.request.urlopen(url, data=statement.encode(), timeout=600) as reply:
            return reply.read().decode().strip()

    rows = int(ask(f"SELECT count() FROM {database}.calls"))

    def measure(column, kind, codec):
        table = f"{database}.one_column"
        ask(f"DROP TABLE IF EXISTS {table}")
        ask(
            f"CREATE TABLE {table} (place Int64, value {kind} CODEC({codec})) ENGINE = MergeTree ORDER BY place "
            "SETTINGS min_bytes_for_wide_part = 0"
        )
        source = "bodies" if column == "record" else "calls"
        ask(f"INSERT INTO {table} SELECT place, {column} FROM {database}.{source}")
        ask(f"OPTIMIZE TABLE {table} FINAL")
        size = ask(
            f"SELECT sum(column_data_compressed_bytes) FROM system.parts_columns WHERE database = '{database}' "
            "AND table = 'one_column' AND column = 'value' AND active"
        )
        ask(f"DROP TABLE {table}")
        return int(size) / rows

    print(f"bytes a row, over {rows} rows\n")
    for column, (kind, codecs) in COLUMNS.items():
        sizes = [f"{codec}: {measure(column, kind, codec):.2f}" for codec in codecs]
        if column in LOW_CARDINALITY:
            sizes.append(
                f"{LOW_CARDINALITY[column]}, ZSTD(1): {measure(column, LOW_CARDINALITY[column], 'ZSTD(1)'):.2f}"
            )
        print(f"{column}: {'; '.join(sizes)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
