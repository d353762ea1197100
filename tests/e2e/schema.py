"""Judges TOML files by a JSON Schema, as the validator of the JSON Schema project does. The first argument is the
schema; the texts come as a JSON object, by their names, on standard input. Prints what is wrong with each as JSON:
a list of complaints, or `null` for what is no TOML."""

import json
import sys
import tomllib

from jsonschema import Draft202012Validator

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)


def complaints(text):
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def defaults(table, name):
    """What is wrong with defaults that the schema gives, each judged as the value of its key."""
    for key, value in table.get("properties", {}).items():
        if "default" in value:
            judge = Draft202012Validator({**value, "$defs": schema["$defs"]})
            for error in judge.iter_errors(value["default"]):
                yield f"[{name}] {key}: {error.message}"
            yield None


judged = [fault for name, table in {"": schema, **schema["$defs"]}.items() for fault in defaults(table, name)]
json.dump(
    {
        "files": {name: complaints(text) for name, text in json.load(sys.stdin).items()},
        "defaults": judged.count(None),
        "wrong_defaults": [fault for fault in judged if fault],
    },
    sys.stdout,
)
