//! The way of a referral that a partner sends: from its message to a record that waits for the provider's record system.
//!
//! Enters: a message Bundle, and who sent it by certificate. Leaves: [`Taken`], when the message and the record that the
//! interface's map made of it are on disk, sealed, with their audit event; or [`Unfit`], and nothing of it is kept. Invariants:
//! the same message counts once, and is answered as it was; what is kept is a new referral that is to be acted on, conforms to its
//! profile, and its record to its model; the reserve of the disk is kept.

use tracing::{debug_span, info, warn};
use uuid::Uuid;

use super::{Gateway, Stages, aside};
use crate::audit::Referral;
use crate::fhir::message::{self, nhs_number, priority};
use crate::fhir::outcome::{Issue, IssueType, Severity};
use crate::fhir::{Document, ElementPath, Instant, Node};
use crate::handover::collection;
use crate::identity::digest::sha_256;
use crate::identity::{InterfaceName, PartyId};
use crate::mapping::{self, Missing};
use crate::storage::{self, Full, InboundRecord, NewInbound, Received, inbound_id};
use crate::validation::NOT_SENT;

/// How referrals of partners are checked and read.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The interface.
    pub name: InterfaceName,
    /// Canonical URL of the Bundle's profile.
    pub profile: String,
    /// Canonical URL of the logical model of the record that its map makes.
    pub record: String,
    /// For how many days what came is kept.
    pub retention_days: u32,
    /// By when a record system has to have collected it.
    pub collection: collection::Terms,
}

/// What became of a referral.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is on disk.
    Stored(Box<InboundRecord>),
    /// It was before.
    Repeated(Box<InboundRecord>),
    /// Another was taken under this id.
    Conflict,
}

/// Why a referral is not taken; nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// No interface takes referrals.
    #[error("no interface takes referrals here")]
    NoInterface,
    /// It changes or withdraws a referral, or is no request that somebody is to act on.
    #[error("the message is no new referral")]
    NotNew(Box<Issue>),
    /// It does not conform to the profile.
    #[error("the message does not conform to {profile}")]
    Invalid {
        /// The profile.
        profile: String,
        /// The errors.
        issues: Vec<Issue>,
    },
    /// The map cannot read it.
    #[error(transparent)]
    Mapping(#[from] mapping::Error),
    /// The record that the map made does not conform to its model.
    #[error("the record that is made of the message lacks something, or has it in another form")]
    Record {
        /// The errors, by their place in the record.
        issues: Vec<Issue>,
    },
    /// The store cannot read or write.
    #[error(transparent)]
    Store(#[from] storage::Error),
}

impl Unfit {
    /// As the audit log says it.
    pub fn code(&self) -> &'static str {
        match self {
            Unfit::NoInterface => "no-interface",
            Unfit::NotNew(_) => "not-a-new-referral",
            Unfit::Invalid { .. } => "invalid",
            Unfit::Mapping(_) => "mapping",
            Unfit::Record { .. } => "record",
            Unfit::Store(_) => "storage",
        }
    }
}

/// Takes a referral that `sender`, whom its certificate names and who sits at `address`, calls `bundle`.
///
/// # Errors
/// [`Unfit`]; that it was refused is in the audit log, unless the store cannot write.
pub async fn take(
    gateway: &Gateway,
    (sender, address): (&PartyId, &str),
    (bundle, document): (Uuid, Document),
    now: Instant,
) -> Result<Taken, Unfit> {
    match keep(gateway, (sender, address), (bundle, document), now).await {
        Err(unfit) if !matches!(unfit, Unfit::Store(_)) => {
            warn!(%sender, %bundle, reason = unfit.code(), "a referral is not taken");
            let event = gateway.recorder.referral_refused(sender, (Some(bundle), unfit.code()), address, now);
            gateway.store().append(event).await?;
            Err(unfit)
        }
        taken => taken,
    }
}

