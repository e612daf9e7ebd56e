//! The loops that empty our MESH mailboxes: one a mailbox, whoever of the partners shares it.
//!
//! Each message of the inbox is looked at from outside, downloaded if it may be for us, and acknowledged to MESH only
//! when what it means is on disk. What is not about a message of ours stays in the mailbox: nothing that nobody will
//! read is taken out of it, and after five days MESH tells its sender.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Service, clock};
use crate::acknowledgement::LIMITS;
use crate::delivery::Lane;
use crate::delivery::mesh::{InboxError, Kind, Outside, Post};
use crate::fhir::Document;
use crate::pipeline::answers::{self, NotOurs, Taken, take_report};
use crate::storage::{self, State};

/// MESH asks every mailbox to be validated this often.
const VALIDATE: Duration = Duration::from_secs(24 * 3600);

/// Why a message stays in the mailbox.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Inbox(#[from] InboxError),
    #[error("the store cannot write: {0}")]
    Store(#[from] storage::Error),
}

/// One mailbox of ours, and the ways that share it.
pub(super) struct Mailbox {
    lanes: Vec<Arc<Lane>>,
    /// What is not for us, of the messages that wait.
    left: HashSet<String>,
    validated: Option<Instant>,
}

impl Mailbox {
    /// The mailboxes of a gateway's lanes.
    pub(super) fn all_of<'a>(lanes: impl Iterator<Item = &'a Arc<Lane>>) -> Vec<Mailbox> {
        let mut boxes: BTreeMap<String, Vec<Arc<Lane>>> = BTreeMap::new();
        for lane in lanes {
            if let Some(post) = lane.post() {
                boxes.entry(post.address()).or_default().push(lane.clone());
            }
        }
        let mailbox = |lanes| Mailbox { lanes, left: HashSet::new(), validated: None };
        boxes.into_values().map(mailbox).collect()
    }

    fn post(&self) -> &Post {
        self.lanes.iter().find_map(|lane| lane.post()).expect("a mailbox is made of lanes that have one")
    }

    /// Validates the mailbox when it is time, then takes what waits in it.
    async fn look(&mut self, service: &Service) -> Result<(), InboxError> {
        let every = self.lanes.iter().filter_map(|lane| lane.post()).map(Post::handshake).min().unwrap_or(VALIDATE);
        if self.validated.is_none_or(|since| since.elapsed() >= every) {
            self.post().shake_hands().await?;
            self.validated = Some(Instant::now());
            info!(mailbox = %self.post().address(), "MESH mailbox validated");
        }
        let waiting = self.post().list().await?;
        self.left.retain(|id| waiting.contains(id));
        for id in waiting {
            if self.left.contains(&id) {
                continue;
            }
            if let Err(reason) = self.take(service, &id).await {
                warn!(mesh_id = %id, %reason, "a message stays in our MESH mailbox; the next look follows");
                if matches!(reason, Error::Inbox(InboxError::TooLarge)) {
                    self.left.insert(id);
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, service: &Service, id: &str) -> Result<(), Error> {
        let Some(outside) = self.post().outside(id).await? else { return Ok(()) };
        match self.taken(service, id, &outside).await? {
            Taken::Stored { recipient, state, accepted_at } => {
                service.wake(&recipient);
                if state == State::Acknowledged {
                    service.metrics.acknowledged(Duration::try_from(clock::now() - accepted_at).unwrap_or_default());
                }
                self.post().acknowledge(id).await?;
            }
            Taken::Settled | Taken::Repeated | Taken::Contradicts => self.post().acknowledge(id).await?,
            Taken::Later | Taken::NotYet => {}
            Taken::NotOurs(_) | Taken::Conflict => {
                warn!(mesh_id = %id, workflow = %outside.workflow, "a message in our MESH mailbox is not for us");
                self.left.insert(id.to_owned());
            }
        }
        Ok(())
    }

    async fn taken(&self, service: &Service, id: &str, outside: &Outside) -> Result<Taken, Error> {
        if let Kind::Report { .. } = outside.kind {
            return Ok(take_report(&service.gateway, &self.lanes, outside, clock::now()).await?);
        }
        let (mut senders, mut in_doubt) = (Vec::new(), None);
        for lane in &self.lanes {
            let Some(post) = lane.post() else { continue };
            match post.may_answer(outside).await {
                Ok(true) => senders.push(lane.party()),
                Ok(false) => {}
                Err(error) => in_doubt = Some(error),
            }
        }
        let Some(first) = senders.first() else {
            return in_doubt.map_or(Ok(Taken::NotOurs(NotOurs::NoAnswer)), |error| Err(error.into()));
        };
        let collected = self.post().download(id).await?;
        let Ok(answer) = Document::parse(collected.body, &LIMITS) else {
            return Ok(Taken::NotOurs(NotOurs::NoAnswer));
        };
        let sender = match answers::sender_among(&service.gateway, &senders, &answer).await? {
            Some(sender) => sender,
            // It may be of the partner whose mailbox could not be looked up.
            None => in_doubt.map_or(Ok(*first), Err)?,
        };
        Ok(answers::take(&service.gateway, (sender, None), &answer, clock::now()).await?)
    }
}

/// Looks into the mailbox until `stopped` says so.
pub(super) async fn collect(service: Arc<Service>, mut mailbox: Mailbox, mut stopped: watch::Receiver<bool>) {
    let every = mailbox.lanes.iter().filter_map(|lane| lane.post()).map(Post::poll).min().unwrap_or(VALIDATE);
    loop {
        let looked = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            looked = mailbox.look(&service) => looked,
        };
        if let Err(reason) = looked {
            let (address, hint) = (mailbox.post().address(), reason.hint());
            error!(mailbox = %address, %reason, hint, "our MESH mailbox cannot be used; the next look follows");
        }
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(every) => {}
        }
    }
}
