//! A message's place on a lane: taken before its attempt begins, given back when dropped, however the attempt ends.

use std::sync::Arc;

use super::{Health, Lane, Ticket};
use crate::identity::MessageId;

/// The place of one message. While it is held, no other attempt at the message begins on its lane.
#[derive(Debug)]
pub struct Place {
    lane: Arc<Lane>,
    message: MessageId,
    ticket: Ticket,
    health: Health,
    /// Whether the store has what became of the attempt.
    is_settled: bool,
}

impl Place {
    pub(super) fn new(lane: Arc<Lane>, message: MessageId, ticket: Ticket) -> Place {
        Place { lane, message, ticket, health: Health::Unknown, is_settled: true }
    }

    /// The lane.
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// From now on the store may have the message in flight: dropped before [`Place::settle`], it must be queued again.
    pub fn begin(&mut self) {
        self.is_settled = false;
    }

    /// The store has what became of it, and the attempt showed this of the route.
    pub fn settle(&mut self, health: Health) {
        (self.health, self.is_settled) = (health, true);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(place = "outbox", is_panic = true, "an attempt ended abnormally");
        }
        self.lane.leave((self.message, self.ticket), self.health, self.is_settled);
    }
}