async fn keep(
    gateway: &Gateway,
    (sender, address): (&PartyId, &str),
    (bundle, document): (Uuid, Document),
    now: Instant,
) -> Result<Taken, Unfit> {
    let stages = gateway.stages();
    let inbound = stages.inbound.clone().ok_or(Unfit::NoInterface)?;
    let (digest, id) = (sha_256(document.source().as_bytes()), inbound_id(sender, bundle));
    // A repeat is answered as the first was, whatever the profiles say now.
    if let Some(known) = gateway.store().inbound(id).await? {
        return Ok(if known.digest == digest { Taken::Repeated(Box::new(known)) } else { Taken::Conflict });
    }
    if let Some(issue) = not_new(&document) {
        return Err(Unfit::NotNew(Box::new(issue)));
    }
    // Not a full outbox: a referral takes no room in it.
    if gateway.store().load().await?.disk_full {
        return Err(storage::Error::Full(Full::Disk).into());
    }
    let length = document.source().len();
    let (document, record) = aside(&stages, length, move |stages| {
        let record = record(stages, &document, id.uuid());
        (document, record)
    })
    .await;
    let record = record?;
    let subject = nhs_number(&document).map(|(system, value)| gateway.hash_key.subject(system, &value));
    let priority = priority(&document);
    let (near_at, due_at) = inbound.collection.clock(priority.as_deref(), now);
    let event = gateway.recorder.referral_received(Referral {
        sender,
        address,
        bundle,
        id,
        interface: &inbound.name,
        digest: &digest,
        subject: subject.as_ref(),
        priority: priority.as_deref(),
        due_at,
        at: now,
    });
    let new = NewInbound {
        sender: sender.clone(),
        bundle,
        interface: inbound.name,
        retention_days: inbound.retention_days,
        digest,
        priority,
        received_at: now,
        near_at,
        due_at,
        message: document.source().as_bytes().to_vec(),
        record: record.source().as_bytes().to_vec(),
        event,
    };
    Ok(match gateway.store().receive(new).await? {
        Received::Now(kept) => {
            info!(%sender, referral = %kept.id, "a referral is kept, and waits to be collected");
            Taken::Stored(kept)
        }
        Received::Before(kept) => Taken::Repeated(kept),
        Received::Conflict => Taken::Conflict,
    })
}

/// What is essential and the record of a referral lacks, by the marks of its logical model as it is now; None where there is no such model any
/// more.
pub fn missing(stages: &Stages, interface: &InterfaceName, record: &Document) -> Option<Vec<Missing>> {
    stages.mappings.get(interface).map(|map| map.missing(record))
}

/// Why a message is no new referral that is to be acted on: the first that says so. The map has no place for it, and who collects
/// the record could not tell it from a new one.
fn not_new(document: &Document) -> Option<Issue> {
    let at = |text: &str, place: ElementPath| {
        let hint = "phone the team that the referral is for, and tell it; only new referrals are taken here";
        Some(Issue::error(IssueType::NotSupported, text).at(place).hint(hint))
    };
    let not = |text: &str, index: usize, name: &str| {
        at(text, ElementPath::new(format!("Bundle.entry[{index}].resource.{name}")))
    };
    // FHIR R4, Resource.implicitRules: whoever does not know the rules may not read the resource.
    if let Some(rules) = document.nodes().find(|node| node.name().as_deref() == Some("implicitRules")) {
        let text =
            "the message follows rules of its sender's own that are not known here: what it means cannot be told";
        return at(text, rules.expression());
    }
    let entries = document.root().items_of("entry").enumerate();
    let mut resources = entries.filter_map(|(index, entry)| Some((index, entry.member("resource")?)));
    resources.find_map(|(index, resource)| match resource.resource_type() {
        Some("MessageHeader") if !says_new(resource) => {
            not("the message changes or withdraws a referral: its reason is not new", index, "reason")
        }
        Some("ServiceRequest") if !is_live(resource) => {
            not("the request is not to be acted on: its status is neither active nor draft", index, "status")
        }
        Some("ServiceRequest") if is_prohibition(resource) => {
            not("the request is not to be acted on: it asks that something is not done", index, "doNotPerform")
        }
        Some("ServiceRequest") if is_other_than_referral(resource) => {
            not("the message is no referral: its request has another category", index, "category")
        }
        Some("ServiceRequest") if !is_asking(resource) => not(
            "the message asks nobody to act: the intent of its request is neither plan nor an order",
            index,
            "intent",
        ),
        _ => None,
    })
}

