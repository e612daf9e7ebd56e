//! Questions to a Bundle: its entries, what a reference in it points to, who is to receive the message.

use std::borrow::Cow;
use std::cell::OnceCell;

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
    by_url: Names<'a>,
    /// By what starts with a type: a relative reference. Indexed when one is asked for.
    by_type: OnceCell<Names<'static>>,
}

/// Names in their order, each with what it finds.
#[derive(Debug, Default)]
struct Names<'a> {
    names: Vec<Cow<'a, str>>,
    found: Vec<Match>,
    /// A bit for each length of a name: most texts that are none are told by that.
    lengths: u64,
}

impl<'a> Names<'a> {
    fn new(mut named: Vec<(Cow<'a, str>, Match)>) -> Names<'a> {
        named.sort_by(|one, other| by_end(&one.0).cmp(&by_end(&other.0)));
        let lengths = named.iter().fold(0, |lengths, (name, _)| lengths | length(name));
        let (names, found) = named.into_iter().unzip();
        Names { names, found, lengths }
    }

    fn find(&self, name: &str) -> &[Match] {
        if self.lengths & length(name) == 0 {
            return &[];
        }
        let start = self.names.partition_point(|own| by_end(own) < by_end(name));
        let count = self.names[start..].iter().take_while(|own| **own == *name).count();
        &self.found[start..start + count]
    }
}

/// Names are in the order of their last letters, which differ where those of UUIDs before them do not.
fn by_end(name: &str) -> (u64, &str) {
    (name.as_bytes().last_chunk().map_or(0, |end| u64::from_le_bytes(*end)), name)
}

fn length(name: &str) -> u64 {
    1 << (name.len() % 64)
}

impl<'a> Entries<'a> {
    /// Indexes the entries of `bundle`; none if it is no Bundle.
    pub fn of(bundle: &'a Document) -> Entries<'a> {
        let items = bundle.root().items_at(keys().entry);
        let list: Vec<Entry<'a>> = items.map(entry).collect();
        let urls = list.iter().enumerate().filter_map(|(index, entry)| Some((entry.full_url.clone()?, index)));
        let by_url = Names::new(urls.map(|(url, index)| (url, Match::FullUrl(index))).collect());
        Entries { list, by_url, by_type: OnceCell::new() }
    }

    /// The entries by what starts with a type.
    fn by_type(&self) -> Names<'static> {
        let mut named: Vec<(Cow<'static, str>, Match)> = Vec::new();
        for (index, entry) in self.list.iter().enumerate() {
            if let Some(url) = &entry.full_url {
                let names = starts_with_type(url).then_some(&**url).into_iter().chain(relative_part(url));
                named.extend(names.map(|name| (name.to_owned().into(), Match::FullUrl(index))));
            }
            named.extend(entry.resource.and_then(type_and_id).map(|name| (Cow::Owned(name), Match::Id(index))));
        }
        Names::new(named)
    }

    /// The entries in order.
    pub fn list(&self) -> &[Entry<'a>] {
        &self.list
    }

    /// The entries that a literal reference may mean: by `fullUrl`, or by type and id.
    pub fn resolve(&self, reference: &str) -> &[Match] {
        // Looking for one letter is cheaper than for a word, and most references have no version.
        let has_underscore = !reference.starts_with("urn:uuid:") && reference.contains('_');
        let history = has_underscore.then(|| reference.find(HISTORY)).flatten();
        let unversioned = history.map_or(reference, |start| &reference[..start]);
        match starts_with_type(unversioned) {
            true => self.by_type.get_or_init(|| self.by_type()).find(unversioned),
            false => self.by_url.find(unversioned),
        }
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

fn starts_with_type(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
}

/// `Patient/1` of `https://server/base/Patient/1`; nothing of a URN.
fn relative_part(url: &str) -> Option<&str> {
    let (rest, _id) = url.rsplit_once('/')?;
    let kind = rest.rfind('/')? + 1;
    starts_with_type(&rest[kind..]).then(|| &url[kind..])
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
