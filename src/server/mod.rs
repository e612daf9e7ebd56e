//! The running gateway: its listeners, the loops that drain the outbox, checkpoints of the audit log, shutdown.

mod access;
mod acts;
mod alarms;
mod audit_routes;
mod agreements;
pub(crate) mod body;
mod certificates;
pub mod clock;
mod connections;
mod cosigning;
pub(crate) mod discovery;
mod earlier;
pub mod exchange;
mod folders;
mod framing;
mod handles;
mod handovers;
mod hl7v2;
mod inbound;
mod inbound_alarms;
mod inbound_routes;
mod limits;
pub mod listener;
mod look_back;
mod metrics;
mod mllp;
mod operations;
mod outbox;
mod partner_side;
mod post;
mod ration;
mod records;
mod review_routes;
mod retention;
mod reviews;
mod room;
mod validate;
mod wire;
pub mod witness;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info};

pub use self::agreements::{AgreementFolder, Hashes, Texts};
pub use self::certificates::TlsFiles;
pub use self::cosigning::Watcher;
pub use self::folders::{FolderFormat, WatchedFolder};
pub use self::hl7v2::Terms as Hl7v2Terms;
use self::listener::{Limits, Listener, Tally};
use self::metrics::Metrics;
pub use self::mllp::MllpLimits;
pub use self::partner_side::{PartnerSide, Terms};
use crate::audit::Checkpointer;
use crate::delivery::{Lane, Notifier};
use crate::identity::tls::ServerTls;
use crate::identity::{PartyId, PrincipalId};
use crate::pipeline::Gateway;
use crate::storage;

/// What a gateway listens on, and how.
#[derive(Debug)]
pub struct Settings {
    /// The provider's side.
    pub records: SocketAddr,
    /// Its mutual TLS: [`crate::identity::tls::server_config`].
    pub tls: ServerTls,
    /// The files of all TLS, which may change while the gateway runs.
    pub certificates: Arc<dyn TlsFiles>,
    /// Operators: health, readiness, metrics.
    pub operations: SocketAddr,
    /// The partners' side, where their responses come; none where all answer otherwise.
    pub partner_side: Option<PartnerSide>,
    /// Which HL7 v2 messages are taken.
    pub hl7v2: Hl7v2Terms,
    /// Where they come in over MLLP; none where they come over HTTP alone.
    pub mllp: Option<MllpSide>,
    /// Folders whose files are taken.
    pub folders: Vec<WatchedFolder>,
    /// What one request may cost.
    pub limits: RequestLimits,
    /// What connections and requests together may cost.
    pub listener: Limits,
    /// The site's name in acts and tokens: the origin of its audit log.
    pub site: String,
    /// Where acts of people wait to be performed.
    pub acts: PathBuf,
    /// How often the audit log's head is signed.
    pub checkpoint_every: Duration,
    /// Those who watch the audit log.
    pub watchers: Vec<Watcher>,
    /// How often each of them is asked to cosign its newest head, at most.
    pub watched_every: Duration,
    /// Tells of incidents.
    pub notifier: Notifier,
    /// The agreements, which may change while the gateway runs.
    pub agreements: Arc<dyn AgreementFolder>,
}

/// Where HL7 v2 messages come in over MLLP.
#[derive(Debug)]
pub struct MllpSide {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its mutual TLS.
    pub tls: ServerTls,
    /// What messages may cost.
    pub limits: MllpLimits,
}

/// What one request may cost.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// From the headers to the last byte of the body.
    pub body_timeout: Duration,
}

/// What the routes share.
#[derive(Debug)]
struct Service {
    gateway: Arc<Gateway>,
    metrics: Metrics,
    limits: RequestLimits,
    hl7v2: Hl7v2Terms,
    tally: Tally,
    /// The site's name in acts and tokens.
    site: String,
    notifier: Notifier,
    agreements: agreements::Standing,
    certificates: certificates::Standing,
    /// What partners say that they take.
    findings: discovery::Findings,
    /// What witnesses of the audit log cosigned.
    witnesses: cosigning::Standings,
    /// Where the watched folders stand.
    folders: folders::Standings,
    draining: AtomicBool,
}

