//! NHS MESH: messages go into the partner's mailbox, and their answers come back into ours (MESH API, version 2).
//!
//! Enters: a [`Dispatch`]. Leaves: what MESH did with it ([`Handed`]); later, from our inbox, the partner's answer or a
//! report that it did not arrive ([`Collected`]). Invariant: a message counts as taken by the id that MESH gives it, and
//! what is in our inbox stays there until [`Post::acknowledge`].

mod chunks;
mod client;
mod directory;
mod inbox;
mod send;
mod settings;
mod token;

use std::time::Duration;

use self::client::Mesh;
use self::directory::Directory;
use self::send::{Begun, Envelope, Until};
use super::{AttemptError, Dispatch};
use crate::identity::tls::{Clock, TlsError};

pub use inbox::{Collected, InboxError, Kind, Outside};
pub use send::Handed;
pub use settings::{Mailbox, MeshSection};

/// The way to one partner through MESH, and our mailbox, into which its answers come.
#[derive(Debug)]
pub struct Post {
    mesh: Mesh,
    directory: Directory,
    mailbox: Mailbox,
    begun: Begun,
}

impl Post {
    /// The way that `mailbox` describes. Nothing is connected yet.
    ///
    /// # Errors
    /// When our certificate cannot be used.
    pub(super) fn new(mailbox: &Mailbox, clock: Clock) -> Result<Post, TlsError> {
        let directory = Directory::new(mailbox.to.clone(), mailbox.workflow.clone());
        Ok(Post { mesh: Mesh::new(mailbox, clock)?, directory, mailbox: mailbox.clone(), begun: Begun::default() })
    }

    /// Sends the message once, within `limit`.
    ///
    /// # Errors
    /// [`AttemptError`], which says whether the message may have arrived.
    pub(super) async fn attempt(&self, dispatch: &Dispatch, limit: Duration) -> Result<Handed, AttemptError> {
        let until = Until::within(limit);
        let to = match self.directory.mailbox(&self.mesh, until).await? {
            Ok(to) => to,
            Err(why) => return Ok(why),
        };
        let Mailbox { workflow, chunk_bytes, .. } = &self.mailbox;
        let envelope = Envelope { to: &to, workflow, chunk_bytes: *chunk_bytes };
        send::send((&self.mesh, &self.begun), &envelope, dispatch, until).await
    }

    /// Where our mailbox is: the same for all ways that share it.
    pub fn address(&self) -> String {
        self.mesh.address()
    }

    /// How often our inbox is to be looked at.
    pub fn poll(&self) -> Duration {
        self.mailbox.poll
    }

    /// How often our mailbox is to be validated: every 24 hours, or sooner.
    pub fn handshake(&self) -> Duration {
        self.mailbox.handshake
    }

    /// Validates our mailbox: at the start and every so often.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn shake_hands(&self) -> Result<(), InboxError> {
        let status = self.mesh.shake_hands().await?;
        if status.is_success() { Ok(()) } else { Err(InboxError::Status(status.as_u16())) }
    }

    /// The ids of the messages in our inbox.
    ///
    /// # Errors
    /// When MESH does not say.
    pub async fn list(&self) -> Result<Vec<String>, InboxError> {
        inbox::list(&self.mesh, self.mailbox.inbox_page).await
    }

    /// What stands on the outside of a message in our inbox; `None` when it is no longer there.
    ///
    /// # Errors
    /// When MESH does not say.
    pub async fn outside(&self, id: &str) -> Result<Option<Outside>, InboxError> {
        inbox::outside(&self.mesh, id).await
    }

    /// A message of our inbox, all of it.
    ///
    /// # Errors
    /// When MESH does not give it, or it is too large for an answer.
    pub async fn download(&self, id: &str) -> Result<Collected, InboxError> {
        inbox::download(&self.mesh, id).await
    }

    /// Has MESH forget a message, once what it means is on disk.
    ///
    /// # Errors
    /// When MESH does not say that it did.
    pub async fn acknowledge(&self, id: &str) -> Result<(), InboxError> {
        inbox::acknowledge(&self.mesh, id).await
    }

    /// Whether a message with this outside may be an answer from our partner. A report may be about any message of ours.
    ///
    /// # Errors
    /// When the partner's mailbox must be looked up, and cannot be: it may be from our partner, look at it again.
    pub async fn may_answer(&self, outside: &Outside) -> Result<bool, InboxError> {
        if outside.kind != Kind::Data || outside.workflow != self.mailbox.answer_workflow {
            return Ok(false);
        }
        match self.directory.mailbox(&self.mesh, Until::within(client::LIMIT)).await? {
            Ok(mailbox) => Ok(mailbox == outside.from),
            Err(Handed::Later { status, .. }) => Err(InboxError::Status(status)),
            Err(Handed::Mailboxes(found)) => Err(InboxError::Mailboxes(found)),
            Err(Handed::Taken { .. } | Handed::Refused { .. } | Handed::Unreadable) => Err(InboxError::Unreadable),
        }
    }
}
