//! Mutants of sample Bundles: one fault each, the same ones for the same seed.
//!
//! Enters: conforming resources. Leaves: [`Mutant`]s, each a copy with one edit at one element, the kind of edit, and for
//! edits that no specification allows the element that an error must name. The kinds take turns, so that a small sample
//! has something of each.
#![allow(dead_code, unreachable_pub, reason = "each test includes it and uses a part of it")]

use serde_json::{Map, Value as Json, json};
use weir::fhir::NameId;
use weir::fhir::r4::{ElementDef, TypeDef, TypeKind, schema};

/// A resource with one fault.
pub struct Mutant {
    /// Place of the resource it was made from.
    pub sample: usize,
    /// `retype-number`, `code`, `per-1`.
    pub kind: &'static str,
    /// The element that was edited: `Patient.name`, `HumanName.family`.
    pub element: String,
    /// The same in the resource, as FHIRPath.
    pub path: String,
    /// Whether an error must name that element or its parent.
    pub is_wrong: bool,
    pub json: Json,
}

/// At most `count` mutants of the samples.
pub fn mutants(samples: &[Json], seed: u64, count: usize) -> Vec<Mutant> {
    let mut by_kind: Vec<(&'static str, Vec<(usize, Edit)>)> = Vec::new();
    for (sample, json) in samples.iter().enumerate() {
        for edit in edits(json) {
            match by_kind.iter_mut().find(|(kind, _)| *kind == edit.kind) {
                Some((_, edits)) => edits.push((sample, edit)),
                None => by_kind.push((edit.kind, vec![(sample, edit)])),
            }
        }
    }
    let mut random = Random(seed);
    for (_, edits) in &mut by_kind {
        random.shuffle(edits);
    }
    let mut mutants = Vec::with_capacity(count);
    while mutants.len() < count && by_kind.iter().any(|(_, edits)| !edits.is_empty()) {
        let turn = by_kind.iter_mut().filter_map(|(_, edits)| edits.pop());
        for (sample, edit) in turn.take(count - mutants.len()).collect::<Vec<_>>() {
            mutants.push(edit.mutant(sample, &samples[sample]));
        }
    }
    mutants
}

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("a remainder fits its bound")
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

/// What is done to the value at a place.
enum Change {
    Remove,
    Set(Json),
    /// Adds or replaces members of the object.
    Merge(Json),
    /// Repeats the array's item at this index until there are that many.
    Repeat(usize, usize),
    Swap(usize, usize),
    /// Gives the object's member another name, and the value.
    Rename(String, String, Json),
}

struct Edit {
    steps: Vec<Step>,
    change: Change,
    kind: &'static str,
    element: String,
    path: String,
    is_wrong: bool,
}

impl Edit {
    fn mutant(self, sample: usize, json: &Json) -> Mutant {
        let Edit { steps, change, kind, element, path, is_wrong } = self;
        let mut json = json.clone();
        change.apply(&mut json, &steps);
        Mutant { sample, kind, element, path, is_wrong, json }
    }
}

fn at<'a>(mut json: &'a mut Json, steps: &[Step]) -> &'a mut Json {
    for step in steps {
        json = match step {
            Step::Key(key) => &mut json[key],
            Step::Index(index) => &mut json[index],
        };
    }
    json
}

impl Change {
    fn apply(self, json: &mut Json, steps: &[Step]) {
        match self {
            Change::Remove => {
                let (last, parents) = steps.split_last().expect("the root is not removed");
                match (at(json, parents), last) {
                    (Json::Object(members), Step::Key(key)) => drop(members.remove(key)),
                    (Json::Array(items), Step::Index(index)) => drop(items.remove(*index)),
                    _ => unreachable!("steps lead to what there is"),
                }
            }
            Change::Set(value) => *at(json, steps) = value,
            Change::Merge(Json::Object(added)) => object(at(json, steps)).extend(added),
            Change::Merge(_) => unreachable!("members are merged"),
            Change::Repeat(index, count) => {
                let items = at(json, steps).as_array_mut().expect("an array");
                let item = items[index].clone();
                items.extend(std::iter::repeat_n(item, count.saturating_sub(items.len())));
            }
            Change::Swap(one, other) => at(json, steps).as_array_mut().expect("an array").swap(one, other),
            Change::Rename(old, new, value) => {
                let members = object(at(json, steps));
                members.remove(&old);
                members.insert(new, value);
            }
        }
    }
}

fn object(json: &mut Json) -> &mut Map<String, Json> {
    json.as_object_mut().expect("an object")
}

