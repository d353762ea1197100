"""Reads a page of metrics from standard input with a parser of the Prometheus project, and prints what it
has understood as JSON. The first argument says which parser: `prometheus` or `openmetrics`."""

import json
import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as open_parser

PARSERS = {
    "prometheus": parser.text_string_to_metric_families,
    "openmetrics": open_parser.text_string_to_metric_families,
}

families = [
    {
        "name": family.name,
        "type": family.type,
        "help": family.documentation,
        "samples": [
            {"name": sample.name, "labels": sample.labels, "value": sample.value}
            for sample in family.samples
        ],
    }
    for family in PARSERS[sys.argv[1]](sys.stdin.read())
]
json.dump(families, sys.stdout)
