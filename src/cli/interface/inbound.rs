//! The page of the interface that referrals of partners come in over.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use super::page::{Sources, clocks, essential, head, row, rules, ways};
use crate::mapping::{CompiledMap, FieldUse};
use crate::pipeline::inbound::Inbound;

impl Sources<'_> {
    /// What a partner may send, and the record that is made of it.
    pub(super) fn inbound(&self, interface: &Inbound) -> anyhow::Result<String> {
        let Inbound { name, profile, record, retention_days, collection } = interface;
        let (map, model) = (self.map(name)?, self.model(record)?);
        let mut page = String::new();
        head(&mut page, name, &model);
        let _infallible = write!(
            page,
            "\nPartners send a message to `POST /FHIR/R4/$process-message`; the record system collects the record that is made of it at \
             `GET /inbound`. Message and record are kept for {retention_days} days, and while they wait. Logical model of the record: \
             `{record}`. Profile of the message: `{profile}`.\n\n## Deadlines\n"
        );
        clocks(&mut page, &[(&collection.within, "the record system collects it, from its arrival")]);
        page.push_str("\n## The message\n\nA FHIR R4 message Bundle.\n");
        self.asked(&mut page, profile);
        page.push_str(
            "\n## The fields of the record\n\n*How often*: `1..1` once, `0..1` at most once, `1..*` at least once; a message of which the \
             record cannot be made is refused. *Comes from*: the elements of the message.\n\n\
             | field | what it is | how often | type | comes from |\n|---|---|---|---|---|\n",
        );
        let sources = sources(map);
        for field in &model.fields {
            let from = ways(sources.get(&field.path).into_iter().flatten().map(String::as_str));
            let path = format!("`{}`", field.path);
            row(&mut page, &[&path, &field.short, &field.cardinality, &self.type_words(field), &from]);
        }
        essential(&mut page, &model, "counted from its arrival");
        rules(&mut page, &model);
        Ok(page)
    }
}

/// The elements that each field of the record is made of.
fn sources(map: &CompiledMap) -> HashMap<String, BTreeSet<String>> {
    let mut sources: HashMap<String, BTreeSet<String>> = HashMap::new();
    for FieldUse { field, element, .. } in map.fields() {
        // Elements are told from the name of their type, which a record has once.
        let Some((_, path)) = element.as_deref().and_then(|element| element.split_once('.')) else { continue };
        let from = if field.starts_with(char::is_uppercase) { field } else { format!("Bundle.{field}") };
        sources.entry(path.to_owned()).or_default().insert(from);
    }
    sources
}
