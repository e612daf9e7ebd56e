//! The reference receiver: a partner's endpoint that takes messages, keeps them and acknowledges them.
//!
//! Enters: `POST /FHIR/R4/$process-message` over mutual TLS. Leaves: one file for each message in `received/`, one line
//! for each arrival in `arrivals.jsonl`, and the answer. Invariant: a message is on disk before it is acknowledged,
//! and one id is one message. It can be told to misbehave, so that a sender's retries can be tried out. What it received it shows
//! to a browser on its own machine, on an address apart ([`pages`]).

mod decide;
mod inbox;
mod later;
mod misbehaviour;
mod pages;
mod receiver;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fhir::Instant;
use crate::identity::PartyId;
use crate::identity::tls::{Clock, Credentials, TlsError, TrustAnchors, server_config};
use crate::server::listener::{self, Listener};

pub use decide::{DecideError, Decision, Told, Way, decide};
pub use inbox::{Arrival, Outcome};
pub use later::{Answers, Later, UnknownAnswer};
pub use misbehaviour::{Misbehaviour, UnknownMisbehaviour};

/// How a partner's endpoint is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who the partner is.
    pub party: PartyId,
    /// Where it listens; port 0 for any.
    pub address: SocketAddr,
    /// The folder of `received/` and `arrivals.jsonl`; made if it is not there.
    pub directory: PathBuf,
    /// What it presents: a certificate that names `party`.
    pub credentials: Credentials,
    /// Who issues its senders' certificates.
    pub clients: TrustAnchors,
    /// The senders it takes messages from.
    pub allowed: Vec<PartyId>,
    /// Its service in the directory of services; may be empty.
    pub service_id: String,
    /// The use cases of the messages that it says it takes; whatever comes is taken all the same.
    pub use_cases: Vec<String>,
    /// Where its answers go, if it answers later by messages of its own.
    pub later: Option<Answers>,
    /// Where it shows what it received: a loopback address, in plain HTTP.
    pub pages: Option<SocketAddr>,
    /// The most bytes of a message. Default of the gateway: 10 MiB.
    pub body_limit: usize,
    /// What it does wrong on purpose.
    pub misbehaviour: Vec<Misbehaviour>,
    /// The limits of its listener.
    pub limits: listener::Limits,
    /// The clock that certificates are checked against.
    pub tls_clock: Clock,
    /// The time that arrivals and answers carry.
    pub now: fn() -> Instant,
}

/// Why a partner's endpoint cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its certificate names somebody else.
    #[error("the certificate is one of {found}, but the partner is {party}")]
    WrongParty {
        /// Who it is, by its settings.
        party: PartyId,
        /// Who it is, by its certificate.
        found: PartyId,
    },
    /// Its folder cannot be written.
    #[error("the folder of received messages cannot be used: {0}")]
    Directory(io::Error),
    /// What it received would be shown to other machines.
    #[error("pages = \"{0}\" is not an address of this machine alone")]
    NotLoopback(SocketAddr),
    /// Its address cannot be bound.
    #[error("{address} cannot be listened on: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
}

impl Error {
    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Tls(error) => error.hint(),
            Error::WrongParty { .. } => "give the partner a certificate that was issued to it",
            Error::Directory(_) => "name a folder that can be written",
            Error::NotLoopback(_) => {
                "write 127.0.0.1 or [::1] with a port; for readers elsewhere put a proxy that knows them before it"
            }
            Error::Bind { .. } => "stop what listens there, or choose another port",
        }
    }
}

/// A partner's endpoint that is listening.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    pages: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Where it shows what it received, if it does.
    pub fn pages(&self) -> Option<SocketAddr> {
        self.pages
    }

    /// Until it has stopped and open requests are answered.
    pub async fn finished(self) {
        for task in self.tasks {
            // The task ends by itself; that it panicked is logged where it did.
            let _ = task.await;
        }
    }
}

/// Starts a partner's endpoint, which runs until `shutdown` holds `true` or its sender is gone.
///
/// # Errors
/// [`Error`], before anything is listened on.
pub async fn serve(settings: Settings, shutdown: watch::Receiver<bool>) -> Result<Running, Error> {
    let config = server_config(&settings.credentials, &settings.clients, settings.tls_clock.clone())?;
    let found = settings.credentials.party(crate::identity::certificate::Role::Server).map_err(TlsError::from)?;
    if found != settings.party {
        return Err(Error::WrongParty { party: settings.party, found });
    }
    let inbox = inbox::Inbox::open(&settings.directory).map_err(Error::Directory)?;
    let bind = |cause| Error::Bind { address: settings.address, cause };
    let listener = Listener::bind_mutual_tls(settings.address, config, settings.limits).await.map_err(bind)?;
    let address = listener.local_address();
    let later = later::Answering::new(&settings)?;
    let shown = pages::listen(&settings).await?;
    let router = receiver::router(Arc::new(receiver::Receiver::new(settings, (inbox, later), address)));
    let mut tasks = vec![tokio::spawn(listener.serve(router, shutdown.clone()))];
    let pages = shown.as_ref().map(|(listener, _)| listener.local_address());
    tasks.extend(shown.map(|(listener, router)| tokio::spawn(listener.serve(router, shutdown))));
    Ok(Running { address, pages, tasks })
}