/// Everything that can be done to one resource.
fn edits(json: &Json) -> Vec<Edit> {
    let mut walk = Walk { edits: Vec::new(), steps: Vec::new(), entries: entries(json) };
    let type_name = json["resourceType"].as_str().expect("a resource");
    walk.resource(json, type_name);
    walk.edits
}

/// Type and full URL of each entry.
fn entries(json: &Json) -> Vec<(String, String)> {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let entries = json["entry"].as_array().into_iter().flatten();
    entries.map(|entry| (text(&entry["resource"]["resourceType"]), text(&entry["fullUrl"]))).collect()
}

struct Walk {
    edits: Vec<Edit>,
    steps: Vec<Step>,
    entries: Vec<(String, String)>,
}

/// An element as it stands in the resource.
#[derive(Clone, Copy)]
struct Place<'a> {
    value: &'a Json,
    path: &'a str,
    element: &'a str,
    def: &'static TypeDef,
}

impl Walk {
    fn push(&mut self, kind: &'static str, place: Place<'_>, change: Change) {
        self.add(kind, place, change, false);
    }

    fn push_wrong(&mut self, kind: &'static str, place: Place<'_>, change: Change) {
        self.add(kind, place, change, true);
    }

    fn add(&mut self, kind: &'static str, place: Place<'_>, change: Change, is_wrong: bool) {
        let (element, path) = (place.element.to_owned(), place.path.to_owned());
        self.edits.push(Edit { steps: self.steps.clone(), change, kind, element, path, is_wrong });
    }

    fn resource(&mut self, json: &Json, path: &str) {
        let name = json["resourceType"].as_str().expect("a resource");
        let def = schema().resource(name).expect("a resource type of R4");
        let place = Place { value: json, path, element: name, def };
        self.steps.push(Step::Key("resourceType".to_owned()));
        self.push_wrong("resource-type", place, Change::Set(json!("Nothing")));
        self.push_wrong("resource-type", place, Change::Remove);
        self.push("resource-type-other", place, Change::Set(json!("Basic")));
        self.steps.pop();
        if name != "Bundle" {
            self.domain_resource(place);
        }
        self.rules(place);
        self.object(place);
    }

    fn object(&mut self, place: Place<'_>) {
        self.push_wrong("unknown-element", place, Change::Merge(json!({"unknownElement": "x"})));
        self.push_wrong("retype-string", place, Change::Set(json!("text")));
        self.push_wrong("empty", place, Change::Set(json!({})));
        for (key, value) in place.value.as_object().into_iter().flatten().filter(|(key, _)| *key != "resourceType") {
            let Some((element, chosen)) = place.def.element(NameId::of(key)) else { continue };
            let of_type = if element.is_choice { format!(".ofType({})", chosen.code) } else { String::new() };
            let stem = if element.stem == "div" { "`div`" } else { element.stem };
            let path = format!("{}.{stem}{of_type}", place.path);
            let def = schema().type_named(chosen.code).expect("a type of R4");
            let member = Place { value, path: &path, element: element.path, def };
            let misspelled = format!("{key}e");
            self.push_wrong("misspelled", place, Change::Rename(key.clone(), misspelled, value.clone()));
            if element.is_choice {
                self.choices(place, key, element, value);
            }
            self.steps.push(Step::Key(key.clone()));
            self.member(member, element);
            self.steps.pop();
        }
    }

    fn member(&mut self, place: Place<'_>, element: &'static ElementDef) {
        self.push(if element.min > 0 { "drop-required" } else { "drop" }, place, Change::Remove);
        self.push_wrong("null", place, Change::Set(Json::Null));
        let Json::Array(items) = place.value else {
            self.push_wrong("retype-array", place, Change::Set(json!([place.value])));
            self.push_wrong("too-many", place, Change::Set(json!([place.value, place.value])));
            self.value(place, element);
            return;
        };
        self.push_wrong("retype-single", place, Change::Set(items[0].clone()));
        self.push_wrong("empty", place, Change::Set(json!([])));
        self.push("many", place, Change::Repeat(0, 9));
        for (index, item) in items.iter().enumerate() {
            self.push("duplicate", place, Change::Repeat(index, items.len() + 1));
            if index > 0 {
                self.push("order", place, Change::Swap(index - 1, index));
            }
            let path = format!("{}[{index}]", place.path);
            self.steps.push(Step::Index(index));
            let item = Place { value: item, path: &path, ..place };
            self.push("drop-item", item, Change::Remove);
            self.push_wrong("null", item, Change::Set(Json::Null));
            self.push_wrong("retype-array", item, Change::Set(json!([item.value])));
            self.value(item, element);
            self.steps.pop();
        }
    }

