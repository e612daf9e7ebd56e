//! Snapshots of small definitions, and of base R4.

use super::*;
use crate::fhir::Limits;
use crate::fhir::definitions::Definition;

/// A profile of `base` with the elements of a differential, as JSON.
fn profile(url: &str, base: &str, elements: &str) -> StructureDefinition {
    let type_name = base.rsplit('/').next().unwrap_or(base);
    let text = format!(
        r#"{{"resourceType":"StructureDefinition","url":"{url}","kind":"resource","type":"{type_name}",
        "baseDefinition":"{base}","derivation":"constraint","differential":{{"element":[{elements}]}}}}"#
    );
    let document = Document::parse(text, &Limits::default()).expect("it is JSON");
    match Definition::read(&document) {
        Some(Definition::Structure(structure)) => *structure,
        other => panic!("no StructureDefinition: {other:?}"),
    }
}

fn of_patient(elements: &str) -> Result<Arc<Snapshot>, Error> {
    let definition = profile("https://x/p", &format!("{R4}Patient"), elements);
    Snapshots::of([&definition]).snapshot("https://x/p|1.0.0")
}

fn ids(snapshot: &Snapshot, prefix: &str) -> Vec<String> {
    snapshot.elements.iter().map(|element| element.id.to_string()).filter(|id| id.starts_with(prefix)).collect()
}

#[test]
fn base_types_are_those_of_the_tables() {
    let mut snapshots = Snapshots::of([]);
    let bundle = snapshots.snapshot(&format!("{R4}Bundle")).expect("R4 has a Bundle");
    let link = bundle.element("Bundle.entry.link").expect("an entry has links");
    assert_eq!((link.content_reference.as_deref(), link.types.len()), (Some("#Bundle.link"), 0));
    let entry = bundle.element("Bundle.entry").expect("a Bundle has entries");
    let keys: Vec<_> = entry.constraints.iter().map(|each| (each.key.as_str(), each.source.as_deref())).collect();
    assert_eq!(keys[0], ("ele-1", Some("http://hl7.org/fhir/StructureDefinition/Element")));
    assert!(keys.contains(&("bdl-5", Some("http://hl7.org/fhir/StructureDefinition/Bundle"))));
    let observation = snapshots.snapshot(&format!("{R4}Observation")).expect("R4 has an Observation");
    let low = observation.element("Observation.referenceRange.low").expect("a range has a low");
    assert_eq!(low.types[0].profiles, [format!("{R4}SimpleQuantity")]);
}

#[test]
fn a_profile_keeps_its_base_and_adds_to_it() {
    let snapshot = of_patient(
        r#"{"id":"Patient","path":"Patient","constraint":[{"key":"x-1","severity":"error","human":"h","expression":"true"}]},
        {"id":"Patient.birthDate","path":"Patient.birthDate","min":1,"mustSupport":true}"#,
    )
    .expect("it is sound");
    let own: Vec<_> = snapshot.elements[0].constraints.iter().map(|each| each.key.as_str()).collect();
    assert!(own.contains(&"dom-2") && own.ends_with(&["x-1"]), "{own:?}");
    let birth_date = snapshot.element("Patient.birthDate").expect("it is there");
    assert_eq!((birth_date.min, birth_date.max, birth_date.must_support), (1, Some(1), true));
    let base = Snapshots::of([]).snapshot(&format!("{R4}Patient")).expect("R4 has a Patient");
    assert_eq!(ids(&snapshot, ""), ids(&base, ""));
}

#[test]
fn children_of_a_slice_stand_behind_it_and_inherit() {
    let snapshot = of_patient(
        r#"{"id":"Patient.identifier","path":"Patient.identifier","min":1,"slicing":{"rules":"open",
        "discriminator":[{"type":"value","path":"system"}]}},
        {"id":"Patient.identifier.system","path":"Patient.identifier.system","min":1},
        {"id":"Patient.identifier:nhs","path":"Patient.identifier","sliceName":"nhs","max":"1"},
        {"id":"Patient.identifier:nhs.value","path":"Patient.identifier.value","min":1}"#,
    )
    .expect("it is sound");
    let slice = snapshot.element("Patient.identifier:nhs").expect("the slice is there");
    assert_eq!((slice.min, slice.max, slice.slice_name.as_deref()), (0, Some(1), Some("nhs")));
    assert_eq!(snapshot.element("Patient.identifier:nhs.system").map(|each| each.min), Some(1));
    let order = ids(&snapshot, "Patient.identifier");
    let place = |id: &str| order.iter().position(|each| each == id).expect("it is there");
    assert!(place("Patient.identifier.assigner") < place("Patient.identifier:nhs"));
    assert_eq!(snapshot.elements.iter().filter(|each| &*each.path == "Patient.identifier.value").count(), 2);
}

