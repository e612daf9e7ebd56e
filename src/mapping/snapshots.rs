//! What has been built so far, as expressions see it.
//!
//! FHIRPath reads documents. When an expression names an element of the output, that element is written as JSON and
//! parsed; the documents made so are kept here until the run ends, because results point into them.

use std::cell::OnceCell;

use crate::fhir::Document;

/// The documents of one run, oldest first.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    first: Link,
}

type Link = OnceCell<Box<Snapshot>>;

#[derive(Debug)]
struct Snapshot {
    document: Document,
    next: Link,
}

/// Where the next document goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shelf<'r> {
    end: &'r Link,
}

impl Snapshots {
    /// The place for the first document.
    pub(super) fn shelf(&self) -> Shelf<'_> {
        Shelf { end: &self.first }
    }
}

impl<'r> Shelf<'r> {
    /// Keeps a document for as long as the run lasts.
    pub(super) fn keep(&mut self, document: Document) -> &'r Document {
        let kept = self.end.get_or_init(|| Box::new(Snapshot { document, next: OnceCell::new() }));
        self.end = &kept.next;
        &kept.document
    }
}

impl Drop for Snapshots {
    /// One after the other: a chain that drops itself link by link would need as much stack as it is long.
    fn drop(&mut self) {
        let mut next = self.first.take();
        while let Some(mut snapshot) = next {
            next = snapshot.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;

    #[test]
    fn documents_stay_where_they_are_and_a_long_chain_is_dropped() {
        let snapshots = Snapshots::default();
        let mut shelf = snapshots.shelf();
        let parse = |text: &str| Document::parse(text, &Limits::default()).expect("it is JSON");
        let first = shelf.keep(parse(r#"{"a":1}"#));
        for _ in 0..50_000 {
            shelf.keep(parse("{}"));
        }
        assert_eq!(first.source(), r#"{"a":1}"#);
    }
}
