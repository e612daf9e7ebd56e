//! The JSON Schema (2020-12) of agreement files, for editors and other tools.
//!
//! It says what a file may look like; what its parts mean together, and against profiles and the site, only
//! `weir agreement check` says. The tests hold its words to those of the reader.

/// The schema's text.
pub const SCHEMA: &str = include_str!("agreement.schema.json");

#[cfg(test)]
mod tests {
    use super::super::{
        Agreements, Coarser, ConsentRule, Control, NamedRole, Objection, OverrideBasis, Severity, Status,
    };
    use super::SCHEMA;
    use serde_json::Value;

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).expect("it is JSON")
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
}
