//! Notices when the site's agreements change, and takes them over while the gateway runs.
//!
//! Enters: the folder's files, every second. Leaves: other agreements in the place of those that are used, with their
//! audit event; or, when the folder as a whole has a fault, the last good ones still used, and the faults in the log, in
//! `/readyz`, in a metric and in the audit log. Invariant: nothing of a folder with a fault is used. A folder is read once
//! it stood unchanged from one look to the next, so that files may be copied into it one by one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Service, clock};
use crate::disclosure::{AgreementChange, Agreements};
use crate::identity::digest::{hex, sha_256};
use crate::storage;

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// What the audit log says of a folder that is not used.
const REFUSED: &str = "agreements-have-faults";

/// The folder of a site's agreements.
pub trait AgreementFolder: fmt::Debug + Send + Sync {
    /// The files that the gateway started with.
    fn at_start(&self) -> Hashes;

    /// The files as they stand, by name and text.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn texts(&self) -> Result<Texts, String>;

    /// Reads and checks them as a whole.
    ///
    /// # Errors
    /// Every fault.
    fn check(&self, texts: &Texts) -> Result<Agreements, Vec<String>>;
}

/// Files by name and text.
pub type Texts = Vec<(String, String)>;
/// Files by name and SHA-256.
pub type Hashes = Vec<(String, [u8; 32])>;

/// What is known of the folder.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<usize>);

impl Standing {
    /// The faults of the folder as it stands; none while it is what is used.
    pub(super) fn faults(&self) -> usize {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, faults: usize) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }
}

/// Looks at the folder until the gateway stops; at once when `asked` changes.
pub(super) async fn watch(
    service: Arc<Service>,
    folder: Arc<dyn AgreementFolder>,
    mut asked: watch::Receiver<u64>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut look = Look { judged: folder.at_start(), pending: None };
    loop {
        let at_once = tokio::select! {
            () = tokio::time::sleep(EVERY) => false,
            Ok(()) = asked.changed() => true,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        look.again(&service, &folder, at_once).await;
    }
}

/// What was seen of the folder so far.
struct Look {
    /// The files that were judged last.
    judged: Hashes,
    /// Others that were seen at the last look.
    pending: Option<Hashes>,
}

impl Look {
    async fn again(&mut self, service: &Service, folder: &Arc<dyn AgreementFolder>, at_once: bool) {
        let reader = folder.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reader.texts()).await else { return };
        // A folder that cannot be read is one state as any other: it is judged, and said, once.
        let hashes = match &read {
            Ok(texts) => texts.iter().map(|(name, text)| (name.clone(), sha_256(text.as_bytes()))).collect(),
            Err(why) => vec![("agreements".to_owned(), sha_256(why.as_bytes()))],
        };
        if hashes == self.judged {
            self.pending = None;
        } else if at_once || self.pending.as_ref() == Some(&hashes) {
            let done = judge(service, folder.clone(), read, &hashes).await;
            match done {
                Ok(()) => (self.judged, self.pending) = (hashes, None),
                Err(error) => error!(%error, "changed agreements cannot be taken over; the next try follows"),
            }
        } else {
            self.pending = Some(hashes);
        }
    }
}

/// Takes over what was read, or says what is wrong with it.
async fn judge(
    service: &Service,
    folder: Arc<dyn AgreementFolder>,
    read: Result<Texts, String>,
    hashes: &Hashes,
) -> Result<(), storage::Error> {
    let check = move || read.map_err(|why| vec![why]).and_then(|texts| folder.check(&texts));
    let checked = tokio::task::spawn_blocking(check).await;
    let checked = checked.unwrap_or_else(|_| Err(vec!["reading the agreements failed".to_owned()]));
    let gateway = &service.gateway;
    match checked {
        Ok(agreements) => {
            let changes = gateway.take_over(Arc::new(agreements), clock::now()).await?;
            service.agreements.note(0);
            service.metrics.agreements_read("taken-over");
            say_taken_over(service, &changes);
        }
        Err(faults) => {
            let refused = gateway.recorder.configuration(hashes, Some(REFUSED), clock::now());
            gateway.store().append(refused).await?;
            service.agreements.note(faults.len());
            service.metrics.agreements_read("refused");
            for fault in &faults {
                error!(fault, "a fault in the agreements");
            }
            let what = "the agreements as they stand are not used; the last good ones are. Run weir agreement check";
            error!(faults = faults.len(), "{what}");
        }
    }
    Ok(())
}

fn say_taken_over(service: &Service, changes: &[AgreementChange]) {
    if changes.is_empty() {
        info!("the agreements stand again as they are used");
    }
    for AgreementChange { agreement, version, file, came } in changes {
        let (sha256, change) = (hex(file), if *came { "came" } else { "went" });
        info!(%agreement, version, sha256, change, "agreements taken over");
    }
    let (stages, now) = (service.gateway.stages(), clock::now());
    for agreement in stages.agreements.iter() {
        if let Some(why) = agreement.not_in_force(now) {
            warn!(agreement = %agreement.id(), version = agreement.version(), why, "nothing leaves under an agreement");
        }
    }
    for interface in stages.interfaces.keys() {
        if !stages.agreements.iter().any(|agreement| agreement.interface(interface).is_some()) {
            warn!(%interface, "no agreement lets anything leave over an interface");
        }
    }
}
