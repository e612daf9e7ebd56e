//! One route of one partner as messages use it: what carries them, how hard, and whether the route works.
//!
//! A lane owns all of it: its transport with its connections, its limits (attempts at a time, attempts a second), its
//! breaker and its bell. Nothing here is shared with another lane, so a partner that is dead, slow or flapping takes no
//! attempt, no connection and no lock of another's. Whoever wants to make an attempt takes a [`Place`], of which there are as
//! many as may begin now; messages that wait in the outbox go before one that comes in.

mod breaker;
mod bucket;
mod entrance;
mod gate;
mod place;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use self::entrance::{Entrance, PATIENCE};
use self::gate::{Gate, Taken};
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
    entrance: Entrance,
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
                entrance: Entrance::new(PATIENCE),
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
        let taken = self.gate().begin(message, now)?;
        Some(Place::new(self.clone(), message, taken))
    }

    /// A place for a message that comes in and is not in the outbox yet; waits a moment for one when all are taken and
    /// one is given back soon. `None` when there is no room or others wait, among whom it will be then.
    pub async fn place_for_new(self: &Arc<Lane>, message: MessageId) -> Option<Place> {
        let taken = self.entrance.enter(&self.gate, message).await?;
        Some(Place::new(self.clone(), message, taken))
    }

    /// A place is given back, and its attempt showed this of the route.
    fn free(&self, taken: Taken, health: Health) {
        let (change, is_awaited) = self.gate().free(taken, health, Instant::now());
        self.entrance.freed();
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

    /// An attempt is over, and the store has what came of it or does not.
    fn leave(&self, message: MessageId, is_settled: bool) {
        if self.gate().leave(message, is_settled) {
            self.bell.notify_one();
        }
    }

    /// Whether the route is used, left alone, or tried.
    pub fn standing(&self, now: Instant) -> Standing {
        self.gate().standing(now)
    }

    /// Attempts under way, each until the partner has answered.
    pub fn under_way(&self) -> u32 {
        u32::try_from(self.gate().taken()).unwrap_or(u32::MAX)
    }

    /// How many messages have an attempt under way, or one of which the store does not have yet what came of it.
    pub fn unfinished(&self) -> usize {
        self.gate().under_way().len()
    }

    /// Whether an attempt at a message is under way, or the store does not have yet what came of it.
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
        let is_empty = self.gate().close();
        self.entrance.freed();
        is_empty
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        entrance::locked(&self.gate)
    }
}

#[cfg(test)]
mod tests {
    use super::entrance::tests::LONG;
    use super::gate::tests::id;
    use super::*;
    use crate::delivery::partner::tests::partner;
    use crate::identity::issuance::{Authority, Validity};
    use crate::identity::tls::system_clock;
    use time::macros::datetime;

    /// A prompt lane with one place, where what comes in waits for as long as it takes.
    fn lane() -> Arc<Lane> {
        let validity = Validity::days(datetime!(2026-01-01 00:00 UTC), 1);
        let ours = Authority::new("Ours", validity).expect("an authority");
        let issued = ours.issue(&"DEMOP".parse().expect("a code"), "provider.example", &[], validity);
        let issued = issued.expect("a certificate");
        let own = Credentials::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).expect("PEM");
        let partner = partner("max_concurrent = 1");
        let mut lane = Lane::all_of(&partner, &own, &system_clock()).expect("usable").remove(0);
        lane.entrance = Entrance::new(LONG);
        lane.queue_ended(0);
        let lane = Arc::new(lane);
        // More than once, since this thread may be held up at any time.
        for _ in 0..64 {
            drop(lane.place(id(9), Instant::now()).expect("there is room"));
        }
        lane
    }

    fn waiting(lane: &Arc<Lane>, message: MessageId) -> tokio::task::JoinHandle<Option<Place>> {
        let lane = lane.clone();
        tokio::spawn(async move { lane.place_for_new(message).await })
    }

    #[tokio::test]
    async fn a_place_is_free_once_the_partner_has_answered_and_the_message_once_that_is_stored() {
        let lane = lane();
        let mut first = lane.place_for_new(id(1)).await.expect("there is room");
        first.begin();
        let second = waiting(&lane, id(2));
        tokio::task::yield_now().await;
        assert!(!second.is_finished() && lane.under_way() == 1);
        first.answered(Health::Well);
        let second = second.await.expect("it ends").expect("the place is free");
        assert_eq!((lane.under_way(), lane.unfinished(), lane.is_under_way(id(1))), (1, 2, true));
        first.settle();
        drop(first);
        assert_eq!((lane.under_way(), lane.unfinished(), lane.is_under_way(id(1))), (1, 1, false));
        drop(second);
        assert_eq!((lane.under_way(), lane.unfinished(), lane.take_unsettled()), (0, 0, false));
    }

    #[tokio::test]
    async fn who_waits_for_a_place_waits_no_longer_when_the_lane_closes() {
        let lane = lane();
        let _first = lane.place_for_new(id(1)).await.expect("there is room");
        let second = waiting(&lane, id(2));
        tokio::task::yield_now().await;
        assert!(!second.is_finished() && !lane.close());
        assert!(second.await.expect("it ends").is_none());
    }
}