impl Service {
    /// Says to the lanes of `recipient` that there may be something for them.
    fn wake(&self, recipient: &PartyId) {
        self.gateway.lanes(recipient).iter().for_each(|lane| lane.ring());
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    records: SocketAddr,
    operations: SocketAddr,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    lanes: Vec<JoinHandle<()>>,
    /// Empty our MESH mailboxes.
    posts: Vec<JoinHandle<()>>,
    /// Ask partners what they take, and witnesses to cosign; attend to folders.
    asking: Vec<JoinHandle<()>>,
    /// What people owe and do: acts, agreements, certificates, reviews, handovers, referrals, notices, retention.
    office: [JoinHandle<()>; 11],
    /// Changes when agreements and certificates are to be looked at.
    look: watch::Sender<u64>,
    checkpoints: JoinHandle<()>,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not ours.
    #[error("cannot listen on {address} ({source}); change the address in weir.toml or stop what listens there")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The start could not be written, or what an earlier run had in flight not be queued again.
    #[error("the store cannot write; {}", .0.hint())]
    Store(#[from] storage::Error),
}

/// Binds the listeners, queues again what an earlier run had in flight, and serves. `by` has it started, and may.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub async fn start(
    gateway: Arc<Gateway>,
    mut checkpointer: Checkpointer,
    settings: Settings,
    by: &PrincipalId,
) -> Result<Running, StartError> {
    let at = |address| move |source| StartError::Listen { address, source };
    let limits = handles::fit(settings.listener);
    let records = Listener::bind_mutual_tls(settings.records, settings.tls, limits).await;
    let records = records.map_err(at(settings.records))?;
    let operations = Listener::bind_plain(settings.operations, Limits::of_operations()).await;
    let operations = operations.map_err(at(settings.operations))?;
    let partner_side = match settings.partner_side {
        Some(side) => {
            let listener = Listener::bind_mutual_tls(side.listen, side.tls, limits).await;
            Some((listener.map_err(at(side.listen))?, side.terms))
        }
        None => None,
    };
    let mllp = match settings.mllp {
        Some(side) => {
            let listener = Listener::bind_mutual_tls(side.listen, side.tls, limits).await;
            Some((listener.map_err(at(side.listen))?, side.limits))
        }
        None => None,
    };
    let began = retention::Clock::at_start(gateway.store(), clock::now()).await?;
    gateway.started(by, clock::now()).await?;
    // Whoever verifies from now on finds a head.
    sign_head(&mut checkpointer).await;
    gateway.count_approvals().await?;

    let metrics = Metrics::default();
    let tally = metrics.refusals().at("records");
    let (records, operations) =
        (records.counting(tally.clone()), operations.counting(metrics.refusals().at("operations")));
    let draining = AtomicBool::new(false);
    let (watchers, watched_every) = (settings.watchers, settings.watched_every);
    let Settings {
        limits,
        hl7v2,
        folders: watched_folders,
        site,
        notifier,
        certificates,
        acts,
        agreements: folder,
        checkpoint_every,
        ..
    } = settings;
    let agreements = agreements::Standing::default();
    let certificates = certificates::Standing::of(certificates);
    let findings = discovery::Findings::default();
    let service = Arc::new(Service {
        gateway,
        metrics,
        limits,
        hl7v2,
        tally,
        site,
        notifier,
        agreements,
        certificates,
        findings,
        witnesses: cosigning::Standings::default(),
        folders: folders::Standings::default(),
        draining,
    });
    acts::perform(&service, &acts, false).await;
    let (stop, stopped) = watch::channel(false);
    let addresses = (records.local_address(), operations.local_address());
    let partners = partner_side.map(|(listener, terms)| {
        let listener = listener.counting(service.metrics.refusals().at("partners"));
        info!(partners = %listener.local_address(), "responses of partners are taken");
        let side = Arc::new(partner_side::Side { service: service.clone(), terms });
        tokio::spawn(listener.serve(partner_side::router(side), stopped.clone()))
    });
    let messages = mllp.map(|(listener, limits)| {
        let listener = listener.counting(service.metrics.refusals().at("mllp"));
        info!(mllp = %listener.local_address(), "HL7 v2 messages are taken");
        let service = service.clone();
        let talk = move |stream, visit| mllp::converse(service.clone(), limits, stream, visit);
        tokio::spawn(listener.serve_visits(stopped.clone(), talk))
    });
    let listeners = vec![
        tokio::spawn(records.serve(records::router(service.clone()), stopped.clone())),
        tokio::spawn(operations.serve(operations::router(service.clone()), stopped.clone())),
    ];
    let listeners = listeners.into_iter().chain(partners).chain(messages).collect();
    let lanes = service.gateway.lanes.values().flatten();
    let drain = |lane: &Arc<Lane>| tokio::spawn(outbox::drain(service.clone(), lane.clone(), stopped.clone()));
    let lanes = lanes.map(drain).collect();
    let posts = post::Mailbox::all_of(service.gateway.lanes.values().flatten()).into_iter();
    let collect = |mailbox| tokio::spawn(post::collect(service.clone(), mailbox, stopped.clone()));
    let posts = posts.map(collect).collect();
    let lanes_asked = service.gateway.lanes.values().flatten();
    let ask = |lane: &Arc<Lane>| tokio::spawn(discovery::ask(service.clone(), lane.clone(), stopped.clone()));
    let watch = |watcher| tokio::spawn(cosigning::ask(service.clone(), watcher, watched_every, stopped.clone()));
    let attend = |folder| tokio::spawn(folders::attend(service.clone(), folder, stopped.clone()));
    let asking = lanes_asked.map(ask).chain(watchers.into_iter().map(watch));
    let asking = asking.chain(watched_folders.into_iter().map(attend)).collect();
    let (look, asked) = watch::channel(0);
    let office = [
        tokio::spawn(agreements::watch(service.clone(), folder, asked.clone(), stopped.clone())),
        tokio::spawn(certificates::watch(service.clone(), asked, stopped.clone())),
        tokio::spawn(acts::perform_as_they_come(service.clone(), acts, stopped.clone())),
        tokio::spawn(reviews::watch_deadlines(service.clone(), stopped.clone())),
        tokio::spawn(alarms::watch(service.clone(), stopped.clone())),
        tokio::spawn(handovers::watch(service.clone(), stopped.clone())),
        tokio::spawn(inbound_alarms::watch(service.clone(), stopped.clone())),
        tokio::spawn(retention::watch(service.clone(), began, stopped.clone())),
        tokio::spawn(room::watch(service.clone(), stopped.clone())),
        tokio::spawn(reviews::deliver_notices(service.clone(), stopped.clone())),
        tokio::spawn(earlier::name(service.clone(), stopped.clone())),
    ];
    let checkpoints = tokio::spawn(sign_heads(checkpointer, checkpoint_every, stopped));
    info!(records = %addresses.0, operations = %addresses.1, "gateway started");
    let (records, operations) = addresses;
    Ok(Running { records, operations, service, stop, listeners, lanes, posts, asking, office, look, checkpoints })
}

impl Running {
    /// Where records are taken.
    pub fn records(&self) -> SocketAddr {
        self.records
    }