/// Whether each code of a header's reason is `new`, and there is one.
fn says_new(header: Node<'_>) -> bool {
    let codings = header.member("reason").into_iter().flat_map(|reason| reason.items_of("coding"));
    let is_new: Vec<bool> = codings.map(|coding| coding.text_of("code").as_deref() == Some("new")).collect();
    !is_new.is_empty() && is_new.into_iter().all(|is_new| is_new)
}

fn is_live(request: Node<'_>) -> bool {
    matches!(request.text_of("status").as_deref(), Some("active" | "draft"))
}

/// Whether a request is one that something is not done (FHIR R4, ServiceRequest.doNotPerform, which modifies what it means), or may be:
/// whether it is was left out.
fn is_prohibition(request: Node<'_>) -> bool {
    request.member("doNotPerform").is_some_and(|value| value.raw() != "false")
        || request.member("_doNotPerform").is_some()
}

/// Intents of a request to us. BaRS 1.4.0 writes `plan` into each referral; an order asks and authorises (FHIR R4, request-intent). Not
/// `proposal`, a suggestion that nobody means to see done; not `directive`, which a patient gives; not `filler-order`, the view of
/// whoever fulfils; not `option`, which is a part of a group.
const ASKING: [&str; 5] = ["plan", "order", "original-order", "reflex-order", "instance-order"];

/// Whether a request says in BaRS's categories that it is something else: `validation` asks to look at a case that its sender keeps.
fn is_other_than_referral(request: Node<'_>) -> bool {
    let codings = request.items_of("category").flat_map(|category| category.items_of("coding"));
    let mut kinds = codings.filter(|coding| coding.text_of("system").as_deref() == Some(message::KINDS));
    kinds.any(|coding| coding.text_of("code").as_deref() != Some("referral"))
}

/// Whether a request asks us to act. One without intent does not conform, which is told as that.
fn is_asking(request: Node<'_>) -> bool {
    request.text_of("intent").is_none_or(|intent| ASKING.contains(&&*intent))
}

/// The record that is made of a message.
fn record(stages: &Stages, document: &Document, seed: Uuid) -> Result<Document, Unfit> {
    let inbound = stages.inbound.as_ref().ok_or(Unfit::NoInterface)?;
    debug_span!("validation").in_scope(|| {
        let mut issues = errors(stages.validator.check_document(document, Some(&inbound.profile)));
        // Nothing of the record comes from it, and `unread` lists it: a person is not turned away for it. BaRS's own examples have such.
        issues.retain(|issue| issue.rule != NOT_SENT);
        if issues.is_empty() { Ok(()) } else { Err(Unfit::Invalid { profile: inbound.profile.clone(), issues }) }
    })?;
    let map = stages.mappings.get(&inbound.name);
    let map = map.ok_or_else(|| mapping::Error::NoMap { interface: inbound.name.clone() })?;
    let made = debug_span!("mapping").in_scope(|| map.transform(document, seed))?;
    let issues = errors(stages.validator.check_record(&made.document, &inbound.record));
    if issues.is_empty() { Ok(made.document) } else { Err(Unfit::Record { issues }) }
}

fn errors(issues: Vec<Issue>) -> Vec<Issue> {
    issues.into_iter().filter(|issue| matches!(issue.severity, Severity::Error | Severity::Fatal)).collect()
}
