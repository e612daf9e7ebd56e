//! One route of one partner as messages use it: what carries them, how hard, and whether the route works.
//!
//! A lane owns all of it: its transport with its connections, its limits (attempts at a time, attempts a second), its
//! breaker and its bell. Nothing here is shared with another lane, so a partner that is dead, slow or flapping takes no
//! attempt, no connection and no lock of another's. Whoever wants to make an attempt takes a [`Place`], of which there are as
//! many as may begin now; messages that wait in the outbox go before one that comes in.

mod breaker;
mod bucket;
mod gate;
mod place;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::breaker::Ticket;
use self::gate::Gate;
use super::mesh::Post;
use super::transport::{Answer, Transport};
use super::{AttemptError, BarsSettings, Discovery, Dispatch, Partner, Support};
use crate::identity::tls::{Clock, Credentials, TlsError};
use crate::identity::{MessageId, PartyId};

pub use breaker::{Health, Standing};
pub use place::Place;
pub use settings::{BreakerSection, BreakerSettings, LaneSettings};

/// One route of one partner. Attempts may run side by side.
#[derive(Debug)]
pub struct Lane {
    party: PartyId,
    route: u16,
    settings: LaneSettings,
    bars: BarsSettings,
    transport: Transport,
    gate: Mutex<Gate>,
    bell: Notify,
}

impl Lane {
    /// The lanes of `partner`, one a route in the order of its file, that present `credentials`. Nothing is connected
    /// yet.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub fn all_of(partner: &Partner, credentials: &Credentials, clock: &Clock) -> Result<Vec<Lane>, TlsError> {
        let lane = |(route, over)| {
            let gate = Gate::new(&partner.lane, Instant::now());
            Ok(Lane {
                party: partner.ods.clone(),
                route,
                settings: partner.lane,
                bars: partner.bars,
                transport: Transport::new(partner, over, credentials, clock.clone())?,
                gate: Mutex::new(gate),
                bell: Notify::new(),
            })
        };
        (0..).zip(&partner.routes).map(lane).collect()
    }

    /// Whose it is.
    pub fn party(&self) -> &PartyId {
        &self.party
    }

    /// Its place among the partner's routes, from 0.
    pub fn route(&self) -> u16 {
        self.route
    }

    /// How hard it is used.
    pub fn settings(&self) -> &LaneSettings {
        &self.settings
    }

    /// Whether its partner's answers come later, as messages of their own.
    pub fn answers_later(&self) -> bool {
        self.bars.answers_later
    }

    /// The mailbox into which its answers come, if it goes through MESH.
    pub fn post(&self) -> Option<&Post> {
        match &self.transport {
            Transport::Mesh(post) => Some(post),
            Transport::Bars(_) | Transport::Rest(_) => None,
        }
    }

    /// Asks the partner what it takes of these use cases, as `sender`, by code and name; `None` where nobody can ask. Where its file says so, no
    /// attempt begins from now on until it lists our messages.
    pub async fn discover(&self, sender: (&PartyId, &str), use_cases: &[String]) -> Option<Discovery> {
        let found = self.transport.discover(sender, use_cases).await?;
        let held = self.bars.require_listed && found.support == Support::NotListed;
        let was_held = std::mem::replace(&mut self.gate().is_held, held);
        if was_held && !held {
            self.ring();
        }
        Some(found)
    }

    /// How often the partner is asked; never without.
    pub fn discover_every(&self) -> Option<Duration> {
        self.bars.discover_every
    }

    /// Whether its messages wait because the partner says that it takes others.
    pub fn is_held(&self) -> bool {
        self.gate().is_held
    }

    /// Where its messages go, for the audit log.
    pub fn address(&self) -> String {
        self.transport.address()
    }

    /// Sends the message once, and logs why when there is no answer.
    ///
    /// # Errors
    /// [`AttemptError`], which says whether the message may have arrived.
    pub async fn attempt(&self, dispatch: &Dispatch) -> Result<Answer, AttemptError> {
        let outcome = self.transport.attempt(dispatch, self.settings.attempt_timeout).await;
        if let Err(error) = &outcome {
            let (partner, route, message_id, hint) = (&self.party, self.route, dispatch.message, error.hint());
            tracing::warn!(%partner, route, %message_id, reason = %error, hint, "delivery attempt failed");
        }
        outcome
    }

    /// Whether an attempt may begin now.
    ///
    /// # Errors
    /// None may: how long to wait, `None` until one that is under way ends.
    pub fn room(&self, now: Instant) -> Result<(), Option<Duration>> {
        self.gate().room(now)
    }

    /// A place for a message of the outbox; `None` when there is no room, or it has one.
    pub fn place(self: &Arc<Lane>, message: MessageId, now: Instant) -> Option<Place> {
        let ticket = self.gate().begin(message, now)?;
        Some(Place::new(self.clone(), message, ticket))
    }

    /// A place for a message that comes in and is not in the outbox yet; `None` when there is no room or others wait, among whom
    /// it will be then.
    pub fn place_for_new(self: &Arc<Lane>, message: MessageId, now: Instant) -> Option<Place> {
        let ticket = self.gate().begin_new(message, now)?;
        Some(Place::new(self.clone(), message, ticket))
    }

    /// A place is given back, and its attempt showed this of the route.
    fn leave(&self, (message, ticket): (MessageId, Ticket), health: Health, is_settled: bool) {
        let (change, is_awaited) = self.gate().leave((message, ticket), (health, is_settled), Instant::now());
        if is_awaited {
            self.bell.notify_one();
        }
        let (partner, route) = (&self.party, self.route);
        match change {
            (Standing::Closed | Standing::HalfOpen, Standing::Open) => {
                let seconds = self.settings.breaker.open.as_secs_f64();
                tracing::warn!(%partner, route, seconds, "the route fails; it is left alone, then tried again");
            }
            (Standing::Open | Standing::HalfOpen, Standing::Closed) => {
                tracing::info!(%partner, route, "the route works again");
            }
            _ => {}
        }
    }

    /// Whether the route is used, left alone, or tried.
    pub fn standing(&self, now: Instant) -> Standing {
        self.gate().standing(now)
    }

    /// Attempts under way.
    pub fn under_way(&self) -> u32 {
        u32::try_from(self.gate().under_way().len()).unwrap_or(u32::MAX)
    }

    /// Whether a message has a place.
    pub fn is_under_way(&self, message: MessageId) -> bool {
        self.gate().under_way().contains(&message)
    }

    /// Says that there may be something to deliver.
    pub fn ring(&self) {
        self.gate().ring();
        self.bell.notify_one();
    }

    /// Until it is rung, or a place is given back for which something waits; at once if that was since the last time.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// How often it was rung; `None` when nothing waits in the outbox.
    pub fn queue(&self) -> Option<u64> {
        self.gate().queue()
    }

    /// All has begun that was seen to wait in the outbox when it had been rung so often.
    pub fn queue_ended(&self, rung: u64) {
        self.gate().queue_ended(rung);
    }

    /// Whether attempts ended without saying how, since this was last asked.
    pub fn take_unsettled(&self) -> bool {
        self.gate().take_unsettled()
    }

    /// Gives what comes in no place any more. Whether nothing is under way; else it rings when something ends.
    pub fn close(&self) -> bool {
        self.gate().close()
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
