//! The subjects of docs/validation.md, each with documents that keep to it and documents that do not: a table of
//! documents and the issues of each.

use std::sync::LazyLock;

use super::{lines, parse};
use crate::fhir::Document;
use crate::validation::Validator;

/// Profiles, extensions, a code system and value sets, one a line.
const DEFINITIONS: &str = r##"
{"resourceType":"StructureDefinition","url":"https://x/pattern","name":"pattern","status":"draft","kind":"resource","abstract":false,"type":"Observation","derivation":"constraint","baseDefinition":"R4/Observation","differential":{"element":[{"id":"Observation.code","path":"Observation.code","patternCodeableConcept":{"coding":[{"system":"https://x/s","code":"a"}]}},{"id":"Observation.bodySite","path":"Observation.bodySite","fixedCodeableConcept":{"text":"A"}}]}}
{"resourceType":"StructureDefinition","url":"https://x/this","name":"this","status":"draft","kind":"resource","abstract":false,"type":"Observation","derivation":"constraint","baseDefinition":"R4/Observation","differential":{"element":[{"id":"Observation.category","path":"Observation.category","slicing":{"discriminator":[{"type":"pattern","path":"$this"}],"rules":"open"}},{"id":"Observation.category:vital","path":"Observation.category","sliceName":"vital","min":1,"max":"1","patternCodeableConcept":{"coding":[{"system":"https://x/s","code":"a"}]}}]}}
{"resourceType":"StructureDefinition","url":"https://x/resolve","name":"resolve","status":"draft","kind":"resource","abstract":false,"type":"Observation","derivation":"constraint","baseDefinition":"R4/Observation","differential":{"element":[{"id":"Observation.performer","path":"Observation.performer","slicing":{"discriminator":[{"type":"type","path":"resolve()"}],"rules":"open"}},{"id":"Observation.performer:person","path":"Observation.performer","sliceName":"person","min":1,"type":[{"code":"Reference","targetProfile":["R4/Practitioner"]}]}]}}
{"resourceType":"StructureDefinition","url":"https://x/resolve-value","name":"resolve-value","status":"draft","kind":"resource","abstract":false,"type":"Observation","derivation":"constraint","baseDefinition":"R4/Observation","differential":{"element":[{"id":"Observation.performer","path":"Observation.performer","slicing":{"discriminator":[{"type":"value","path":"resolve().active"}],"rules":"open"}},{"id":"Observation.performer:working","path":"Observation.performer","sliceName":"working","min":1,"max":"1","type":[{"code":"Reference","targetProfile":["https://x/working"]}]}]}}
{"resourceType":"StructureDefinition","url":"https://x/working","name":"working","status":"draft","kind":"resource","abstract":false,"type":"Practitioner","derivation":"constraint","baseDefinition":"R4/Practitioner","differential":{"element":[{"id":"Practitioner.active","path":"Practitioner.active","min":1,"fixedBoolean":true}]}}
{"resourceType":"StructureDefinition","url":"https://x/url","name":"url","status":"draft","kind":"resource","abstract":false,"type":"Patient","derivation":"constraint","baseDefinition":"R4/Patient","differential":{"element":[{"id":"Patient.extension","path":"Patient.extension","slicing":{"discriminator":[{"type":"value","path":"url"}],"rules":"open"}},{"id":"Patient.extension:colour","path":"Patient.extension","sliceName":"colour","min":1,"max":"1","type":[{"code":"Extension","profile":["https://x/colour"]}]}]}}
{"resourceType":"StructureDefinition","url":"https://x/by-extension","name":"by-extension","status":"draft","kind":"resource","abstract":false,"type":"Patient","derivation":"constraint","baseDefinition":"R4/Patient","differential":{"element":[{"id":"Patient.contact","path":"Patient.contact","slicing":{"discriminator":[{"type":"value","path":"extension('https://x/colour').value"}],"rules":"open"}},{"id":"Patient.contact:red","path":"Patient.contact","sliceName":"red","max":"1"},{"id":"Patient.contact:red.extension","path":"Patient.contact.extension","slicing":{"discriminator":[{"type":"value","path":"url"}],"rules":"open"}},{"id":"Patient.contact:red.extension:colour","path":"Patient.contact.extension","sliceName":"colour","min":1,"type":[{"code":"Extension","profile":["https://x/colour"]}]},{"id":"Patient.contact:red.extension:colour.value[x]","path":"Patient.contact.extension.value[x]","min":1,"fixedCode":"red"}]}}
{"resourceType":"StructureDefinition","url":"https://x/colour","name":"colour","status":"draft","kind":"complex-type","abstract":false,"type":"Extension","derivation":"constraint","baseDefinition":"R4/Extension","differential":{"element":[{"id":"Extension.url","path":"Extension.url","fixedUri":"https://x/colour"},{"id":"Extension.value[x]","path":"Extension.value[x]","min":1,"type":[{"code":"code"}]}]},"context":[{"type":"element","expression":"Patient"},{"type":"element","expression":"Patient.contact"}]}
{"resourceType":"StructureDefinition","url":"https://x/ordered","name":"ordered","status":"draft","kind":"resource","abstract":false,"type":"Patient","derivation":"constraint","baseDefinition":"R4/Patient","differential":{"element":[{"id":"Patient.telecom","path":"Patient.telecom","slicing":{"discriminator":[{"type":"value","path":"system"}],"rules":"openAtEnd","ordered":true}},{"id":"Patient.telecom:phone","path":"Patient.telecom","sliceName":"phone"},{"id":"Patient.telecom:phone.system","path":"Patient.telecom.system","min":1,"fixedCode":"phone"},{"id":"Patient.telecom:email","path":"Patient.telecom","sliceName":"email","constraint":[{"key":"t-1","severity":"error","human":"work","expression":"use = 'work'"}]},{"id":"Patient.telecom:email.system","path":"Patient.telecom.system","min":1,"fixedCode":"email"}]}}
{"resourceType":"StructureDefinition","url":"https://x/entries","name":"entries","status":"draft","kind":"resource","abstract":false,"type":"Bundle","derivation":"constraint","baseDefinition":"R4/Bundle","differential":{"element":[{"id":"Bundle.entry.resource","path":"Bundle.entry.resource","type":[{"code":"Patient","profile":["https://x/url"]}]}]}}
{"resourceType":"StructureDefinition","url":"https://x/negating","name":"negating","status":"draft","kind":"complex-type","abstract":false,"type":"Extension","derivation":"constraint","baseDefinition":"R4/Extension","differential":{"element":[{"id":"Extension","path":"Extension","isModifier":true,"isModifierReason":"x"},{"id":"Extension.url","path":"Extension.url","fixedUri":"https://x/negating"},{"id":"Extension.value[x]","path":"Extension.value[x]","type":[{"code":"boolean"}]}]},"context":[{"type":"element","expression":"Patient"}]}
{"resourceType":"StructureDefinition","url":"https://x/simple","name":"simple","status":"draft","kind":"complex-type","abstract":false,"type":"Extension","derivation":"constraint","baseDefinition":"R4/Extension","differential":{"element":[{"id":"Extension.extension","path":"Extension.extension","max":"0"},{"id":"Extension.url","path":"Extension.url","fixedUri":"https://x/simple"},{"id":"Extension.value[x]","path":"Extension.value[x]","min":1,"type":[{"code":"boolean"}]}]},"context":[{"type":"extension","expression":"https://x/complex"}]}
{"resourceType":"StructureDefinition","url":"https://x/complex","name":"complex","status":"draft","kind":"complex-type","abstract":false,"type":"Extension","derivation":"constraint","baseDefinition":"R4/Extension","differential":{"element":[{"id":"Extension.extension","path":"Extension.extension","min":1},{"id":"Extension.url","path":"Extension.url","fixedUri":"https://x/complex"},{"id":"Extension.value[x]","path":"Extension.value[x]","max":"0"}]},"context":[{"type":"element","expression":"Patient.name"}]}
{"resourceType":"StructureDefinition","url":"https://x/bound","name":"bound","status":"draft","kind":"resource","abstract":false,"type":"Patient","derivation":"constraint","baseDefinition":"R4/Patient","differential":{"element":[{"id":"Patient.maritalStatus","path":"Patient.maritalStatus","binding":{"strength":"preferred","valueSet":"https://x/some"}},{"id":"Patient.communication.language","path":"Patient.communication.language","binding":{"strength":"required","valueSet":"https://x/nested"}}]}}
{"resourceType":"CodeSystem","url":"https://x/s","status":"draft","content":"complete","concept":[{"code":"a","concept":[{"code":"b"}]},{"code":"c"}]}
{"resourceType":"StructureDefinition","url":"https://x/by-path","name":"by-path","status":"draft","kind":"complex-type","abstract":false,"type":"Extension","derivation":"constraint","baseDefinition":"R4/Extension","differential":{"element":[{"id":"Extension.url","path":"Extension.url","fixedUri":"https://x/by-path"},{"id":"Extension.value[x]","path":"Extension.value[x]","min":1,"type":[{"code":"boolean"}]}]},"context":[{"type":"fhirpath","expression":"Patient.name.where(use = 'official') | Patient.birthDate"}]}
{"resourceType":"CodeSystem","url":"https://x/named","status":"draft","content":"complete","concept":[{"code":"a","display":"First of all","designation":[{"value":"Number one"}]},{"code":"b"}]}
{"resourceType":"CodeSystem","url":"http://snomed.info/sct","status":"draft","content":"fragment","concept":[{"code":"73211009","display":"Diabetes mellitus"}]}
{"resourceType":"ValueSet","url":"https://x/renamed","status":"draft","compose":{"include":[{"system":"https://x/named","concept":[{"code":"a","display":"Top"}]}]}}
{"resourceType":"ValueSet","url":"https://x/some","status":"draft","compose":{"include":[{"system":"https://x/s"}],"exclude":[{"system":"https://x/s","concept":[{"code":"b"}]}]}}
{"resourceType":"ValueSet","url":"https://x/nested","status":"draft","compose":{"include":[{"valueSet":["https://x/some"],"system":"https://x/s","filter":[{"property":"concept","op":"is-a","value":"a"}]}]}}
"##;

