//! A received message as one page for people: HTML that a clinician can act on in a minute, on a screen or on paper.
//!
//! Enters: a Bundle as it was received, of any interface, of anybody. Leaves: one HTML document without scripts, links to
//! elsewhere or images. Invariants: it is made from the Bundle alone; every resource of it is shown once; what was withheld is
//! told apart from what was not recorded, and both from what just did not come; received text is never markup (`html.rs`).
//!
//! Limits: [`MAX_ENTRIES`] entries. The page is a few times as large as the Bundle at most.

mod amounts;
mod banner;
mod call_back;
mod dosage;
mod frame;
mod head;
mod html;
mod items;
mod lines;
mod list;
mod modifiers;
mod people;
mod references;
mod sections;
mod turned;
mod values;
mod when;
mod withheld;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::bundle::{BUNDLE, Entries};
use super::narrative::words::words_of;
use super::{Document, Node, NodeId};
use crate::identity::digest::sha_256;
use banner::Banner;
use frame::Frame;
use html::Html;
use lines::Said;
use references::Own;
use withheld::Withheld;

pub use list::{Row, list, row};

/// The most entries of a Bundle that is shown.
pub const MAX_ENTRIES: usize = 2_000;

const STYLE: &str = include_str!("style.css");

/// What a page may load and do: its own style, nothing else (Content Security Policy Level 3).
pub fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let style = BASE64.encode(sha_256(STYLE.as_bytes()));
        format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'")
    });
    &POLICY
}

/// Why a document is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotShown {
    /// The root is another resource, or none.
    #[error("the document is not a FHIR Bundle")]
    NotABundle,
    /// It has too many entries.
    #[error("the Bundle has more than {MAX_ENTRIES} entries")]
    TooLarge,
}

impl NotShown {
    /// What the reader can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            NotShown::NotABundle => "give the Bundle as it was received, JSON with resourceType Bundle",
            NotShown::TooLarge => "a message for one person has far fewer; show its parts",
        }
    }
}

/// The page of a received Bundle.
///
/// # Errors
/// [`NotShown`].
pub fn page(bundle: &Document) -> Result<String, NotShown> {
    let entries = entries_of(bundle)?;
    let mut frame = Frame::of(&entries, bundle.root());
    frame.reader.own = own(&frame);
    let withheld = Withheld::of(&frame);
    let banner = Banner::of(&frame);
    let page = Page { frame, banner, withheld, html: Html::default(), shown: BTreeSet::new(), headings: 0 };
    Ok(page.write())
}

fn entries_of(bundle: &Document) -> Result<Entries<'_>, NotShown> {
    if bundle.resource_type() != Some(BUNDLE) {
        return Err(NotShown::NotABundle);
    }
    let entries = Entries::of(bundle);
    if entries.list().len() > MAX_ENTRIES { Err(NotShown::TooLarge) } else { Ok(entries) }
}

/// What is said once for the whole page.
fn own(frame: &Frame<'_>) -> Own {
    let ids = |nodes: &[Node<'_>]| nodes.iter().map(|node| node.id()).collect::<Vec<_>>();
    let resources = frame.reader.entries.list().iter().filter_map(|entry| entry.resource);
    let visits: Vec<_> = resources.filter(|of| of.resource_type() == Some("Encounter")).collect();
    let visit = if let [one] = &visits[..] { Some(one.id()) } else { None };
    let asked = ids(&frame.requests).into_iter().chain(frame.composition.map(Node::id));
    let destinations = frame.header.into_iter().flat_map(|header| header.items_of("destination"));
    let receivers = destinations.flat_map(|destination| frame.follow(destination, "receiver"));
    let senders = frame.header.into_iter().flat_map(|header| frame.follow(header, "sender"));
    Own {
        patients: ids(&frame.patients).into_iter().collect(),
        frame: asked.chain(visit).collect(),
        author: match &frame.authors[..] {
            [one] if frame::open(&frame.requests).nth(1).is_none() => Some(one.id()),
            _ => None,
        },
        parties: senders.chain(receivers).map(|party| party.id()).collect(),
        requests: frame.requests.iter().map(|of| of.id().index()..of.end_index()).collect(),
    }
}

/// A page that is being written.
struct Page<'a> {
    frame: Frame<'a>,
    /// What its banner says.
    banner: Banner,
    withheld: Withheld,
    html: Html,
    /// Resources that stand on the page already.
    shown: BTreeSet<NodeId>,
    /// How many sections have a heading.
    headings: usize,
}