    fn value(&mut self, place: Place<'_>, element: &'static ElementDef) {
        if place.def.name == "Resource" {
            self.resource(place.value, place.path);
        } else if place.def.kind == TypeKind::Primitive {
            self.primitive(place, element);
        } else {
            self.rules(place);
            self.object(place);
        }
    }

    fn primitive(&mut self, place: Place<'_>, element: &'static ElementDef) {
        let wrong = match place.value {
            Json::String(_) => [json!(7), json!({"x": "y"}), json!(true), json!("")],
            _ => [json!("text"), json!({"x": "y"}), json!("1"), json!("")],
        };
        let kinds = ["retype-number", "retype-object", "retype-other", "empty"];
        for (kind, wrong) in kinds.into_iter().zip(wrong) {
            self.push_wrong(kind, place, Change::Set(wrong));
        }
        for wrong in formats(place.def.name) {
            self.push_wrong("format", place, Change::Set(wrong));
        }
        let text = place.value.as_str().unwrap_or_default();
        let broken = || Change::Set(json!(format!("{text}zz")));
        match (place.def.name, element.stem) {
            ("code", _) if element.binding.starts_with("required:") && !element.binding.contains("mimetypes") => {
                self.push_wrong("code-required", place, broken());
            }
            ("code", _) => self.push("code", place, broken()),
            (_, "system") => self.push("system", place, broken()),
            (_, "reference") => self.references(place),
            (_, "url") => self.push("url", place, broken()),
            (_, "profile") => self.profile(place),
            (_, "fullUrl") => self.full_url(place),
            ("string", _) => {
                self.push("text", place, broken());
                self.push("blank", place, Change::Set(json!(" ")));
            }
            _ => {}
        }
        let reason = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
        if let (Some(Step::Key(key)), Some((_, parents))) = (self.steps.last().cloned(), self.steps.split_last()) {
            let parents = parents.to_vec();
            let steps = std::mem::replace(&mut self.steps, parents);
            let absent = json!({"extension": [{"url": reason, "valueCode": "masked"}]});
            self.push("absent-reason", place, Change::Rename(key.clone(), format!("_{key}"), absent));
            self.push_wrong("half-pair", place, Change::Rename(key.clone(), format!("_{key}"), json!("x")));
            self.steps = steps;
        }
    }

    fn references(&mut self, place: Place<'_>) {
        let text = place.value.as_str().unwrap_or_default();
        let own = self.entries.iter().find(|(_, url)| url == text).map(|(name, _)| name.clone()).unwrap_or_default();
        let others: Vec<String> =
            self.entries.iter().filter(|(name, _)| *name != own).map(|(_, url)| url.clone()).step_by(3).collect();
        for other in others {
            self.push("reference-other-type", place, Change::Set(json!(other)));
        }
        let absent = "urn:uuid:00000000-0000-4000-8000-000000000000";
        self.push("reference-dangling", place, Change::Set(json!(absent)));
        self.push("reference-relative", place, Change::Set(json!(format!("{own}/none"))));
        self.push("reference-wrong-type", place, Change::Set(json!("https://fhir.example/Slot/1")));
        self.push("reference-elsewhere", place, Change::Set(json!(format!("https://fhir.example/{own}/1"))));
        self.push_wrong("reference-contained", place, Change::Set(json!("#none")));
        self.push("reference-case", place, Change::Set(json!(text.to_ascii_uppercase())));
        self.push("reference-version", place, Change::Set(json!(format!("{text}/_history/1"))));
    }

    fn profile(&mut self, place: Place<'_>) {
        let patient = "https://weir.example/fhir/StructureDefinition/weir-patient";
        for other in
            [patient, "https://fhir.example/StructureDefinition/none", "http://hl7.org/fhir/StructureDefinition/Slot"]
        {
            self.push("profile", place, Change::Set(json!(other)));
        }
    }

    fn full_url(&mut self, place: Place<'_>) {
        let other = self.entries.iter().map(|(_, url)| url.clone()).find(|url| Some(&**url) != place.value.as_str());
        let same = other.unwrap_or_default();
        for other in
            [&*same, "Patient/1", "https://fhir.example/Slot/1", "urn:uuid:00000000-0000-4000-8000-000000000000"]
        {
            self.push("full-url", place, Change::Set(json!(other)));
        }
    }