fn validator() -> &'static Validator {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
        let whole = |line: &str| parse(&line.replace("R4/", crate::fhir::snapshot::R4));
        let definitions: Vec<Document> = DEFINITIONS.lines().filter(|line| !line.is_empty()).map(whole).collect();
        Validator::compile(&definitions).unwrap_or_else(|issues| panic!("{issues:?}"))
    });
    &VALIDATOR
}

/// Checks each document; missing narratives (dom-6) are left out. Tells all that differ.
#[track_caller]
fn check(table: &[(&str, &[&str])]) {
    let differences = table.iter().filter_map(|(json, expected)| {
        let mut issues = validator().check_document(&parse(json), None);
        issues.retain(|issue| issue.rule != "dom-6");
        let (found, expected) = (lines(&issues), expected.join("\n"));
        (found != expected).then(|| format!("{json}\nexpected:\n{expected}\nfound:\n{found}\n"))
    });
    assert_eq!(differences.collect::<String>(), "");
}

#[test]
fn the_shape_of_json_is_that_of_r4() {
    check(&[
        (r##"{"resourceType":"Patient","_birthDate":"a"}"##, &["error structure Patient.birthDate r4-json"]),
        (
            r##"{"resourceType":"Patient","_birthDate":[null]}"##,
            &["error structure Patient.birthDate r4-json", "error structure Patient.birthDate[0] r4-null"],
        ),
        (
            r##"{"resourceType":"Patient","name":[{"given":["A"],"_given":{"id":"a"}}]}"##,
            &["error structure Patient.name[0].given r4-json", "error invariant Patient.name[0].given ele-1"],
        ),
        (
            r##"{"resourceType":"Patient","name":[{"given":[null],"_given":[null]}]}"##,
            &["error structure Patient.name[0].given[0] r4-null"],
        ),
        (
            r##"{"resourceType":"Patient","name":[{"given":["A"],"_given":[null,{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}]}]}"##,
            &["error structure Patient.name[0].given r4-primitive-extension"],
        ),
        (
            r##"{"resourceType":"Patient","birthDate":"2020","_birthDate":{}}"##,
            &["error invariant Patient.birthDate ele-1"],
        ),
        (
            r##"{"resourceType":"Patient","maritalStatus":{}}"##,
            &["error invariant Patient.maritalStatus ele-1", "warning code-invalid Patient.maritalStatus r4-binding"],
        ),
        (r##"{"resourceType":"Patient","name":[null]}"##, &["error structure Patient.name[0] r4-null"]),
        (r##"{"resourceType":"Patient","maritalStatus":null}"##, &["error structure Patient.maritalStatus r4-null"]),
        (r##"{"resourceType":"Patient","name":[[{"family":"A"}]]}"##, &["error structure Patient.name[0] r4-json"]),
        (r##"{"resourceType":"Patient","extension":[]}"##, &["error structure Patient.extension r4-empty"]),
        (
            r##"{"resourceType":"Patient","multipleBirthInteger":"2"}"##,
            &["error structure Patient.multipleBirth.ofType(integer) r4-json"],
        ),
    ]);
}

#[test]
fn values_of_primitives_keep_to_their_types() {
    check(&[
        (
            r##"{"resourceType":"Patient","multipleBirthInteger":2.0}"##,
            &["error value Patient.multipleBirth.ofType(integer) r4-primitive"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","timestamp":"2026-01-01"}"##,
            &["error value Bundle.timestamp r4-primitive"],
        ),
        (
            r##"{"resourceType":"Observation","status":"final","code":{"text":"a"},"valueQuantity":{"value":"1"}}"##,
            &["error structure Observation.value.ofType(Quantity).value r4-json"],
        ),
        (
            r##"{"resourceType":"Patient","photo":[{"data":"a=b","contentType":"image/png"}]}"##,
            &[
                "error value Patient.photo[0].data r4-primitive",
                "information not-supported Patient.photo[0].contentType not-checked",
            ],
        ),
        (
            r##"{"resourceType":"Patient","identifier":[{"system":"urn:oid:9.1","value":"1"}]}"##,
            &["error value Patient.identifier[0].system r4-primitive"],
        ),
    ]);
}

#[test]
fn elements_occur_as_often_and_in_the_types_that_r4_says() {
    check(&[
        (r##"{"resourceType":"Patient","birthDate":["2020"]}"##, &["error structure Patient.birthDate r4-json"]),
        (
            r##"{"resourceType":"Patient","communication":[{"preferred":true}]}"##,
            &["error required Patient.communication[0].language r4-cardinality"],
        ),
        (
            r##"{"resourceType":"Patient","deceasedString":"a"}"##,
            &["error structure Patient.deceasedString r4-unknown-element"],
        ),
        (r##"{"resourceType":"Patient","deceased":true}"##, &["error structure Patient.deceased r4-unknown-element"]),
        (
            r##"{"resourceType":"Patient","_deceasedBoolean":{"id":"a","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]},"deceasedDateTime":"2020"}"##,
            &["error structure Patient.deceased.ofType(dateTime) r4-choice"],
        ),
        (
            r##"{"resourceType":"Patient","name":[{"famly":"A"}]}"##,
            &["error structure Patient.name[0].famly r4-unknown-element", "error invariant Patient.name[0] ele-1"],
        ),
    ]);
}

#[test]
fn values_are_those_that_a_profile_fixes_or_contain_its_patterns() {
    check(&[
        (
            r##"{"resourceType":"Observation","meta":{"profile":["https://x/pattern"]},"status":"final","code":{"text":"x","coding":[{"system":"https://o","code":"z"},{"system":"https://x/s","code":"a","display":"q"}]},"bodySite":{"text":"A"}}"##,
            &["information not-supported Observation.code.coding[0] not-checked"],
        ),
        (
            r##"{"resourceType":"Observation","meta":{"profile":["https://x/pattern"]},"status":"final","code":{"text":"a"},"bodySite":{"text":"A","id":"q"}}"##,
            &[
                "error value Observation.code https://x/pattern",
                "error value Observation.bodySite.id https://x/pattern",
            ],
        ),
    ]);
}

#[test]
fn slices_are_told_apart_by_every_kind_of_discriminator() {
    check(&[
        (
            r##"{"resourceType":"Observation","meta":{"profile":["https://x/this"]},"status":"final","code":{"text":"a"},"category":[{"coding":[{"system":"https://x/s","code":"a"}]},{"text":"b"}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Observation","meta":{"profile":["https://x/this"]},"status":"final","code":{"text":"a"},"category":[{"text":"b"}]}"##,
            &["error required Observation.category https://x/this"],
        ),
        (
            r##"{"resourceType":"Observation","meta":{"profile":["https://x/this"]},"status":"final","code":{"text":"a"},"category":[{"coding":[{"system":"https://x/s","code":"a"}]},{"coding":[{"system":"https://x/s","code":"a"}]}]}"##,
            &["error structure Observation.category[1] https://x/this"],
        ),
        (
            r##"{"resourceType":"Observation","meta":{"profile":["https://x/resolve"]},"status":"final","code":{"text":"a"},"contained":[{"resourceType":"Practitioner","id":"p"}],"performer":[{"reference":"#p"}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Observation","meta":{"profile":["https://x/resolve"]},"status":"final","code":{"text":"a"},"contained":[{"resourceType":"Organization","id":"p","name":"a"}],"performer":[{"reference":"#p"}]}"##,
            &["error required Observation.performer https://x/resolve"],
        ),
        (
            r##"{"resourceType":"Observation","meta":{"profile":["https://x/resolve"]},"status":"final","code":{"text":"a"},"performer":[{"reference":"Practitioner/1"}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/url"]},"extension":[{"url":"https://x/colour","valueCode":"a"}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/url"]},"active":true}"##,
            &["error required Patient.extension https://x/url"],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/url"]},"extension":[{"url":"https://x/colour","valueCode":"a"},{"url":"https://x/colour","valueCode":"a"}]}"##,
            &["error structure Patient.extension[1] https://x/url"],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/by-extension"]},"contact":[{"extension":[{"url":"https://x/colour","valueCode":"red"}],"name":{"text":"a"}},{"extension":[{"url":"https://x/colour","valueCode":"blue"}],"name":{"text":"a"}}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/by-extension"]},"contact":[{"extension":[{"url":"https://x/colour","valueCode":"red"}],"name":{"text":"a"}},{"extension":[{"url":"https://x/colour","valueCode":"red"}],"name":{"text":"a"}}]}"##,
            &["error structure Patient.contact[1] https://x/by-extension"],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/ordered"]},"telecom":[{"system":"phone","value":"1"},{"system":"email","value":"a","use":"work"},{"system":"url","value":"a"}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/ordered"]},"telecom":[{"system":"email","value":"a","use":"work"},{"system":"phone","value":"1"}]}"##,
            &["error structure Patient.telecom[1] https://x/ordered"],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/ordered"]},"telecom":[{"system":"url","value":"a"},{"system":"phone","value":"1"}]}"##,
            &["error structure Patient.telecom[1] https://x/ordered"],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/ordered"]},"telecom":[{"system":"email","value":"a","use":"home"}]}"##,
            &["error invariant Patient.telecom[0] https://x/ordered#t-1"],
        ),
    ]);
}

#[test]
fn profiles_hold_on_entries() {
    check(&[
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"https://s/Patient/1","resource":{"resourceType":"Patient","meta":{"profile":["https://x/url"]},"id":"1","extension":[{"url":"https://x/colour","valueCode":"a"}]}}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","meta":{"profile":["https://x/entries"]},"entry":[{"fullUrl":"https://s/Patient/1","resource":{"resourceType":"Patient","id":"1"}}]}"##,
            &["error required Bundle.entry[0].resource.extension https://x/url"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","meta":{"profile":["https://x/entries"]},"entry":[{"fullUrl":"https://s/Basic/1","resource":{"resourceType":"Basic","id":"1","code":{"text":"a"}}}]}"##,
            &["error value Bundle.entry[0].resource https://x/entries"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"https://s/Patient/1","resource":{"resourceType":"Patient","meta":{"profile":["https://x/url"]},"id":"1"}}]}"##,
            &["error required Bundle.entry[0].resource.extension https://x/url"],
        ),
    ]);
}

#[test]
fn extensions_stand_where_and_hold_what_their_definitions_say() {
    check(&[
        (r##"{"resourceType":"Patient","modifierExtension":[{"url":"https://x/negating","valueBoolean":true}]}"##, &[]),
        (
            r##"{"resourceType":"Patient","extension":[{"url":"https://x/negating","valueBoolean":true}]}"##,
            &["error extension Patient.extension[0] r4-modifier-extension"],
        ),
        (
            r##"{"resourceType":"Patient","modifierExtension":[{"url":"https://x/colour","valueCode":"a"}]}"##,
            &["error extension Patient.modifierExtension[0] r4-modifier-extension"],
        ),
        (
            r##"{"resourceType":"Patient","name":[{"extension":[{"url":"https://x/complex","extension":[{"url":"https://x/simple","valueBoolean":true}]}]}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Patient","name":[{"extension":[{"url":"https://x/complex","valueString":"a"}]}]}"##,
            &[
                "error structure Patient.name[0].extension[0].value.ofType(string) https://x/complex",
                "error required Patient.name[0].extension[0].extension https://x/complex",
            ],
        ),
        (
            r##"{"resourceType":"Patient","extension":[{"url":"https://x/simple","valueBoolean":true}]}"##,
            &["error extension Patient.extension[0] https://x/simple"],
        ),
        (
            r##"{"resourceType":"Patient","name":[{"extension":[{"url":"https://x/complex","valueString":"a","extension":[{"url":"https://x/simple","valueBoolean":true}]}]}]}"##,
            &[
                "error invariant Patient.name[0].extension[0] ext-1",
                "error structure Patient.name[0].extension[0].value.ofType(string) https://x/complex",
            ],
        ),
        (
            r##"{"resourceType":"Patient","extension":[{"valueBoolean":true}]}"##,
            &["error required Patient.extension[0].url r4-cardinality"],
        ),
        (
            r##"{"resourceType":"Patient","extension":[{"url":"a","valueBoolean":true}]}"##,
            &["error extension Patient.extension[0] r4-extension-url"],
        ),
        (
            r##"{"resourceType":"Patient","name":[{"modifierExtension":[{"url":"https://x/negating","valueBoolean":true}],"text":"a"}]}"##,
            &["error structure Patient.name[0].modifierExtension r4-unknown-element"],
        ),
        (
            r##"{"resourceType":"Patient","extension":[{"url":"https://o","valueString":"a","extension":[{"url":"https://p","valueString":"a"}]}]}"##,
            &[
                "error invariant Patient.extension[0] ext-1",
                "information not-supported Patient.extension[0] not-checked",
                "information not-supported Patient.extension[0].extension[0] not-checked",
            ],
        ),
    ]);
}

#[test]
fn bindings_hold_by_their_strength() {
    check(&[
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/bound"]},"maritalStatus":{"coding":[{"system":"https://x/s","code":"b"}]}}"##,
            &[
                "warning code-invalid Patient.maritalStatus r4-binding",
                "information code-invalid Patient.maritalStatus https://x/bound",
            ],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/bound"]},"communication":[{"language":{"coding":[{"system":"https://x/s","code":"a"}]}}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/bound"]},"communication":[{"language":{"coding":[{"system":"https://x/s","code":"b"}]}}]}"##,
            &["error code-invalid Patient.communication[0].language https://x/bound"],
        ),
        (
            r##"{"resourceType":"Patient","meta":{"profile":["https://x/bound"]},"communication":[{"language":{"coding":[{"system":"https://x/s","code":"c"}]}}]}"##,
            &["error code-invalid Patient.communication[0].language https://x/bound"],
        ),
    ]);
}

#[test]
fn references_lead_to_what_they_may() {
    check(&[
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"https://s/Patient/1","resource":{"resourceType":"Patient","id":"1","meta":{"versionId":"1"}}},{"fullUrl":"https://s/Flag/1","resource":{"resourceType":"Flag","id":"1","status":"active","code":{"text":"a"},"subject":{"reference":"https://s/Patient/1/_history/1"}}}]}"##,
            &[],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"https://s/Patient/1","resource":{"resourceType":"Patient","id":"1","meta":{"versionId":"1"}}},{"fullUrl":"https://s/Flag/1","resource":{"resourceType":"Flag","id":"1","status":"active","code":{"text":"a"},"subject":{"reference":"https://s/Patient/1/_history/2"}}}]}"##,
            &["warning not-found Bundle.entry[1].resource.subject.reference r4-reference"],
        ),
        (
            r##"{"resourceType":"Flag","status":"active","code":{"text":"a"},"subject":{"reference":"Slot/1"}}"##,
            &["error value Flag.subject.reference r4-reference-target"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b81","resource":{"resourceType":"Flag","status":"active","code":{"text":"a"},"subject":{"reference":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b82"}},"request":{"method":"POST","url":"Flag"}}]}"##,
            &["error not-found Bundle.entry[0].resource.subject.reference r4-reference"],
        ),
        (
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"a","contained":[{"resourceType":"Basic","id":"b","code":{"text":"a"}}]}],"managingOrganization":{"reference":"#a"}}"##,
            &["error invariant Patient dom-2"],
        ),
        (
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","name":"a"}]}"##,
            &["error required Patient.contained[0].id r4-contained"],
        ),
        (
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"a","meta":{"versionId":"1"}}],"managingOrganization":{"reference":"#a"}}"##,
            &["error invariant Patient dom-4"],
        ),
        (
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"a","meta":{"security":[{"code":"a","system":"https://o"}]}}],"managingOrganization":{"reference":"#a"}}"##,
            &[
                "warning code-invalid Patient.contained[0].meta.security[0] r4-binding",
                "error invariant Patient dom-5",
                "information not-supported Patient.contained[0].meta.security[0] not-checked",
            ],
        ),
        (
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"a"},{"resourceType":"Organization","id":"a","name":"a"}],"managingOrganization":{"reference":"#a"}}"##,
            &["error duplicate Patient.contained[1] r4-contained"],
        ),
    ]);
}