impl Page<'_> {
    fn write(mut self) -> String {
        let title = [Some(self.frame.kind()), self.banner.priority().map(|priority| priority.words.clone())];
        open(&mut self.html, &title.into_iter().flatten().collect::<Vec<_>>().join(": "));
        self.head();
        self.html.raw("<main><div class=\"top\">");
        self.person();
        self.contacts();
        self.html.raw("</div><div class=\"rest\">");
        self.sections();
        self.what_was_withheld();
        self.html.raw("</div></main>");
        self.about();
        self.html.raw("</body></html>\n");
        self.html.finish()
    }

    /// Begins a section; the caller ends it.
    fn heading(&mut self, title: &str) {
        self.headings += 1;
        self.html.raw("<section aria-labelledby=\"h");
        self.html.number(self.headings);
        self.html.raw("\"><h2 id=\"h");
        self.html.number(self.headings);
        self.html.wrapped("\">", title, "</h2>");
    }

    fn what_was_withheld(&mut self) {
        self.heading("What was withheld from you");
        let is_nothing = self.withheld.is_nothing();
        let Withheld { listed, masked, labels, handling, account } = std::mem::take(&mut self.withheld);
        self.html.raw("<div id=\"withheld\">");
        if is_nothing {
            self.html.raw("<p>Nothing in the message is marked as withheld.</p>");
        }
        for (label, kinds) in [("Not sent", listed), ("Masked", masked)] {
            if kinds.is_empty() {
                continue;
            }
            self.html.wrapped("<p>", label, ":");
            for (kind, elements) in kinds {
                self.html.wrapped(" <b>", &kind, "</b> ");
                let elements: Vec<String> = elements.into_iter().collect();
                self.html.text(&if elements.is_empty() { "all of it".to_owned() } else { elements.join("; ") });
                self.html.raw(".");
            }
            self.html.raw("</p>");
        }
        for (label, kinds) in labels.into_iter().chain(handling) {
            self.html.wrapped("<p>", &label, ": ");
            self.html.text(&kinds.into_iter().collect::<Vec<_>>().join(", "));
            self.html.raw("</p>");
        }
        if let Some(account) = account {
            self.html.wrapped("<p>", &account, "</p>");
        }
        if is_nothing {
            self.html.raw("</div></section>");
            return;
        }
        self.html.raw("<p>“Withheld” means that the sender has it and may not send it; “not recorded”, that the sender has nothing.</p>");
        self.html.raw("</div></section>");
    }

    /// What the message itself is.
    fn about(&mut self) {
        let bundle = self.frame.bundle;
        let meta = bundle.member("meta");
        let text = |node: Option<Node<'_>>, name: &str| node?.text_of(name).map(std::borrow::Cow::into_owned);
        let header = self.frame.header;
        let reason = header.map(|header| self.frame.reader.words(header, "reason")).unwrap_or_default();
        let event = header.and_then(|header| header.member("eventCoding")).and_then(values::coding);
        let facts = [
            ("Message", text(Some(bundle), "id")),
            ("Record", text(bundle.member("identifier"), "value")),
            ("Version", text(meta, "versionId")),
            ("Written", text(Some(bundle), "timestamp").map(|at| when::in_words(&at).into_owned())),
            ("Event", event),
            ("Reason", Some(reason.join("; ")).filter(|reason| !reason.is_empty())),
            ("Answers", header.and_then(|header| text(header.member("response"), "identifier"))),
            ("Definition", text(header, "definition")),
            (
                "Profile",
                meta.and_then(|meta| meta.items_of("profile").next()?.text().map(std::borrow::Cow::into_owned)),
            ),
        ];
        self.html.raw("<footer><h2>About this message</h2><dl>");
        for (label, fact) in facts {
            self.fact(label, &fact.map(Said::Words).into_iter().collect::<Vec<_>>());
        }
        self.html.raw("</dl><p>Made from the received message alone. Times are UK time. A time that is the message’s own is not repeated.");
        let unknown = self.frame.reader.unknown.get();
        if unknown > 0 {
            self.html.raw(" <strong>Parts of the message are unknown to FHIR R4 and are not shown here: read the message itself.</strong>");
        }
        self.html.raw("</p></footer>");
    }
}

/// Everything before the first word of a page.
fn open(html: &mut Html, title: &str) {
    html.raw("<!DOCTYPE html>\n<html lang=\"en-GB\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"");
    html.raw(content_security_policy());
    html.raw("\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"referrer\" content=\"no-referrer\">");
    html.raw("<title>");
    html.line(title);
    html.raw("</title><style>");
    html.raw(STYLE);
    html.raw("</style></head><body>");
}
