//! The JSON Schema (2020-12) of agreement files, for editors and other tools.
//!
//! It says what a file may look like; what its parts mean together, and against profiles and the site, only
//! `weir agreement check` says. The tests hold it to the reader: both take the same files.

/// The schema's text.
pub const SCHEMA: &str = include_str!("agreement.schema.json");

#[cfg(test)]
mod tests {
    use super::super::{
        Agreements, Coarser, ConsentRule, Control, NamedRole, Objection, OverrideBasis, Severity, Status,
    };
    use super::SCHEMA;
    use crate::disclosure::sample_facts::SampleFacts;
    use regex::Regex;
    use serde_json::{Map, Value, json};
    use std::cell::RefCell;
    use std::collections::HashMap;

    const TRUST: &str = include_str!("../../../agreements/demo-trust-crisis.toml");
    const ICB: &str = include_str!("../../../agreements/demo-icb-crisis.toml");

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).expect("it is JSON")
    }

    /// A file as JSON, which the schema speaks of.
    fn as_json(text: &str) -> Value {
        toml::from_str(text).expect("it is TOML")
    }

    fn as_toml(value: &Value) -> toml::Value {
        match value {
            Value::Object(own) => {
                toml::Value::Table(own.iter().map(|(name, value)| (name.clone(), as_toml(value))).collect())
            }
            Value::Array(items) => toml::Value::Array(items.iter().map(as_toml).collect()),
            Value::String(text) => toml::Value::String(text.clone()),
            Value::Bool(flag) => toml::Value::Boolean(*flag),
            Value::Number(number) => toml::Value::Integer(number.as_i64().expect("a whole number")),
            Value::Null => panic!("TOML has no null"),
        }
    }

    fn reader_takes(value: &Value) -> bool {
        let text = toml::to_string(&as_toml(value)).expect("it can be written as TOML");
        Agreements::load_for(&[("a.toml".to_owned(), text)], &SampleFacts::new()).is_ok()
    }

    /// Whether a value keeps to a schema, as far as ours uses the language.
    fn keeps(root: &Value, schema: &Value, value: &Value) -> bool {
        let Some(rules) = schema.as_object() else { return schema != &json!(false) };
        rules.iter().all(|(rule, says)| keeps_rule(root, rules, (rule, says), value))
    }

    fn keeps_rule(root: &Value, rules: &Map<String, Value>, (rule, says): (&str, &Value), value: &Value) -> bool {
        let number = |name: &str| says.as_i64().unwrap_or_else(|| panic!("{name} is a number"));
        match rule {
            "$ref" => {
                let pointer = says.as_str().expect("a pointer").trim_start_matches('#');
                keeps(root, root.pointer(pointer).expect(pointer), value)
            }
            "type" => match says.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                other => panic!("{other}"),
            },
            "const" => says == value,
            "not" => !keeps(root, says, value),
            "allOf" => says.as_array().expect("a list").iter().all(|each| keeps(root, each, value)),
            "if" => {
                let branch = if keeps(root, says, value) { "then" } else { "else" };
                rules.get(branch).is_none_or(|schema| keeps(root, schema, value))
            }
            "then" | "else" => rules.contains_key("if"),
            "contains" => value.as_array().is_none_or(|items| items.iter().any(|item| keeps(root, says, item))),
            "enum" => says.as_array().expect("a list").contains(value),
            "pattern" => {
                let pattern = says.as_str().expect("a pattern");
                value.as_str().is_none_or(|text| fits(pattern, text))
            }
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as i64 >= number(rule)),
            "maxLength" => value.as_str().is_none_or(|text| text.len() as i64 <= number(rule)),
            "minimum" => value.as_i64().is_none_or(|own| own >= number(rule)),
            "maximum" => value.as_i64().is_none_or(|own| own <= number(rule)),
            "minItems" => value.as_array().is_none_or(|items| items.len() as i64 >= number(rule)),
            "minProperties" => value.as_object().is_none_or(|own| own.len() as i64 >= number(rule)),
            "uniqueItems" => value
                .as_array()
                .is_none_or(|items| items.iter().enumerate().all(|(index, item)| !items[..index].contains(item))),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| keeps(root, says, item))),
            "required" => value.as_object().is_none_or(|own| {
                says.as_array().expect("a list").iter().all(|name| own.contains_key(name.as_str().expect("a name")))
            }),
            "properties" => value.as_object().is_none_or(|own| {
                own.iter().all(|(name, value)| says.get(name).is_none_or(|schema| keeps(root, schema, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|own| {
                let known = rules.get("properties");
                let rest = own.iter().filter(|(name, _)| known.is_none_or(|known| known.get(name.as_str()).is_none()));
                rest.into_iter().all(|(_, value)| keeps(root, says, value))
            }),
            "propertyNames" => {
                value.as_object().is_none_or(|own| own.keys().all(|name| keeps(root, says, &json!(name))))
            }
            "description" | "title" | "$schema" | "$id" | "$defs" => true,
            other => panic!("the test does not know the rule {other}"),
        }
    }

    /// Whether a text has a pattern in it. Each pattern is compiled once.
    fn fits(pattern: &str, text: &str) -> bool {
        thread_local!(static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default());
        COMPILED.with_borrow_mut(|compiled| {
            let known = compiled.entry(pattern.to_owned());
            known.or_insert_with(|| Regex::new(pattern).expect("it is a pattern")).is_match(text)
        })
    }

    #[test]
    fn the_words_of_the_schema_are_those_of_the_reader() {
        let schema = schema();
        let words = |pointer: &str| {
            let list =
                schema.pointer(pointer).and_then(|found| found.get("enum")).expect(pointer).as_array().expect("a list");
            list.iter().map(|word| word.as_str().expect("a word").to_owned()).collect::<Vec<_>>()
        };
        fn all<T: Copy>(list: &[T], word: fn(T) -> &'static str) -> Vec<String> {
            list.iter().map(|each| word(*each).to_owned()).collect()
        }
        assert_eq!(words("/properties/status"), all(Status::ALL, Status::word));
        assert_eq!(words("/$defs/role"), all(NamedRole::ALL, NamedRole::word));
        let mitigation = "/properties/dpia/properties/mitigation/items/properties/control";
        assert_eq!(words(mitigation), all(Control::ALL, Control::word));
        assert_eq!(words("/properties/escalation/items/properties/severity"), all(Severity::ALL, Severity::word));
        let interface = "/$defs/interface/properties";
        assert_eq!(words(&format!("{interface}/consent/properties/rule")), all(ConsentRule::ALL, ConsentRule::word));
        assert_eq!(words(&format!("{interface}/consent/properties/objection")), all(Objection::ALL, Objection::word));
        assert_eq!(
            words(&format!("{interface}/override/properties/bases/items")),
            all(OverrideBasis::ALL, OverrideBasis::word)
        );
        assert_eq!(words(&format!("{interface}/generalise/items/properties/to")), Coarser::WORDS);
    }

    /// Every object and value of a file, by its place.
    fn places(value: &Value, at: String, found: &mut Vec<String>) {
        found.push(at.clone());
        match value {
            Value::Object(own) => own.iter().for_each(|(name, value)| places(value, format!("{at}/{name}"), found)),
            Value::Array(items) => {
                items.iter().take(2).enumerate().for_each(|(index, item)| places(item, format!("{at}/{index}"), found));
            }
            _ => {}
        }
    }

    /// Parts that are only wrong beside others, which a schema does not say.
    fn means_something_elsewhere(place: &str) -> bool {
        // Without it the file is another one, not a malformed one.
        let beside = ["/categories/", "/roles/safeguarding_lead", "/override", "/statute", "/spool", "/control"];
        beside.iter().any(|part| place.contains(part))
    }

    #[test]
    fn schema_and_reader_take_the_same_files() {
        let schema = schema();
        let (mut taken, mut refused) = (0, 0);
        for file in [TRUST, ICB] {
            let whole = as_json(file);
            assert!(keeps(&schema, &schema, &whole) && reader_takes(&whole));
            let mut all = Vec::new();
            places(&whole, String::new(), &mut all);
            for place in all.iter().filter(|place| !place.is_empty() && !means_something_elsewhere(place)) {
                for change in [Change::Remove, Change::Add, Change::Number, Change::Blank] {
                    let Some(changed) = change.apply(&whole, place) else { continue };
                    let (schema_says, reader_says) = (keeps(&schema, &schema, &changed), reader_takes(&changed));
                    assert_eq!(schema_says, reader_says, "{change:?} at {place}");
                    if reader_says { taken += 1 } else { refused += 1 }
                }
            }
        }
        assert!(taken > 10 && refused > 200, "{taken} taken, {refused} refused");
    }

    /// Where a file generalises, and each part with other values: schema and reader take the same.
    #[test]
    fn what_a_generalisation_needs_the_schema_asks_for_too() {
        let (schema, whole) = (schema(), as_json(ICB));
        let list = "/interfaces/crisis-escalation/generalise";
        let kinds = whole.pointer(list).and_then(Value::as_array).expect("it generalises");
        let place_of = |to: &str| kinds.iter().position(|each| each["to"] == to).expect(to);
        let (pseudonym, band) = (place_of("pseudonym"), place_of("age-band"));
        let mut cases: Vec<(usize, &str, Option<Value>)> = Vec::new();
        for word in Coarser::WORDS.iter().chain(&["hour"]) {
            cases.extend([(pseudonym, "to", Some(json!(word))), (band, "to", Some(json!(word)))]);
        }
        let bands = [json!([]), json!([18, 18]), json!([0]), json!([121]), json!([18, 65]), json!(18), json!(["18"])];
        cases.extend(bands.map(|bands| (band, "bands", Some(bands))));
        cases.extend([(band, "bands", None), (band, "key", Some(json!("icb"))), (pseudonym, "key", None)]);
        cases.extend([(pseudonym, "key", Some(json!(" "))), (pseudonym, "bands", Some(json!([18])))]);
        cases.extend([(pseudonym, "profile", None), (pseudonym, "profile", Some(json!("weir-patient")))]);
        let paths =
            ["identifier:nhsNumber.system", "identifier.value", "name", "identifier:.value", "identifier..value"];
        cases.extend(paths.map(|path| (pseudonym, "element", Some(json!(path)))));
        let paths = ["birth Date", "birthDate.", ".birthDate", "", "extension('", "birthDate", "extension()"];
        cases.extend(paths.map(|path| (band, "element", Some(json!(path)))));
        let (mut taken, mut refused) = (0, 0);
        for (index, name, value) in cases {
            let mut changed = whole.clone();
            let own = changed.pointer_mut(&format!("{list}/{index}")).and_then(Value::as_object_mut).expect("a table");
            match &value {
                Some(value) => own.insert(name.to_owned(), value.clone()),
                None => own.remove(name),
            };
            let (schema_says, reader_says) = (keeps(&schema, &schema, &changed), reader_takes(&changed));
            assert_eq!(schema_says, reader_says, "{index}: {name} = {value:?}");
            if reader_says { taken += 1 } else { refused += 1 }
        }
        assert!(taken > 4 && refused > 25, "{taken} taken, {refused} refused");
    }

    /// What a schema cannot say: a rising order, what an element is, and what stands in other files.
    #[test]
    fn what_a_schema_cannot_say_the_reader_does() {
        let (schema, whole) = (schema(), as_json(ICB));
        for (from, to) in [
            (json!([18, 25, 35, 45, 55, 65, 75, 85]), json!([25, 18])),
            (json!("birthDate"), json!("gender")),
            (json!("birthDate"), json!("birthDay")),
        ] {
            let text = whole.to_string().replace(&from.to_string(), &to.to_string());
            let changed: Value = serde_json::from_str(&text).expect("it is JSON");
            assert!(changed != whole && keeps(&schema, &schema, &changed) && !reader_takes(&changed), "{to}");
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Change {
        Remove,
        Add,
        Number,
        Blank,
    }

    impl Change {
        /// The file with one place changed; `None` where the change is no change of form.
        fn apply(self, whole: &Value, place: &str) -> Option<Value> {
            let mut changed = whole.clone();
            let (above, name) = place.rsplit_once('/')?;
            match self {
                Change::Remove => {
                    // An element of a list is content, not form.
                    changed.pointer_mut(above)?.as_object_mut()?.remove(name)?;
                }
                Change::Add => {
                    let own = changed.pointer_mut(place)?.as_object_mut()?;
                    if place == "/interfaces" || place == "/categories" {
                        return None;
                    }
                    own.insert("unheard_of".to_owned(), json!("x"));
                }
                Change::Number => *changed.pointer_mut(place)? = json!(-1),
                Change::Blank => {
                    let own = changed.pointer_mut(place)?;
                    if !own.is_string() {
                        return None;
                    }
                    *own = json!(" ");
                }
            }
            Some(changed)
        }
    }
}
