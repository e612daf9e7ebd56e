//! Notices when certificates, keys, authorities or revocation lists change, and takes them over while the gateway runs.
//!
//! Enters: the files that the site names, every second. Leaves: other credentials and authorities for every handshake from
//! then on; or, when one file has a fault, all the last good ones still used, and the faults in the log, in `/readyz`, in
//! a metric and in the audit log. Invariants: what is used changes as a whole; no connection is dropped for it. Files are
//! read once they stood unchanged from one look to the next, so that they may be copied one by one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::agreements::Hashes;
use super::{Service, clock};
use crate::fhir::{self, instant_text};
use crate::identity::tls::Term;
use crate::storage;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often the log says again what ends soon.
const REMINDER: Duration = Duration::from_secs(24 * 3600);
/// What the audit log says of files that are not used.
const REFUSED: &str = "certificates-have-faults";

/// The files that say who we are in TLS, and whom we trust.
pub trait TlsFiles: fmt::Debug + Send + Sync {
    /// What the files hold now, by name; one that cannot be read is told from any other. Keys last: see
    /// [`TlsFiles::without_keys`].
    fn looks(&self) -> Hashes;

    /// The same without the private keys, of which nothing is written down.
    fn without_keys(&self, looks: &Hashes) -> Hashes;

    /// Reads and checks them all, and uses them from now on.
    ///
    /// # Errors
    /// Every fault; nothing changes then.
    fn take_over(&self) -> Result<(), Vec<String>>;

    /// What ends, and when, by the place that names it.
    fn terms(&self) -> Vec<(String, Term)>;
}

/// The files, and what is known of them.
#[derive(Debug)]
pub(super) struct Standing {
    files: Arc<dyn TlsFiles>,
    faults: Mutex<usize>,
}

impl Standing {
    pub(super) fn of(files: Arc<dyn TlsFiles>) -> Standing {
        Standing { files, faults: Mutex::default() }
    }

    /// The faults of the files as they stand; none while they are what is used.
    pub(super) fn faults(&self) -> usize {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, faults: usize) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Everything that ends.
    pub(super) fn terms(&self) -> Vec<(String, Term)> {
        self.files.terms()
    }

    /// What ends soon, or has ended.
    pub(super) fn ending(&self, now: fhir::Instant) -> Vec<(String, Term)> {
        let mut terms = self.files.terms();
        terms.retain(|(_, term)| term.is_near(now));
        terms
    }
}

/// Looks at the files until the gateway stops; at once when `asked` changes.
pub(super) async fn watch(service: Arc<Service>, mut asked: watch::Receiver<u64>, mut stopped: watch::Receiver<bool>) {
    let mut look = Look { judged: looks(&service).await.unwrap_or_default(), pending: None };
    let mut reminded = None::<Instant>;
    loop {
        if reminded.is_none_or(|last| last.elapsed() >= REMINDER) {
            remind(&service);
            reminded = Some(Instant::now());
        }
        let at_once = tokio::select! {
            () = tokio::time::sleep(EVERY) => false,
            Ok(()) = asked.changed() => true,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        look.again(&service, at_once).await;
    }
}

fn remind(service: &Service) {
    let now = clock::now();
    for (place, Term { what, until, .. }) in service.certificates.ending(now) {
        let until = instant_text(until);
        warn!(place, what, until, "a certificate or list ends soon, or has ended: put its successor into its file");
    }
}

/// What the files hold, read where reading may block.
async fn looks(service: &Service) -> Option<Hashes> {
    let files = service.certificates.files.clone();
    tokio::task::spawn_blocking(move || files.looks()).await.ok()
}

/// What was seen of the files so far.
struct Look {
    /// What was judged last.
    judged: Hashes,
    /// Others that were seen at the last look.
    pending: Option<Hashes>,
}

impl Look {
    async fn again(&mut self, service: &Service, at_once: bool) {
        let Some(seen) = looks(service).await else { return };
        if seen == self.judged {
            self.pending = None;
        } else if at_once || self.pending.as_ref() == Some(&seen) {
            match judge(service, &seen).await {
                Ok(()) => (self.judged, self.pending) = (seen, None),
                Err(error) => error!(%error, "changed certificates cannot be taken over; the next try follows"),
            }
        } else {
            self.pending = Some(seen);
        }
    }
}

/// Takes over what stands in the files, or says what is wrong with it.
async fn judge(service: &Service, seen: &Hashes) -> Result<(), storage::Error> {
    let standing = &service.certificates;
    let files = standing.files.clone();
    let named = files.without_keys(seen);
    let taken = tokio::task::spawn_blocking(move || files.take_over()).await;
    let taken = taken.unwrap_or_else(|_| Err(vec!["reading the certificates failed".to_owned()]));
    let refused = taken.is_err().then_some(REFUSED);
    let faults = taken.err().unwrap_or_default();
    standing.note(faults.len());
    service.metrics.certificates_read(if faults.is_empty() { "taken-over" } else { "refused" });
    for fault in &faults {
        error!(fault, "a fault in certificates, keys, authorities or revocation lists");
    }
    if faults.is_empty() {
        info!(files = named.len(), "certificates, keys, authorities and revocation lists taken over");
        remind(service);
    } else {
        error!(faults = faults.len(), "the files as they stand are not used; the last good ones are");
    }
    let gateway = &service.gateway;
    gateway.store().append(gateway.recorder.configuration(&named, refused, clock::now())).await.map(drop)
}