    /// The value under the name of another type of the choice.
    fn choices(&mut self, place: Place<'_>, key: &str, element: &'static ElementDef, value: &Json) {
        let others = [
            ("boolean", json!(true)),
            ("string", json!("text")),
            ("dateTime", json!("2026-02-03")),
            ("code", json!("text")),
            ("integer", json!(3)),
            ("Quantity", json!({"value": 3})),
            ("Period", json!({"start": "2026-02-03"})),
            ("CodeableConcept", json!({"text": "text"})),
            ("Reference", json!({"display": "text"})),
        ];
        for (code, other) in others {
            let name = element.json_name(code);
            if name == key {
                continue;
            }
            let is_allowed = element.types.iter().any(|each| each.code == code);
            let kind = if is_allowed { "choice" } else { "choice-wrong" };
            let change = Change::Rename(key.to_owned(), name.clone(), other.clone());
            self.add(kind, place, change, !is_allowed);
            if is_allowed {
                let both = Change::Merge(json!({name: other, key: value}));
                self.push_wrong("choice-both", place, both);
            }
        }
    }

    fn domain_resource(&mut self, place: Place<'_>) {
        let unknown = "https://fhir.example/StructureDefinition/unknown";
        let priority = "https://weir.example/fhir/StructureDefinition/weir-clinical-response-priority";
        let person = json!({"resourceType": "Practitioner", "id": "c"});
        let div = |inner: &str| {
            let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{inner}</div>");
            json!({"text": {"status": "generated", "div": div}})
        };
        let merged: [(&'static str, bool, Json); 22] = [
            ("extension-unknown", false, json!({"extension": [{"url": unknown, "valueString": "x"}]})),
            (
                "extension-both",
                true,
                json!({"extension": [{"url": unknown, "valueString": "x", "extension": [{"url": unknown, "valueString": "x"}]}]}),
            ),
            ("extension-none", true, json!({"extension": [{"url": unknown}]})),
            ("extension-no-url", true, json!({"extension": [{"valueString": "x"}]})),
            ("extension-modifier", false, json!({"modifierExtension": [{"url": unknown, "valueBoolean": true}]})),
            ("extension-context", false, json!({"extension": [{"url": priority, "valueCoding": {"code": "1"}}]})),
            ("contained-unused", false, json!({"contained": [person]})),
            (
                "contained-nested",
                false,
                json!({"contained": [{"resourceType": "Practitioner", "id": "c", "contained": [person]}]}),
            ),
            ("contained-no-id", false, json!({"contained": [{"resourceType": "Practitioner"}]})),
            (
                "contained-version",
                false,
                json!({"contained": [{"resourceType": "Practitioner", "id": "c", "meta": {"versionId": "1"}}]}),
            ),
            ("narrative", false, div("<p>text</p>")),
            ("narrative-script", true, div("<script>x()</script>")),
            ("narrative-handler", true, div("<p onclick=\"x()\">text</p>")),
            ("narrative-empty", true, div(" ")),
            ("narrative-unclosed", true, div("<p>text")),
            ("narrative-entity", true, div("a&nbsp;b")),
            ("narrative-link", false, div("<a href=\"#nowhere\">text</a>")),
            ("id", true, json!({"id": "a_b"})),
            ("id", true, json!({"id": "a".repeat(65)})),
            ("language", false, json!({"language": "en-GB"})),
            ("language", false, json!({"language": "zzzz-zz"})),
            ("implicit-rules", false, json!({"implicitRules": "https://fhir.example/rules"})),
        ];
        for (kind, is_wrong, members) in merged {
            self.add(kind, place, Change::Merge(members), is_wrong);
        }
    }

    /// Edits that break a constraint of the type.
    fn rules(&mut self, place: Place<'_>) {
        let broken: &[(&'static str, bool, Json)] = &match place.def.name {
            "Bundle" => vec![
                ("bdl-1", true, json!({"total": 3})),
                ("bundle-type", false, json!({"type": "collection"})),
                ("bundle-type", false, json!({"type": "document"})),
                ("bundle-type", false, json!({"type": "transaction"})),
                ("bundle-type", false, json!({"type": "searchset"})),
            ],
            "Bundle.entry" => vec![
                ("bdl-2", true, json!({"search": {"mode": "match"}})),
                ("bdl-3", true, json!({"request": {"method": "GET", "url": "Patient"}})),
                ("bdl-4", true, json!({"response": {"status": "200"}})),
            ],
            "Period" => vec![("per-1", true, json!({"start": "2026-03-01", "end": "2026-02-01"}))],
            "Patient" => vec![
                ("pat-1", true, json!({"contact": [{"gender": "male"}]})),
                ("choice-both", true, json!({"deceasedBoolean": true, "deceasedDateTime": "2026"})),
                ("format", true, json!({"multipleBirthInteger": 0.5})),
                ("att-1", true, json!({"photo": [{"data": "QUJD"}]})),
                ("sqty", true, json!({"photo": [{"size": -1, "contentType": "image/png"}]})),
            ],
            "ContactPoint" => vec![("rank", true, json!({"rank": 0}))],
            "Identifier" => vec![
                ("nhs-number", false, json!({"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9990000000"})),
                ("nhs-number", false, json!({"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "999000"})),
                ("ods-code", false, json!({"system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "a b"})),
                ("identifier-use", true, json!({"use": "none"})),
            ],
            "Observation" => vec![
                ("obs-6", true, json!({"valueString": "x", "dataAbsentReason": {"text": "x"}})),
                ("obs-3", true, json!({"referenceRange": [{"age": {"low": {"value": 1}}}]})),
                (
                    "qty-3",
                    true,
                    json!({"component": [{"code": {"text": "x"}, "valueQuantity": {"value": 1, "code": "mg"}}]}),
                ),
                (
                    "rng-2",
                    true,
                    json!({"component": [{"code": {"text": "x"}, "valueRange": {"low": {"value": 2}, "high": {"value": 1}}}]}),
                ),
            ],
            "AllergyIntolerance" => vec![(
                "ait-2",
                false,
                json!({"verificationStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "code": "entered-in-error"}]}}),
            )],
            "Composition.section" => vec![
                ("cmp-2", true, json!({"section": [{"title": "x"}]})),
                ("cmp-2", false, json!({"emptyReason": {"text": "x"}})),
            ],
            "Organization" => vec![
                ("org-3", true, json!({"telecom": [{"system": "phone", "value": "1", "use": "home"}]})),
                ("org-2", true, json!({"address": [{"text": "x", "use": "home"}]})),
            ],
            "RiskAssessment" => vec![
                ("ras-2", true, json!({"prediction": [{"probabilityDecimal": 200}]})),
                ("ras-2-none", false, json!({"prediction": [{"outcome": {"text": "x"}}]})),
            ],
            "CarePlan" => vec![(
                "cpl-3",
                true,
                json!({"activity": [{"detail": {"status": "scheduled"}, "reference": {"display": "x"}}]}),
            )],
            "Consent" => vec![("ppc-1", true, json!({"policyRule": null}))],
            "Task" => vec![("code-required", true, json!({"priority": "none"}))],
            "MedicationStatement" => {
                vec![("tim-1", true, json!({"dosage": [{"timing": {"repeat": {"duration": 1}}}]}))]
            }
            "Meta" => vec![
                ("meta", false, json!({"versionId": "2"})),
                ("meta", true, json!({"lastUpdated": "2026-03-01"})),
                (
                    "meta",
                    false,
                    json!({"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "zz"}]}),
                ),
                ("meta", false, json!({"tag": [{"display": "x"}]})),
            ],
            "CodeableConcept" => vec![("coding-twice", false, json!({"coding": [{"code": "x"}, {"code": "x"}]}))],
            "Coding" => vec![
                ("coding", false, json!({"system": "http://snomed.info/sct", "code": "22298006"})),
                ("coding", false, json!({"system": "http://snomed.info/sct", "code": "22298007"})),
                ("coding", false, json!({"system": "https://fhir.example/CodeSystem/none", "code": "1"})),
                ("coding", true, json!({"userSelected": "yes"})),
                ("coding", false, json!({"display": " "})),
            ],
            "Reference" => vec![
                ("reference-type", false, json!({"type": "Slot"})),
                ("reference-type", false, json!({"type": "Nothing"})),
            ],
            "HumanName" => vec![("code-required", true, json!({"use": "none"}))],
            _ => vec![],
        };
        for (kind, is_wrong, members) in broken {
            self.add(kind, place, Change::Merge(members.clone()), *is_wrong);
        }
    }
}

/// Values that are not written as the type is.
fn formats(name: &str) -> Vec<Json> {
    match name {
        "date" => vec![json!("2026-02-30"), json!("2026-2-1"), json!("01/02/2026")],
        "dateTime" => vec![json!("2026-02-30"), json!("2026-02-01T10:00"), json!("2026-02-01T10:00:00")],
        "instant" => vec![json!("2026-02-30T10:00:00Z"), json!("2026-02-01"), json!("2026-02-01T10:00:00")],
        "uri" | "url" | "canonical" => vec![json!("http://a b"), json!(" ")],
        "id" => vec![json!("a_b"), json!("a b")],
        "code" => vec![json!("a  b"), json!(" ")],
        "positiveInt" => vec![json!(0), json!(1.5)],
        "unsignedInt" => vec![json!(-1)],
        "integer" => vec![json!(1.5), json!(3_000_000_000_u32)],
        "base64Binary" => vec![json!("QUI"), json!("Q?==")],
        _ => vec![],
    }
}
