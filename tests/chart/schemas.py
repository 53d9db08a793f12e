"""Takes an API server's OpenAPI document apart into a strict JSON schema for each kind, as kubeconform reads them.

usage: schemas.py OPENAPI.json FOLDER
"""

import json
import sys
from pathlib import Path

PREFIX = "#/definitions/"
# Schemas whose text form is another than the one described.
LOOSE = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["string", "number"]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["string", "integer"]},
}


def strict(node):
    """No field but those described."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    node = {key: strict(value) for key, value in node.items()}
    if "properties" in node and "additionalProperties" not in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        node["additionalProperties"] = False
    return node


def needed(definitions, name):
    """The definitions that one leads to, itself among them."""
    found, left = {}, [name]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = definitions[name]
            text = json.dumps(found[name])
            left += [rest.split('"')[0] for rest in text.split(f'"$ref": "{PREFIX}')[1:]]
    return found


def main():
    described, folder = Path(sys.argv[1]), Path(sys.argv[2])
    definitions = json.loads(described.read_text())["definitions"]
    strictly = {name: LOOSE.get(name) or strict(schema) for name, schema in definitions.items()}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            if kind["kind"].endswith("List"):
                continue
            # As kubeconform has it: the group up to its first dot, and none for the core.
            parts = [kind["kind"].lower(), kind["group"].split(".")[0], kind["version"]]
            file = "-".join(part for part in parts if part) + ".json"
            whole = {"$ref": PREFIX + name, "definitions": needed(strictly, name)}
            (folder / file).write_text(json.dumps(whole))


main()
