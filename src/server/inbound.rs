//! Referrals of partners, on the partners' side: `servicerequest-request` messages of BaRS.
//!
//! Enters: a message whose sender and receiver agree with its headers and its certificate. Leaves: its id and when it was
//! kept, once it is on disk; else a refusal with a code of http-error-codes. A repeat is answered as the first was.

use tracing::warn;
use uuid::Uuid;

use super::clock;
use super::exchange::Refusal;
use super::listener::Peer;
use super::partner_side::Side;
use crate::fhir::bars::ErrorCode;
use crate::fhir::outcome::{Issue, IssueType};
use crate::fhir::{Document, ElementPath, Instant};
use crate::pipeline::inbound::{self, Taken, Unfit};
use crate::storage;

/// The event of referrals.
pub(super) const REQUEST: &str = "servicerequest-request";

/// Whether referrals are taken here.
pub(super) fn is_open(side: &Side) -> bool {
    side.service.gateway.stages().inbound.is_some()
}

/// Takes a referral; its id, and when it was kept first.
pub(super) async fn take(
    side: &Side,
    peer: &Peer,
    (id, document): (Uuid, Document),
) -> Result<(Uuid, Instant), Refusal> {
    has_version(&document)?;
    let address = peer.address.to_string();
    let taken = inbound::take(&side.service.gateway, (&peer.party, &address), (id, document), clock::now()).await;
    match taken.map_err(refused)? {
        Taken::Stored(kept) | Taken::Repeated(kept) => Ok((id, kept.received_at)),
        Taken::Conflict => {
            let issue = Issue::error(IssueType::Conflict, "another referral has been processed under this id");
            let issue = issue.at(ElementPath::new("Bundle.id")).hint("give each message its own id");
            Err(Refusal::new(ErrorCode::Conflict, issue))
        }
    }
}

/// BaRS has receivers refuse a message without `meta.versionId` in these words.
fn has_version(document: &Document) -> Result<(), Refusal> {
    let version = document.root().member("meta").and_then(|meta| meta.text_of("versionId"));
    if version.is_some_and(|version| !version.is_empty()) {
        return Ok(());
    }
    let issue = Issue::error(IssueType::Invariant, "Bundle.meta.versionId is missing");
    let issue = issue.at(ElementPath::new("Bundle.meta.versionId")).hint("number the versions of each referral");
    Err(Refusal::new(ErrorCode::BadRequest, issue))
}

fn refused(unfit: Unfit) -> Refusal {
    let says = unfit.to_string();
    match unfit {
        Unfit::NoInterface => {
            let issue = Issue::error(IssueType::NotSupported, "referrals are not taken here");
            Refusal::new(ErrorCode::BadRequest, issue.hint("ask the gateway's operator"))
        }
        Unfit::NotNew(issue) => Refusal::new(ErrorCode::UnprocessableEntity, *issue),
        Unfit::Invalid { issues, .. } => {
            unprocessable(&says, issues, "correct the message, and send it under a new id")
        }
        Unfit::Record { issues } => {
            let hint =
                "the provider's record needs what is named: send it under a new id, or ask the gateway's operator";
            unprocessable(&says, issues, hint)
        }
        Unfit::Mapping(error) => {
            let issue = Issue::error(IssueType::Processing, error.what()).hint("ask the gateway's operator");
            Refusal::new(ErrorCode::UnprocessableEntity, issue)
        }
        Unfit::Store(error) => unavailable(&error),
    }
}

/// The first of the issues, and how many more there are. It may hold a value of the message: it is for its sender alone.
fn unprocessable(says: &str, issues: Vec<Issue>, hint: &str) -> Refusal {
    let more = issues.len().saturating_sub(1);
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let issue = issues.into_iter().next().unwrap_or_else(|| Issue::error(IssueType::Invalid, says));
    let text = format!("{says}: {}{more}", issue.text);
    Refusal::new(ErrorCode::UnprocessableEntity, Issue { text, hint: hint.to_owned(), ..issue })
}

fn unavailable(error: &storage::Error) -> Refusal {
    warn!(%error, "a referral could not be stored");
    let issue = Issue::error(IssueType::Transient, "the referral cannot be stored now");
    let code = if error.is_transient() { ErrorCode::Unavailable } else { ErrorCode::ServerError };
    Refusal::new(code, issue.hint("send the same referral again"))
}
