//! One route of one partner as messages use it: what carries them, how hard, and whether the route works.
//!
//! A lane owns all of it: its transport with its connections, its limits (attempts at a time, attempts a second), its
//! breaker and its bell. Nothing here is shared with another lane, so a partner that is dead, slow or flapping takes no
//! attempt, no connection and no lock of another's. [`Lane::room`] says how many attempts may begin now; whoever asks
//! begins no more than that.

mod breaker;
mod bucket;
mod settings;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::breaker::Breaker;
use self::bucket::Bucket;
use super::mesh::Post;
use super::transport::{Answer, Transport};
use super::{AttemptError, BarsSettings, Discovery, Dispatch, Partner, Support};
use crate::identity::PartyId;
use crate::identity::tls::{Clock, Credentials, TlsError};

pub use breaker::{Health, Standing, Ticket};
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

/// What decides whether an attempt may begin.
#[derive(Debug)]
struct Gate {
    breaker: Breaker,
    bucket: Option<Bucket>,
    under_way: u32,
    /// Whether no attempt may begin, since the partner says that it takes other messages.
    held: bool,
}

impl Lane {
    /// The lanes of `partner`, one a route in the order of its file, that present `credentials`. Nothing is connected
    /// yet.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub fn all_of(partner: &Partner, credentials: &Credentials, clock: &Clock) -> Result<Vec<Lane>, TlsError> {
        let lane = |(route, over)| {
            let gate = Gate {
                breaker: Breaker::new(partner.lane.breaker),
                bucket: partner.lane.rate.map(|rate| Bucket::full(rate, Instant::now())),
                under_way: 0,
                held: false,
            };
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
        let was_held = std::mem::replace(&mut self.gate().held, held);
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
        self.gate().held
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

    /// How many attempts may begin now; if none may, how long to wait, `None` until one that is under way ends.
    pub fn room(&self, now: Instant) -> Result<usize, Option<Duration>> {
        let mut gate = self.gate();
        if gate.held {
            return Err(None);
        }
        let places = self.settings.concurrency.saturating_sub(gate.under_way);
        if places == 0 {
            return Err(None);
        }
        let trusted = gate.breaker.room(now)?;
        let tokens = gate.bucket.as_mut().map_or(Ok(u32::MAX), |bucket| bucket.tokens(now).map_err(Some))?;
        Ok(places.min(trusted).min(tokens) as usize)
    }

    /// An attempt begins, one of those for which there was [`Lane::room`]. The ticket goes back when it ends.
    pub fn began(&self, now: Instant) -> Ticket {
        let mut gate = self.gate();
        gate.under_way += 1;
        if let Some(bucket) = &mut gate.bucket {
            bucket.take(now);
        }
        gate.breaker.began()
    }

    /// An attempt ended, and showed this of the route.
    pub fn ended(&self, ticket: Ticket, health: Health, now: Instant) {
        let mut gate = self.gate();
        gate.under_way = gate.under_way.saturating_sub(1);
        let before = gate.breaker.standing(now);
        gate.breaker.ended(ticket, health, now);
        let after = gate.breaker.standing(now);
        drop(gate);
        let (partner, route) = (&self.party, self.route);
        match (before, after) {
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
        self.gate().breaker.standing(now)
    }

    /// Attempts under way.
    pub fn under_way(&self) -> u32 {
        self.gate().under_way
    }

    /// Says that there may be something to deliver.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Until it is rung; at once if it was since the last time.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