    /// Where operators look.
    pub fn operations(&self) -> SocketAddr {
        self.operations
    }

    /// Looks at the agreements and certificates now, whatever was seen of them before.
    pub fn look_again(&self) {
        self.look.send_modify(|times| *times += 1);
    }

    /// Stops taking records, lets what is under way finish, signs the last head of the audit log.
    pub async fn shut_down(self) {
        info!("gateway draining");
        self.service.draining.store(true, Ordering::Relaxed);
        let _nobody_listens = self.stop.send(true);
        for task in self.listeners.into_iter().chain(self.lanes).chain(self.posts).chain(self.asking).chain(self.office)
        {
            report(task.await);
        }
        if let Err(error) = self.service.gateway.stopped(clock::now()).await {
            error!(%error, "the stop could not be written to the audit log");
        }
        drop(self.stop);
        report(self.checkpoints.await);
        info!("gateway stopped");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        // Not the error itself: the message of a panic may quote a record.
        error!(is_panic = error.is_panic(), "a task of the gateway ended abnormally");
    }
}

/// Signs the audit log's head every so often, and once more when everything else has stopped.
async fn sign_heads(mut checkpointer: Checkpointer, every: Duration, mut stopped: watch::Receiver<bool>) {
    let mut running = true;
    while running {
        running = tokio::time::timeout(every, async { while stopped.changed().await.is_ok() {} }).await.is_err();
        sign_head(&mut checkpointer).await;
    }
}

async fn sign_head(checkpointer: &mut Checkpointer) {
    if let Err(error) = checkpointer.checkpoint().await {
        error!(%error, "the audit log's head could not be signed; the next try follows");
    }
}