#[test]
fn a_choice_spelling_is_a_slice_by_type() {
    let snapshot = of_patient(r#"{"id":"Patient.deceasedBoolean","path":"Patient.deceasedBoolean","min":1}"#)
        .expect("it is sound");
    let sliced = snapshot.element("Patient.deceased[x]").and_then(|each| each.slicing.clone()).expect("it is sliced");
    assert_eq!(sliced.discriminators, [("type".to_owned(), "$this".to_owned())]);
    let slice = snapshot.element("Patient.deceased[x]:deceasedBoolean").expect("the slice is there");
    assert_eq!((slice.types.len(), slice.types[0].code.as_str(), slice.min), (1, "boolean", 1));
}

#[test]
fn what_does_not_exist_is_refused_with_its_place() {
    let refused = of_patient(r#"{"id":"Patient.nmae","path":"Patient.nmae","min":1}"#).expect_err("it has no nmae");
    assert_eq!(refused.to_string(), "https://x/p: Patient.nmae: there is no element nmae");
    let alone = profile("https://x/p", "https://x/q", "");
    let refused = Snapshots::of([&alone]).snapshot("https://x/p").expect_err("its base is not there");
    assert_eq!(refused, Error::NotLoaded { url: "https://x/q".to_owned() });
    let round = profile("https://x/p", "https://x/p", "");
    let refused = Snapshots::of([&round]).snapshot("https://x/p").expect_err("it goes round");
    assert_eq!(refused, Error::Circle { url: "https://x/p".to_owned() });
}

#[test]
fn a_content_reference_is_unfolded_where_its_children_are_constrained() {
    let definition = profile(
        "https://x/p",
        &format!("{R4}Bundle"),
        r#"{"id":"Bundle.entry.link.relation","path":"Bundle.entry.link.relation","fixedString":"self"}"#,
    );
    let snapshot = Snapshots::of([&definition]).snapshot("https://x/p").expect("it is sound");
    let link = snapshot.element("Bundle.entry.link").expect("it is there");
    assert_eq!((link.content_reference.is_none(), link.types[0].code.as_str()), (true, "BackboneElement"));
    let relation = snapshot.element("Bundle.entry.link.relation").expect("it is there");
    assert_eq!((relation.min, relation.fixed.as_deref().map(Document::source)), (1, Some(r#""self""#)));
    assert!(snapshot.element("Bundle.link.relation").is_some_and(|each| each.fixed.is_none()));
}

#[test]
fn an_extension_slice_has_the_elements_of_its_definition() {
    let extension = profile(
        "https://x/e",
        &format!("{R4}Extension"),
        r#"{"id":"Extension","path":"Extension","max":"1"},
        {"id":"Extension.url","path":"Extension.url","fixedUri":"https://x/e"},
        {"id":"Extension.value[x]","path":"Extension.value[x]","min":1,"type":[{"code":"Coding"}]}"#,
    );
    let definition = profile(
        "https://x/p",
        &format!("{R4}Patient"),
        r#"{"id":"Patient.extension:e","path":"Patient.extension","sliceName":"e","type":[{"code":"Extension","profile":["https://x/e"]}]},
        {"id":"Patient.extension:e.value[x].code","path":"Patient.extension.value[x].code","min":1}"#,
    );
    let snapshot = Snapshots::of([&extension, &definition]).snapshot("https://x/p").expect("it is sound");
    let unsliced = snapshot.element("Patient.extension").and_then(|each| each.slicing.clone()).expect("it is sliced");
    assert_eq!(unsliced.discriminators, [("value".to_owned(), "url".to_owned())]);
    let of = |id: &str| snapshot.element(id).unwrap_or_else(|| panic!("{id} is there"));
    assert_eq!(of("Patient.extension:e").max, Some(1));
    assert_eq!(of("Patient.extension:e.url").fixed.as_deref().map(Document::source), Some(r#""https://x/e""#));
    let value = of("Patient.extension:e.value[x]");
    assert_eq!((value.min, value.types.len(), value.types[0].code.as_str()), (1, 1, "Coding"));
    assert_eq!(of("Patient.extension:e.value[x].code").min, 1);
}

#[test]
fn a_slice_of_a_slice_starts_as_the_slice() {
    let snapshot = of_patient(
        r#"{"id":"Patient.identifier","path":"Patient.identifier","slicing":{"rules":"open",
        "discriminator":[{"type":"value","path":"system"}]}},
        {"id":"Patient.identifier:a","path":"Patient.identifier","sliceName":"a","max":"2","slicing":{"rules":"closed",
        "discriminator":[{"type":"value","path":"use"}]}},
        {"id":"Patient.identifier:a.system","path":"Patient.identifier.system","min":1},
        {"id":"Patient.identifier:a/b","path":"Patient.identifier","sliceName":"a/b"},
        {"id":"Patient.identifier:a/b.use","path":"Patient.identifier.use","min":1}"#,
    )
    .expect("it is sound");
    let inner = snapshot.element("Patient.identifier:a/b").expect("it is there");
    assert_eq!((inner.slice_name.as_deref(), inner.max, inner.slicing.is_none()), (Some("a/b"), Some(2), true));
    let of = |id: &str| snapshot.element(id).map(|each| each.min);
    assert_eq!((of("Patient.identifier:a/b.system"), of("Patient.identifier:a/b.use")), (Some(1), Some(1)));
    assert_eq!(of("Patient.identifier:a.use"), Some(0));
}

#[test]
fn ids_are_made_from_paths_where_they_are_missing() {
    let snapshot = of_patient(
        r#"{"path":"Patient.identifier","slicing":{"rules":"open","discriminator":[{"type":"value","path":"system"}]}},
        {"path":"Patient.identifier","sliceName":"one"},{"path":"Patient.identifier.value","min":1},
        {"path":"Patient.identifier","sliceName":"two"},{"path":"Patient.identifier.system","min":1}"#,
    )
    .expect("it is sound");
    let of = |id: &str| snapshot.element(id).map(|each| each.min);
    assert_eq!((of("Patient.identifier:one.value"), of("Patient.identifier:two.value")), (Some(1), Some(0)));
    assert_eq!((of("Patient.identifier:one.system"), of("Patient.identifier:two.system")), (Some(0), Some(1)));
    assert_eq!(of("Patient.identifier.value"), None);
}

#[test]
fn bindings_and_minimums_follow_what_is_stated() {
    let base = profile(
        "https://x/b",
        &format!("{R4}Patient"),
        r#"{"id":"Patient.maritalStatus","path":"Patient.maritalStatus","binding":{"strength":"required"}},
        {"id":"Patient.identifier","path":"Patient.identifier","slicing":{"rules":"open",
        "discriminator":[{"type":"value","path":"system"}]}},
        {"id":"Patient.identifier:a","path":"Patient.identifier","sliceName":"a","min":1}"#,
    );
    let narrower = profile(
        "https://x/p",
        "https://x/b",
        r#"{"id":"Patient.identifier:b","path":"Patient.identifier","sliceName":"b","min":1},
        {"id":"Patient.extension","path":"Patient.extension","binding":{"strength":"required","valueSet":"https://x/v"}}"#,
    );
    let narrower = StructureDefinition { type_name: "Patient".to_owned(), ..narrower };
    let mut snapshots = Snapshots::of([&base, &narrower]);
    let own = snapshots.snapshot("https://x/b").expect("it is sound");
    let status = own.element("Patient.maritalStatus").and_then(|each| each.binding.clone()).expect("it is bound");
    assert_eq!((&*status.strength, &*status.value_set), ("required", "http://hl7.org/fhir/ValueSet/marital-status"));
    assert_eq!(own.element("Patient.identifier").map(|each| each.min), Some(0));
    let derived = snapshots.snapshot("https://x/p").expect("it is sound");
    assert_eq!(derived.element("Patient.identifier").map(|each| each.min), Some(2));
    assert!(derived.element("Patient.extension").is_some_and(|each| each.binding.is_none()));
}