#[test]
fn bundles_keep_to_the_rules_of_their_type() {
    check(&[
        (
            r##"{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient"}}]}"##,
            &["error invariant Bundle bdl-3"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b81","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}]}"##,
            &["error invariant Bundle bdl-3"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b81","resource":{"resourceType":"Patient"},"response":{"status":"200"}}]}"##,
            &["error invariant Bundle bdl-4"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b81","resource":{"resourceType":"Patient"},"search":{"mode":"match"}}]}"##,
            &["error invariant Bundle bdl-2"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","total":1,"entry":[{"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b81","resource":{"resourceType":"Patient"}}]}"##,
            &["error invariant Bundle bdl-1"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"https://s/Patient/1/_history/1","resource":{"resourceType":"Patient","id":"1"}}]}"##,
            &["error invariant Bundle.entry[0] bdl-8"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"}}]}"##,
            &["error required Bundle.entry[0].fullUrl r4-full-url"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b81"}]}"##,
            &["error invariant Bundle.entry[0] bdl-5"],
        ),
        (
            r##"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b81","resource":{"resourceType":"Patient"}}]}"##,
            &["error invariant Bundle bdl-12"],
        ),
    ]);
}

#[test]
fn narratives_are_safe() {
    check(&[
        (
            r##"{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\" onclick=\"a\">a</div>"}}"##,
            &["error invalid Patient.text.`div` txt-1"],
        ),
        (
            r##"{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><a href=\"javascript:a\">a</a></div>"}}"##,
            &["error invalid Patient.text.`div` txt-1"],
        ),
        (
            r##"{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"> </div>"}}"##,
            &["error invalid Patient.text.`div` txt-1"],
        ),
    ]);
}

#[test]
fn numbers_of_the_nhs_are_written_without_spaces() {
    check(&[(
        r##"{"resourceType":"Patient","identifier":[{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"999 000 1014"}]}"##,
        &["error value Patient.identifier[0].value uk-nhs-number"],
    )]);
}

#[test]
fn displays_are_those_of_the_code() {
    let of = |members: &str, coding: &str| {
        let json = format!(r#"{{"resourceType":"Basic"{members},"code":{{"coding":[{{{coding}}}]}}}}"#);
        let mut issues = validator().check_document(&parse(&json), None);
        issues.retain(|issue| issue.rule == "r4-display");
        (lines(&issues), issues.first().map(|issue| issue.text.clone()).unwrap_or_default())
    };
    let own = |code: &str, display: &str| {
        of("", &format!(r#""system":"https://x/named","code":"{code}","display":"{display}""#)).0
    };
    let wrong = "error code-invalid Basic.code.coding[0].display r4-display";
    let warned = wrong.replace("error", "warning");
    for display in ["First of all", "first  of ALL", "Number one", "Top"] {
        assert_eq!(own("a", display), "", "{display}");
    }
    for display in ["Last of all", "First of", "a", " "] {
        assert_eq!(own("a", display), wrong, "{display}");
    }
    assert_eq!(own("b", "anything"), "");
    let gender = |members: &str, display: &str| {
        let system = "http://hl7.org/fhir/administrative-gender";
        of(members, &format!(r#""system":"{system}","code":"male","display":"{display}""#))
    };
    assert_eq!(gender("", "Male").0, "");
    let (told, text) = gender("", "Jane Roe");
    assert_eq!(told, wrong);
    assert!(text.contains("Male") && !text.contains("Jane"), "{text}");
    assert_eq!(gender(r#","language":"en-GB""#, "Man").0, wrong);
    assert_eq!(gender(r#","language":"nl""#, "Man").0, warned);
    let snomed = |display: &str| {
        of("", &format!(r#""system":"http://snomed.info/sct","code":"73211009","display":"{display}""#)).0
    };
    assert_eq!(snomed("Diabetes mellitus"), "");
    assert_eq!(snomed("Sugar disease"), warned);
}

#[test]
fn an_extension_stands_on_what_the_path_of_its_context_selects() {
    let extension = r#""extension":[{"url":"https://x/by-path","valueBoolean":true}]"#;
    let of = |members: &str| {
        let json = format!(r#"{{"resourceType":"Patient",{}}}"#, members.replace("EXTENSION", extension));
        let mut issues = validator().check_document(&parse(&json), None);
        issues.retain(|issue| issue.rule != "dom-6");
        lines(&issues)
    };
    let wrong = |path: &str| format!("error extension {path}.extension[0] https://x/by-path");
    assert_eq!(of(r#""name":[{"use":"official","family":"A",EXTENSION}]"#), "");
    assert_eq!(of(r#""name":[{"use":"official","family":"A"},{"family":"B",EXTENSION}]"#), wrong("Patient.name[1]"));
    assert_eq!(of(r#""birthDate":"2001-01-01","_birthDate":{EXTENSION}"#), "");
    assert_eq!(of(r#""_birthDate":{EXTENSION}"#), "");
    assert_eq!(of(r#""gender":"male","_gender":{EXTENSION}"#), wrong("Patient.gender"));
    assert_eq!(of("EXTENSION"), wrong("Patient"));
}

#[test]
fn slices_are_told_apart_by_a_value_of_what_a_reference_leads_to() {
    let of = |working: &[bool]| {
        let each = |(number, active): (usize, &bool)| {
            format!(r#"{{"resourceType":"Practitioner","id":"p{number}","active":{active}}}"#)
        };
        let contained: Vec<String> = working.iter().enumerate().map(each).collect();
        let performers: Vec<String> =
            (0..working.len()).map(|number| format!(r##"{{"reference":"#p{number}"}}"##)).collect();
        let json = format!(
            r#"{{"resourceType":"Observation","meta":{{"profile":["https://x/resolve-value"]}},"status":"final","code":{{"text":"a"}},"contained":[{}],"performer":[{}]}}"#,
            contained.join(","),
            performers.join(",")
        );
        let mut issues = validator().check_document(&parse(&json), None);
        issues.retain(|issue| issue.rule.starts_with("https://x/") || issue.rule == "not-checked");
        lines(&issues)
    };
    assert_eq!(of(&[true]), "");
    assert_eq!(of(&[false, true, false]), "");
    assert_eq!(of(&[false]), "error required Observation.performer https://x/resolve-value");
    assert_eq!(of(&[true, false, true]), "error structure Observation.performer[2] https://x/resolve-value");
    assert!(validator().not_checked().iter().all(|note| !note.contains("resolve-value")));
}
