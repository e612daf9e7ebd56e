//! A message's place on a lane: taken before its attempt begins, given back when dropped, however the attempt ends.

use std::sync::Arc;

use super::{Health, Lane, Taken};
use crate::identity::MessageId;

/// The place of one message. While it is held, no other attempt at the message begins on its lane.
#[derive(Debug)]
pub struct Place {
    lane: Arc<Lane>,
    message: MessageId,
    /// `None` once the partner has answered: what is left is to store what came of it.
    taken: Option<Taken>,
    /// Whether the store has what became of the attempt.
    is_settled: bool,
}

impl Place {
    pub(super) fn new(lane: Arc<Lane>, message: MessageId, taken: Taken) -> Place {
        Place { lane, message, taken: Some(taken), is_settled: true }
    }

    /// The lane.
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// From now on the store may have the message in flight: dropped before [`Place::settle`], it must be queued again.
    pub fn begin(&mut self) {
        self.is_settled = false;
    }

    /// The partner answered, or will not, which showed this of the route: another attempt may begin.
    pub fn answered(&mut self, health: Health) {
        if let Some(taken) = self.taken.take() {
            self.lane.free(taken, health);
        }
    }

    /// The store has what became of it.
    pub fn settle(&mut self) {
        self.is_settled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(place = "outbox", is_panic = true, "an attempt ended abnormally");
        }
        self.answered(Health::Unknown);
        self.lane.leave(self.message, self.is_settled);
    }
}
