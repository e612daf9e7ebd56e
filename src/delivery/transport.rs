//! The seam between a lane and what carries its messages: one variant a kind of transport.
//!
//! A transport makes one attempt with the bytes and ids of a [`Dispatch`] and gives what came back, or an error that says
//! whether the message may have arrived. It never tries again by itself, keeps no outbox and judges nothing: when to try
//! is the lane's business, and what an [`Answer`] means is for stage 7, `acknowledgement`.

use std::time::Duration;

use super::bars::Bars;
use super::mesh::{Handed, Post};
use super::rest::{Answered, Rest};
use super::{AttemptError, Discovery, Dispatch, Over, Partner, Reply};
use crate::identity::PartyId;
use crate::identity::tls::{Clock, Credentials, TlsError};

/// What carries messages over one route.
#[derive(Debug)]
pub(super) enum Transport {
    /// `$process-message` over HTTP.
    Bars(Box<Bars>),
    /// Plain FHIR REST.
    Rest(Box<Rest>),
    /// NHS MESH.
    Mesh(Box<Post>),
}

/// What came back from one attempt, by the transport that made it.
#[derive(Debug)]
pub enum Answer {
    /// The answer to `$process-message`.
    Bars(Reply),
    /// What a FHIR server answered.
    Rest(Answered),
    /// What MESH did with the message. Its recipient has not answered yet.
    Mesh(Handed),
}

impl Transport {
    /// The transport of one route of `partner`. Nothing is connected yet.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub(super) fn new(
        partner: &Partner,
        over: &Over,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Transport, TlsError> {
        let recipient = (partner.ods.clone(), partner.service_id.clone());
        match over {
            Over::Bars(endpoint) => {
                Ok(Transport::Bars(Box::new(Bars::new(recipient, endpoint.clone(), credentials, clock)?)))
            }
            Over::Rest(route) => {
                Ok(Transport::Rest(Box::new(Rest::new(partner.ods.clone(), route, credentials, clock)?)))
            }
            Over::Mesh(mailbox) => Ok(Transport::Mesh(Box::new(Post::new(mailbox, clock)?))),
        }
    }

    /// Sends the message once, within `limit`.
    ///
    /// # Errors
    /// [`AttemptError`], which says whether the message may have arrived.
    pub(super) async fn attempt(&self, dispatch: &Dispatch, limit: Duration) -> Result<Answer, AttemptError> {
        match self {
            Transport::Bars(bars) => Ok(Answer::Bars(bars.attempt(dispatch, limit).await?)),
            Transport::Rest(rest) => Ok(Answer::Rest(rest.attempt(dispatch, limit).await?)),
            Transport::Mesh(post) => Ok(Answer::Mesh(post.attempt(dispatch, limit).await?)),
        }
    }

    /// What the endpoint says that it takes of these use cases, when `sender`, by code and name, asks; `None` where nobody can ask.
    pub(super) async fn discover(&self, sender: (&PartyId, &str), use_cases: &[String]) -> Option<Discovery> {
        match self {
            Transport::Bars(bars) => Some(bars.discover(sender, use_cases).await),
            Transport::Rest(_) | Transport::Mesh(_) => None,
        }
    }

    /// Where messages go, for the audit log: an address without a query, never a credential.
    pub(super) fn address(&self) -> String {
        match self {
            Transport::Bars(bars) => bars.base().to_string(),
            Transport::Rest(rest) => rest.base().to_string(),
            Transport::Mesh(post) => post.address(),
        }
    }
}
