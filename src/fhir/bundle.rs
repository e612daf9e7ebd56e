//! Questions to a Bundle: its entries, what a reference in it points to, who is to receive the message.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Document, Node, bars, keys};

/// The `type` of resource that carries others.
pub const BUNDLE: &str = "Bundle";
/// The resource type of the readable summary.
pub const COMPOSITION: &str = "Composition";

const MESSAGE_HEADER: &str = "MessageHeader";
const HISTORY: &str = "/_history/";

/// One entry of a Bundle.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The entry itself.
    pub node: Node<'a>,
    /// `fullUrl`, when it is a string.
    pub full_url: Option<Cow<'a, str>>,
    /// `resource`, when it is an object.
    pub resource: Option<Node<'a>>,
}

/// How a reference found an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// By the entry's `fullUrl`.
    FullUrl(usize),
    /// By the resource's type and `id` alone.
    Id(usize),
}

/// The entries of a Bundle, indexed by what references may call them.
#[derive(Debug)]
pub struct Entries<'a> {
    list: Vec<Entry<'a>>,
    by_name: HashMap<Cow<'a, str>, Vec<Match>>,
}

impl<'a> Entries<'a> {
    /// Indexes the entries of `bundle`; none if it is no Bundle.
    pub fn of(bundle: &'a Document) -> Entries<'a> {
        let items = bundle.root().items_at(keys().entry);
        let list: Vec<Entry<'a>> = items.map(entry).collect();
        let mut by_name: HashMap<Cow<'a, str>, Vec<Match>> = HashMap::with_capacity(list.len() * 2);
        for (index, entry) in list.iter().enumerate() {
            if let Some(url) = &entry.full_url {
                by_name.entry(url.clone()).or_default().push(Match::FullUrl(index));
                if let Some(relative) = relative_part(url) {
                    by_name.entry(Cow::Owned(relative.to_owned())).or_default().push(Match::FullUrl(index));
                }
            }
            if let Some(name) = entry.resource.and_then(type_and_id) {
                by_name.entry(Cow::Owned(name)).or_default().push(Match::Id(index));
            }
        }
        Entries { list, by_name }
    }

    /// The entries in order.
    pub fn list(&self) -> &[Entry<'a>] {
        &self.list
    }

    /// The entries that a literal reference may mean: by `fullUrl`, or by type and id.
    pub fn resolve(&self, reference: &str) -> &[Match] {
        let unversioned = reference.split(HISTORY).next().unwrap_or(reference);
        self.by_name.get(unversioned).map_or(&[], Vec::as_slice)
    }

    /// The resource that a Reference element means, if it is in the Bundle.
    pub fn target(&self, reference: Node<'_>) -> Option<Node<'a>> {
        let text = reference.child(keys().reference)?.text()?;
        self.resolve(&text).iter().find_map(|found| {
            let (Match::FullUrl(index) | Match::Id(index)) = *found;
            self.list[index].resource
        })
    }

    /// The ODS codes of the organisations that the MessageHeader names as receivers, one for each destination;
    /// `None` for a destination whose receiver cannot be found or carries no ODS code.
    pub fn receivers(&self) -> Vec<Option<String>> {
        let mut resources = self.list.iter().filter_map(|entry| entry.resource);
        let header = resources.find(|resource| resource.resource_type() == Some(MESSAGE_HEADER));
        let destinations = header.and_then(|header| header.child(keys().destination));
        destinations.into_iter().flat_map(Node::items).map(|destination| self.receiver(destination)).collect()
    }

    /// The ODS code of the organisation that the MessageHeader names as sender.
    pub fn sender(&self) -> Option<String> {
        let mut resources = self.list.iter().filter_map(|entry| entry.resource);
        let header = resources.find(|resource| resource.resource_type() == Some(MESSAGE_HEADER))?;
        self.organisation(header.child(keys().sender)?)
    }

    fn receiver(&self, destination: Node<'_>) -> Option<String> {
        self.organisation(destination.child(keys().receiver)?)
    }

    /// The one ODS code of the organisation that a reference means.
    fn organisation(&self, reference: Node<'_>) -> Option<String> {
        let organization = self.target(reference)?;
        let mut codes = organization.child(keys().identifier)?.items().filter_map(ods_code);
        let code = codes.next()?;
        codes.next().is_none().then_some(code)
    }
}

fn entry(node: Node<'_>) -> Entry<'_> {
    Entry {
        node,
        full_url: node.child(keys().full_url).and_then(Node::text),
        resource: node.child(keys().resource).filter(|resource| resource.is_object()),
    }
}

/// `Patient/1` of `https://server/base/Patient/1`; nothing of a URN.
fn relative_part(url: &str) -> Option<&str> {
    let (rest, _id) = url.rsplit_once('/')?;
    let kind = rest.rfind('/')? + 1;
    rest[kind..].starts_with(|first: char| first.is_ascii_uppercase()).then(|| &url[kind..])
}

fn type_and_id(resource: Node<'_>) -> Option<String> {
    let id = resource.child(keys().id)?.text()?;
    Some(format!("{}/{id}", resource.resource_type()?))
}

fn ods_code(identifier: Node<'_>) -> Option<String> {
    let system = identifier.child(keys().system)?.text()?;
    (system == bars::ODS_ORGANISATION).then(|| identifier.child(keys().value)?.text().map(Cow::into_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;

    const BUNDLE: &str = r#"{"resourceType":"Bundle","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"MessageHeader","destination":[
            {"receiver":{"reference":"urn:uuid:2"}},{"receiver":{"reference":"Organization/o3"}},
            {"receiver":{"reference":"urn:uuid:9"}},{}]}},
        {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Organization","identifier":[
            {"system":"other","value":"no"},
            {"system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"DEMOT"}]}},
        {"fullUrl":"https://a.example/r4/Organization/o3","resource":{"resourceType":"Organization","id":"o3"}},
        {"request":{"method":"GET"}}]}"#;

    #[test]
    fn a_reference_finds_its_entry() {
        let bundle = Document::parse(BUNDLE, &Limits::default()).expect("it is JSON");
        let entries = Entries::of(&bundle);
        assert_eq!(entries.list().len(), 4);
        for (reference, found) in [
            ("urn:uuid:1", vec![Match::FullUrl(0)]),
            ("https://a.example/r4/Organization/o3", vec![Match::FullUrl(2)]),
            ("https://a.example/r4/Organization/o3/_history/4", vec![Match::FullUrl(2)]),
            ("Organization/o3", vec![Match::FullUrl(2), Match::Id(2)]),
            ("https://b.example/Organization/o3", vec![]),
            ("Organization?identifier=1", vec![]),
            ("#o3", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(entries.resolve(reference), found, "{reference}");
        }
    }

    #[test]
    fn a_receiver_is_an_organisation_with_an_ods_code() {
        let bundle = Document::parse(BUNDLE, &Limits::default()).expect("it is JSON");
        assert_eq!(Entries::of(&bundle).receivers(), [Some("DEMOT".to_owned()), None, None, None]);
    }
}
