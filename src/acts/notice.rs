//! What people are told of a message, along the escalation route of its agreement.
//!
//! Enters: what happened, how grave it is, and the agreement that names whom to tell. Leaves: a notice for each way in which it wants to be
//! told, as JSON: ids, codes and times, nothing personal. Invariant: somebody is always told. Without a route a notice goes to the
//! spool folder.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::disclosure::{Agreement, Escalation, Severity};
use crate::fhir::{Instant, instant_text};
use crate::identity::{AgreementId, InterfaceName, MessageId, PartyId};
use crate::storage::{Channel, NewNotice};

/// What is told, and of which message.
#[derive(Clone, Debug)]
pub struct Telling<'a> {
    /// What kind of notice it is: `handover-overdue`.
    pub kind: String,
    /// What all of its notices have in common.
    pub incident: Uuid,
    /// What the ids of its notices are made from: the namespace, and a beginning of the name.
    pub ids: (Uuid, &'static str),
    /// How grave it is.
    pub severity: Severity,
    /// When it is told.
    pub at: Instant,
    /// Whether it is also a line of the gateway's log.
    pub is_logged: bool,
    /// The organisation that shares.
    pub provider: &'a PartyId,
    /// The message.
    pub message: MessageId,
    /// Whose message it is.
    pub recipient: &'a PartyId,
    /// Over which interface it goes.
    pub interface: &'a InterfaceName,
    /// Under which agreement, and which version of it, where that is known.
    pub agreement: (&'a AgreementId, Option<&'a str>),
}

impl Telling<'_> {
    /// The notices along the route of `agreement`. `more`: the further members of each, an object.
    pub fn along(&self, agreement: Option<&Agreement>, more: &Value) -> Vec<NewNotice> {
        let route = agreement.map(|agreement| agreement.escalation_route(self.severity)).unwrap_or_default();
        let notice = |channel: Channel, target: String, escalation: Option<&Escalation>| {
            let (namespace, name) = self.ids;
            let id = Uuid::new_v5(&namespace, format!("{name}{} {target}", channel.code()).as_bytes());
            let body = self.body(id, escalation, more).to_string();
            NewNotice { id, channel, target, body, at: self.at }
        };
        let spool_file = format!("{}.json", self.incident);
        let log = self.is_logged.then(|| notice(Channel::Console, "log".to_owned(), route.first().copied()));
        let mut notices: Vec<NewNotice> = log.into_iter().collect();
        for escalation in &route {
            let webhook = escalation.webhook.as_ref().map(|uri| (Channel::Webhook, uri.to_string()));
            let spool = escalation.spool.then(|| (Channel::Spool, spool_file.clone()));
            for (channel, target) in webhook.into_iter().chain(spool) {
                let made = notice(channel, target, Some(escalation));
                if !notices.iter().any(|other| other.id == made.id) {
                    notices.push(made);
                }
            }
        }
        if route.is_empty() {
            notices.push(notice(Channel::Spool, spool_file, None));
        }
        notices
    }

    fn body(&self, notice: Uuid, escalation: Option<&Escalation>, more: &Value) -> Value {
        let hours = |escalation: &Escalation| time::Duration::hours(i64::from(escalation.hours));
        let (agreement, version) = self.agreement;
        let mut body = json!({
            "kind": self.kind,
            "incident": self.incident.to_string(),
            "notice": notice.to_string(),
            "severity": self.severity.word(),
            "opened": instant_text(self.at),
            "contact": escalation.map(|escalation| escalation.contact.as_str()),
            "respondBy": escalation.map(|escalation| instant_text(self.at + hours(escalation))),
            "provider": self.provider.as_str(),
            "recipient": self.recipient.as_str(),
            "interface": self.interface.as_str(),
            "agreement": { "id": agreement.as_str(), "version": version },
            "message": self.message.to_string(),
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body
    }
}
