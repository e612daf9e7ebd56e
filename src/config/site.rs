//! The folder of a gateway: `weir.toml` and what it names.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

use super::agreement_folder::{Folder, Reader};
use super::definitions::{self, texts};
use super::facts::SiteFacts;
use super::faults::{Fault, Faults, plural};
use super::folders::{Folder as WrittenFolder, check_apart};
use super::packages::PackageStore;
use super::staff::Staff;
use super::tls_files::TlsFiles;
use super::witnesses::{self, CheckedWitness};
use super::{agreements, builtin, collection, handovers, key_command, written};
use crate::audit::checkpoint::{SigningKey, VerifierKey};
use crate::audit::cosignature::CosignerKey;
use crate::audit::{Checkpointer, HashKey, Recorder};
use crate::delivery::deadline::{LONGEST, MINUTES};
use crate::delivery::{Lane, Over, Partner, PartnerSection};
use crate::disclosure::{Agreement, Agreements, PseudonymKey};
use crate::fhir::definitions::without_version;
use crate::fhir::outcome::Issue;
use crate::fhir::{Document, Limits, instant_text};
use crate::identity::certificate::{CertificateError, Role};
use crate::identity::digest::sha_256;
use crate::identity::principal::Principals;
use crate::identity::tls::{
    Credentials, ServerTls, TrustAnchors, TrustFiles, client_config, server_config, system_clock,
};
use crate::identity::{AgreementId, InterfaceName, PartyId};
use crate::intake::{Clock, Model};
use crate::mapping::{self, CompiledMap, Diagnostic, MapFile, Mappings};
use crate::pipeline::inbound::Inbound;
use crate::pipeline::{Current, EMERGENCY, Gateway, IfMissing, Interface, Stages};
use crate::provenance;
use crate::server::{Hl7v2Terms, PartnerSide, RequestLimits, Settings, Terms, WatchedFolder, Watcher, clock, listener};
use crate::storage::{Room, Secret, SqliteStore, Store};
use crate::validation::Validator;

/// The files of a folder, read and checked one by one.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(folder: &Path) -> Files {
        Files { folder: folder.to_owned() }
    }

    /// Where a path of the configuration leads: relative ones start at the site.
    pub(super) fn path(&self, below: &Path) -> PathBuf {
        self.folder.join(below)
    }

    pub(super) fn read(&self, named_in: &str, below: &Path) -> Result<Vec<u8>, Fault> {
        fs::read(self.path(below)).map_err(|error| {
            Fault::new(named_in, format!("{}: {error}", below.display()), "check the path and who may read the file")
        })
    }

    /// A TOML file; its faults show the line and a caret.
    pub(super) fn toml<T: DeserializeOwned>(&self, name: &str) -> Result<T, Fault> {
        let path = self.folder.join(name);
        let text = fs::read_to_string(&path).map_err(|error| {
            Fault::new(path.display().to_string(), error, "check that --site names the site's folder")
        })?;
        toml::from_str(&text).map_err(|error| Fault::new(name, error, ""))
    }

    pub(super) fn credentials(&self, named_in: &str, chain: &Path, key: &Path) -> Result<Credentials, Fault> {
        for below in [chain, key] {
            self.read(named_in, below)?;
        }
        Credentials::load(self.path(chain), self.path(key))
            .map_err(|error| Fault::new(named_in, format!("{}: {error}", chain.display()), error.hint()))
    }

    pub(super) fn anchors(&self, named_in: &str, below: &Path) -> Result<TrustAnchors, Fault> {
        self.read(named_in, below)?;
        let files = TrustFiles { anchors: self.path(below), lists: Vec::new(), grace: Duration::ZERO };
        TrustAnchors::load(files)
            .map_err(|error| Fault::new(named_in, format!("{}: {error}", below.display()), error.hint()))
    }

    /// The authorities of the clients of one side with their revocation lists.
    pub(super) fn trust(
        &self,
        side: &str,
        (anchors, lists, grace_hours): (&Path, &[PathBuf], u8),
    ) -> Result<TrustAnchors, Fault> {
        let named_in = SITE;
        let files = TrustFiles {
            anchors: self.path(anchors),
            lists: lists.iter().map(|list| self.path(list)).collect(),
            grace: Duration::from_secs(u64::from(grace_hours) * 3600),
        };
        let names = match lists {
            [] => anchors.display().to_string(),
            _ => format!("{side}.trust_anchors and revocation_lists"),
        };
        TrustAnchors::load(files).map_err(|error| Fault::new(named_in, format!("{names}: {error}"), error.hint()))
    }

    fn secret(&self, named_in: &str, below: &Path) -> Result<Secret, Fault> {
        Secret::load(&self.path(below))
            .map_err(|error| Fault::new(named_in, format!("{}: {error}", below.display()), error.hint()))
    }

    fn payload_key(&self, written: &written::Storage) -> Result<Secret, Fault> {
        match (&written.payload_key, &written.payload_key_command) {
            (Some(file), None) => self.secret(SITE, file),
            (None, Some(command)) => key_command::run(command, &self.folder)
                .map_err(|error| Fault::new(SITE, format!("storage.payload_key_command: {error}"), error.hint())),
            _ => {
                let hint = "name the key's file in payload_key, or in payload_key_command the program that prints it";
                Err(Fault::new(SITE, "[storage] needs payload_key or payload_key_command, and not both", hint))
            }
        }
    }

    fn audit_key(&self, written: &written::Gateway) -> Result<SigningKey, Fault> {
        let name = &written.audit.key;
        let key = SigningKey::load(&self.path(name))
            .map_err(|error| Fault::new(SITE, format!("{}: {error}", name.display()), error.hint()))?;
        if key.verifier().name() != written.audit.origin {
            let hint = "write the name that the key holds";
            return Err(Fault::new(SITE, "audit.origin is not the name in audit.key", hint));
        }
        Ok(key)
    }

    /// The text files of a folder of the site; none when the folder is not there.
    pub(super) fn texts(&self, folder: &str, extension: &str) -> Result<Vec<(String, String)>, Fault> {
        let path = self.folder.join(folder);
        if path.is_dir() { texts(&path, extension) } else { Ok(Vec::new()) }
    }
}

/// The file that says what a gateway is.
pub(super) const SITE: &str = "weir.toml";

/// Where `weir send` submits records, and what it presents there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `https://host:port`
    pub uri: Uri,
    /// Connect here instead of resolving the host.
    pub connect: Option<std::net::SocketAddr>,
    /// Mutual TLS.
    pub tls: Arc<ClientConfig>,
}

/// A gateway's folder, checked.
#[derive(Debug)]
pub struct Site {
    files: Files,
    written: written::Gateway,
    staff: Staff,
    stages: Arc<Stages>,
    reader: Arc<Reader>,
    partners: Vec<Partner>,
    credentials: Credentials,
    records: SideTls,
    /// The partners' side.
    bars: Option<SideTls>,
    mllp: Option<SideTls>,
    hl7v2: Hl7v2Terms,
    folders: Vec<WatchedFolder>,
    /// Who may issue the certificates of webhooks.
    webhooks: Option<TrustAnchors>,
    payload_key: Secret,
    hash_key: Secret,
    audit_verifier: VerifierKey,
    /// Those who watch the audit log.
    witnesses: Vec<CheckedWitness>,
    limits: listener::Limits,
    /// Name and SHA-256 of every file that decides what leaves.
    hashes: Vec<(String, [u8; 32])>,
}

/// What [`crate::server::start`] takes.
#[derive(Debug)]
pub struct Parts {
    /// The way of a message.
    pub gateway: Arc<Gateway>,
    /// Signs the audit log's head.
    pub checkpointer: Checkpointer,
    /// What to listen on.
    pub settings: Settings,
}

impl Site {
    /// Reads and checks everything that a start would.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn load(folder: &Path) -> Result<Site, Faults> {
        let files = Files::new(folder);
        let mut faults = Faults::default();
        let Some(written) = faults.keep(files.toml::<written::Gateway>(SITE)) else { return Err(faults) };
        let loaded = Site::load_parts(files, written, &[], &mut faults);
        match loaded {
            Some(site) if faults.faults.is_empty() => Ok(site),
            _ => Err(faults),
        }
    }

    /// Checks every part before it gives up, so that all faults are found. `replaced` are agreement files that stand in
    /// the place of the site's.
    pub(super) fn load_parts(
        files: Files,
        written: written::Gateway,
        replaced: &[(String, String)],
        faults: &mut Faults,
    ) -> Option<Site> {
        let mut hashes = Vec::new();
        let partners = load_partners(&files, &mut hashes, faults);
        let staff = Staff::of(&files, &written, faults);
        let others = Others {
            partners: partners.as_deref().unwrap_or_default(),
            principals: staff.as_ref().map(Staff::principals),
            replaced,
        };
        let hash_key = faults.keep(files.secret(SITE, &written.audit.hash_key));
        let audit_key = faults.keep(files.audit_key(&written));
        let keys = hash_key.as_ref().zip(audit_key.as_ref()).map(|(hashes, signing)| provenance::Keys {
            signing: signing.for_messages(),
            published: signing.verifier().to_string(),
            kid: signing.verifier().kid(),
            hashes: HashKey::new(hashes.bytes()),
        });
        let (stages, reader) = load_stages(&files, &written, (&others, keys), &mut hashes, faults).unzip();
        let credentials = faults.keep(files.credentials(SITE, &written.gateway.certificate, &written.gateway.key));
        let records_tls = faults.keep(records_tls(&files, &written));
        let bars_tls = faults.keep(written.bars.as_ref().map(|bars| bars_tls(&files, &written, bars)).transpose());
        let mllp_tls = faults.keep(written.mllp.as_ref().map(|mllp| mllp.tls(&files, &written)).transpose());
        let hl7v2 = stages.as_ref().and_then(|stages| faults.keep_all(written.hl7v2.check(&stages.interfaces)));
        let folders = stages.as_ref().zip(staff.as_ref()).and_then(|(stages, staff)| {
            let check = |folder: &WrittenFolder| folder.check(&files, staff.principals(), stages);
            let checked: Vec<_> = written.folders.iter().map(check).map(|each| faults.keep_all(each)).collect();
            let folders = checked.into_iter().collect::<Option<Vec<_>>>()?;
            faults.keep_all(check_apart(&folders)).map(|()| folders)
        });
        let webhooks = faults.keep(written.incidents.anchors(&files));
        let payload_key = faults.keep(files.payload_key(&written.storage));
        let witnesses = witnesses::check(&files, &written.audit.witnesses);
        let witnesses = faults.keep_all(witnesses);
        faults.keep(bounds(&written));
        let limits = faults.keep(written.limits.check(written.records.max_body_bytes));
        if let Some(credentials) = &credentials {
            faults.keep(our_own(credentials, &written));
        }
        if written.send.is_some() {
            faults.keep(send_endpoint(&files, &written));
        }
        check_answers(&written, partners.as_deref().unwrap_or_default(), faults);
        if let (Some(stages), Some(partners)) = (&stages, &partners) {
            check_routes(stages, partners, faults);
        }
        if let (Some(stages), Some(credentials), Some(webhooks)) = (&stages, &credentials, &webhooks) {
            faults.keep(written.incidents.check(&stages.agreements));
            faults.keep(written.incidents.notifier(&files, credentials, webhooks.as_ref()));
        }
        Some(Site {
            staff: staff?,
            stages: Arc::new(stages?),
            reader: Arc::new(reader?),
            partners: partners?,
            credentials: credentials?,
            records: records_tls?,
            bars: bars_tls?,
            mllp: mllp_tls?,
            hl7v2: hl7v2?,
            folders: folders?,
            webhooks: webhooks?,
            payload_key: payload_key?,
            hash_key: hash_key?,
            audit_verifier: audit_key?.verifier().clone(),
            witnesses: witnesses?,
            limits: limits?,
            files,
            written,
            hashes,
        })
    }

    /// Stages 1 to 5, compiled.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    /// The provider.
    pub fn party(&self) -> PartyId {
        self.written.gateway.ods.clone()
    }

    /// To whom messages go.
    pub fn partners(&self) -> &[Partner] {
        &self.partners
    }

    /// The partner with this ODS code.
    pub fn partner(&self, ods: &PartyId) -> Option<&Partner> {
        self.partners.iter().find(|partner| partner.ods == *ods)
    }

    /// What the gateway presents to partners.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Who may act at the site.
    pub fn staff(&self) -> &Staff {
        &self.staff
    }

    /// The agreement with this id.
    pub fn agreement(&self, id: &AgreementId) -> Option<&Agreement> {
        self.stages.agreements.named(id, clock::now()).map(|agreement| &**agreement)
    }

    /// The name of the agreement file with this hash.
    pub fn agreement_file(&self, sha256: &[u8; 32]) -> Option<&str> {
        let own = |(name, hash): &&(String, [u8; 32])| hash == sha256 && name.starts_with("agreements/");
        self.hashes.iter().find(own).map(|(name, _)| name.as_str())
    }

    /// The key of the hashes that stand for people and records in the audit log.
    pub fn hash_key(&self) -> HashKey {
        HashKey::new(self.hash_key.bytes())
    }

    /// The public half of the audit log's key.
    pub fn audit_verifier(&self) -> &VerifierKey {
        &self.audit_verifier
    }

    /// The public keys of those who watch the audit log, or did.
    pub fn witness_keys(&self) -> Vec<CosignerKey> {
        self.witnesses.iter().map(|witness| witness.key.clone()).collect()
    }

    /// Opens the store beside a running gateway.
    ///
    /// # Errors
    /// When there is no database yet, or the key is not its key.
    pub fn open_for_reading(&self) -> anyhow::Result<SqliteStore> {
        let file = self.files.path(&self.written.storage.file);
        SqliteStore::open_to_read(&file, Some(&self.payload_key)).map_err(with_hint)
    }

    /// Opens the store and puts the gateway together.
    ///
    /// # Errors
    /// When another gateway has the store, or it cannot be opened.
    pub async fn gateway(&self) -> anyhow::Result<Parts> {
        let file = self.files.path(&self.written.storage.file);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let storage = &self.written.storage;
        let room = Room {
            messages: storage.max_waiting_messages,
            bytes: storage.max_waiting_bytes,
            free_bytes: storage.min_free_bytes,
        };
        let store = SqliteStore::open(&file, &self.payload_key).map_err(with_hint)?.with_room(room);
        let store: Arc<dyn Store> = Arc::new(store);
        let lanes = self.lanes()?;
        let gateway = Gateway {
            current: Current::new(self.stages.clone()),
            lanes,
            store: store.clone(),
            recorder: Recorder::new(self.party(), self.written.audit.origin.as_str()),
            principals: self.staff.principals().clone(),
            hash_key: self.hash_key(),
            configuration: self.hashes.clone(),
        };
        let records = &self.written.records;
        let settings = Settings {
            records: records.listen,
            tls: self.records.tls.clone(),
            certificates: Arc::new(self.tls_files()),
            operations: self.written.operations.listen,
            partner_side: self.partner_side(),
            hl7v2: self.hl7v2.clone(),
            folders: self.folders.clone(),
            mllp: self.written.mllp.as_ref().zip(self.mllp.as_ref()).map(|(written, tls)| written.side(tls)),
            limits: RequestLimits {
                body_bytes: records.max_body_bytes,
                body_timeout: Duration::from_secs(records.body_timeout_seconds),
            },
            listener: self.limits,
            site: self.staff.site().to_owned(),
            acts: self.staff.acts_folder().to_owned(),
            checkpoint_every: Duration::from_secs(self.written.audit.checkpoint_seconds),
            watchers: self.watchers().map_err(|fault| Faults { faults: vec![fault] })?,
            watched_every: Duration::from_secs(self.written.audit.witness_seconds),
            notifier: self
                .written
                .incidents
                .notifier(&self.files, &self.credentials, self.webhooks.as_ref())
                .map_err(|fault| Faults { faults: vec![fault] })?,
            agreements: Arc::new(self.agreement_folder()),
        };
        let key = self.files.audit_key(&self.written).map_err(|fault| Faults { faults: vec![fault] })?;
        let checkpointer = Checkpointer::resume(store.clone(), key).await;
        let checkpointer = checkpointer.map_err(|error| {
            let hint = error.hint();
            anyhow::Error::new(error).context(format!("the audit log cannot be continued; hint: {hint}"))
        })?;
        Ok(Parts { gateway: Arc::new(gateway), checkpointer, settings })
    }

    /// What asks the witnesses of the audit log.
    fn watchers(&self) -> Result<Vec<Watcher>, Fault> {
        let watchers = self.witnesses.iter().filter_map(|witness| witness.watcher(&self.credentials).transpose());
        watchers.collect()
    }

    fn agreement_folder(&self) -> Folder {
        let agreements = self.hashes.iter().filter(|(name, _)| name.starts_with("agreements/"));
        Folder {
            files: self.files.clone(),
            at_start: agreements.cloned().collect(),
            reader: self.reader.clone(),
            stages: self.stages.clone(),
            partners: self.partners.clone(),
            principals: self.staff.principals().clone(),
            incidents: self.written.incidents.clone(),
        }
    }

    /// Where partners' responses come in.
    fn partner_side(&self) -> Option<PartnerSide> {
        let (written, side) = (self.written.bars.as_ref()?, self.bars.as_ref()?);
        let base = written.base.clone().unwrap_or_else(|| format!("https://{}/FHIR/R4", written.listen));
        let terms = Terms {
            base,
            service_id: written.service_id.clone(),
            body_bytes: written.max_body_bytes,
            body_timeout: Duration::from_secs(written.body_timeout_seconds),
        };
        let own = self.partners.iter().filter_map(|partner| Some((partner.ods.clone(), partner.clients.clone()?)));
        Some(PartnerSide { listen: written.listen, tls: side.tls.clone().with_own(own.collect()), terms })
    }

    /// Everything that TLS presents and trusts, by the place that names it.
    fn tls_files(&self) -> TlsFiles {
        let (records, own) = (&self.records, &self.credentials);
        let mut trusted = vec![("records.trust_anchors".to_owned(), records.clients.clone())];
        trusted.extend(self.bars.as_ref().map(|bars| ("bars.trust_anchors".to_owned(), bars.clients.clone())));
        trusted.extend(self.mllp.as_ref().map(|mllp| ("mllp.trust_anchors".to_owned(), mllp.clients.clone())));
        for partner in &self.partners {
            let endpoints = partner.routes.iter().flat_map(Over::endpoints);
            let anchors = endpoints.map(|endpoint| endpoint.anchors.clone());
            trusted.extend(anchors.map(|anchors| (format!("partner {}", partner.ods), anchors)));
        }
        trusted.extend(self.partners.iter().filter_map(|partner| {
            Some((format!("partner {}, client_trust_anchors", partner.ods), partner.clients.clone()?))
        }));
        let webhooks = self.webhooks.clone().map(|anchors| ("incidents.trust_anchors".to_owned(), anchors));
        trusted.extend(webhooks);
        let watched = self.witnesses.iter().filter_map(|witness| Some((witness, witness.anchors()?.clone())));
        trusted.extend(watched.map(|(witness, anchors)| (format!("witness {}", witness.key.name()), anchors)));
        let mut credentials = vec![
            ("gateway.certificate".to_owned(), own.clone()),
            ("records.certificate".to_owned(), records.credentials.clone()),
        ];
        let bars_own =
            self.written.bars.as_ref().filter(|written| written.certificate.is_some()).and(self.bars.as_ref());
        credentials.extend(bars_own.map(|bars| ("bars.certificate".to_owned(), bars.credentials.clone())));
        let mllp_own =
            self.written.mllp.as_ref().filter(|written| written.certificate.is_some()).and(self.mllp.as_ref());
        credentials.extend(mllp_own.map(|mllp| ("mllp.certificate".to_owned(), mllp.credentials.clone())));
        let mut signing = Vec::new();
        for (partner, over) in
            self.partners.iter().flat_map(|partner| partner.routes.iter().map(move |over| (partner, over)))
        {
            let place = |name| format!("partner {}, {name}", partner.ods);
            match over {
                Over::Bars(_) => {}
                Over::Mesh(mailbox) => credentials.push((place("mesh.certificate"), mailbox.credentials.clone())),
                Over::Rest(route) => {
                    let key = route.token.as_ref().map(|token| token.key().clone());
                    signing.extend(key.map(|key| (place("fhir_rest.token"), key)));
                }
            }
        }
        TlsFiles { site: self.files.folder.clone(), credentials, trusted, signing }
    }

    fn lanes(&self) -> anyhow::Result<HashMap<PartyId, Vec<Arc<Lane>>>> {
        let mut lanes = HashMap::new();
        for partner in &self.partners {
            let own = Lane::all_of(partner, &self.credentials, &system_clock())?;
            lanes.insert(partner.ods.clone(), own.into_iter().map(Arc::new).collect());
        }
        Ok(lanes)
    }

    /// Where and as whom `weir send` submits records.
    ///
    /// # Errors
    /// When the site has no `[send]` section, or what it names cannot be used.
    pub fn send_endpoint(&self) -> Result<Endpoint, Faults> {
        send_endpoint(&self.files, &self.written).map_err(|fault| Faults { faults: vec![fault] })
    }

    /// What was loaded, in one line.
    pub fn summary(&self) -> String {
        let agreements = self.stages.agreements.iter().count();
        format!(
            "{}, {}, {}, {} deciding files",
            plural(self.stages.interfaces.len(), "interface"),
            plural(agreements, "agreement"),
            plural(self.partners.len(), "partner"),
            self.hashes.len()
        )
    }

    /// What the maps' compiler found strange, and let pass.
    pub fn map_warnings(&self) -> Vec<Diagnostic> {
        let mut warnings: Vec<Diagnostic> = Vec::new();
        for map in self.stages.interfaces.keys().filter_map(|interface| self.stages.mappings.get(interface)) {
            for warning in map.warnings() {
                let warning = Diagnostic { file: format!("mappings/{}", warning.file), ..warning.clone() };
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        warnings
    }

    /// Constraints of packages that cannot mean what they say. A site's own are faults.
    pub fn doubtful_constraints(&self) -> &[Issue] {
        self.stages.validator.doubtful_constraints()
    }

    /// What validation does not check yet.
    pub fn not_checked(&self) -> &[String] {
        self.stages.validator.not_checked()
    }
}

fn with_hint(error: crate::storage::Error) -> anyhow::Error {
    let hint = error.hint();
    anyhow::Error::new(error).context(format!("the store cannot be opened; hint: {hint}"))
}

fn send_endpoint(files: &Files, written: &written::Gateway) -> Result<Endpoint, Fault> {
    let Some(send) = &written.send else {
        let hint = "add one with endpoint, certificate, key and trust_anchors";
        return Err(Fault::new(SITE, "there is no [send] section", hint));
    };
    let credentials = files.credentials(SITE, &send.certificate, &send.key)?;
    let anchors = files.anchors(SITE, &send.trust_anchors)?;
    let tls = client_config(&credentials, &anchors, system_clock())
        .map_err(|error| Fault::new(SITE, format!("send.certificate: {error}"), error.hint()))?;
    let uri = send.endpoint.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    let uri =
        uri.ok_or_else(|| Fault::new(SITE, "send.endpoint is not a URL", "write https://<host name>[:<port>]"))?;
    Ok(Endpoint { uri, connect: send.connect, tls })
}

/// What the gateway presents to partners must name the provider, and hold now.
fn our_own(credentials: &Credentials, written: &written::Gateway) -> Result<(), Fault> {
    let unusable = |error: CertificateError| Fault::new(SITE, format!("gateway.certificate: {error}"), error.hint());
    let (party, validity) =
        (credentials.party(Role::Client).map_err(unusable)?, credentials.validity().map_err(unusable)?);
    let ours = &written.gateway.ods;
    if party != *ours {
        let text = format!("gateway.certificate is one of {party}, but gateway.ods is {ours}");
        return Err(Fault::new(SITE, text, "give the provider's own certificate, or correct the ODS code"));
    }
    let now = clock::now();
    if now < validity.from || now > validity.until {
        let (from, until) = (instant_text(validity.from), instant_text(validity.until));
        let text = format!("gateway.certificate holds from {from} until {until}, not now");
        return Err(Fault::new(SITE, text, "renew the certificate: partners refuse this one"));
    }
    Ok(())
}

/// Every agreement is one of ours and has a way to its recipient; every interface has an agreement.
fn check_routes(stages: &Stages, partners: &[Partner], faults: &mut Faults) {
    faults.faults.extend(agreements::check_parties(&stages.agreements, &stages.provider.ods, partners));
    for interface in stages.interfaces.keys() {
        if !stages.agreements.iter().any(|agreement| agreement.interface(interface).is_some()) {
            let text = format!("interfaces.{interface}: no agreement lets anything leave over it");
            faults.faults.push(Fault::new(SITE, text, "add an agreement to agreements/, or remove the interface"));
        }
    }
}

fn bounds(written: &written::Gateway) -> Result<(), Fault> {
    let records = &written.records;
    if records.listen == written.operations.listen && records.listen.port() != 0 {
        let text = "records.listen and operations.listen are the same address";
        return Err(Fault::new(SITE, text, "give each an address of its own"));
    }
    if !(1..=1 << 30).contains(&records.max_body_bytes) {
        return Err(Fault::new(SITE, "records.max_body_bytes is out of range", "write 1 to 1073741824 bytes"));
    }
    if written.storage.max_waiting_messages == 0 || written.storage.max_waiting_bytes == 0 {
        return Err(Fault::new(SITE, "storage lets nothing wait", "write at least 1 message and 1 byte"));
    }
    if !(1..=500).contains(&records.max_depth) {
        return Err(Fault::new(SITE, "records.max_depth is out of range", "write 1 to 500 levels"));
    }
    if records.revocation_grace_hours > 168 {
        return Err(Fault::new(SITE, "records.revocation_grace_hours is out of range", "write 0 to 168 hours"));
    }
    if let Some(bars) = &written.bars {
        bars_bounds(bars, [records.listen, written.operations.listen])?;
    }
    if let Some(mllp) = &written.mllp {
        mllp.check(written)?;
    }
    if !(1..=86_400).contains(&written.audit.witness_seconds) {
        return Err(Fault::new(SITE, "audit.witness_seconds is out of range", "write 1 to 86400 seconds"));
    }
    if records.body_timeout_seconds == 0 || written.audit.checkpoint_seconds == 0 {
        return Err(Fault::new(SITE, "a time of 0 seconds", "write at least 1 second"));
    }
    Ok(())
}

fn bars_bounds(bars: &written::Bars, others: [SocketAddr; 2]) -> Result<(), Fault> {
    let fault = |text: &str, hint: &str| Err(Fault::new(SITE, text, hint));
    if others.contains(&bars.listen) && bars.listen.port() != 0 {
        return fault("bars.listen is the address of another side", "give each an address of its own");
    }
    if !(1..=16 << 20).contains(&bars.max_body_bytes) {
        return fault("bars.max_body_bytes is out of range", "write 1 to 16777216 bytes");
    }
    if bars.service_id.is_empty() || !bars.service_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return fault("bars.service_id is empty or not visible ASCII", "write the id of our service");
    }
    if bars.revocation_grace_hours > 168 {
        return fault("bars.revocation_grace_hours is out of range", "write 0 to 168 hours");
    }
    if bars.body_timeout_seconds == 0 {
        return fault("bars.body_timeout_seconds is 0", "write at least 1 second");
    }
    Ok(())
}

/// A partner that answers later needs somewhere to answer, and so does one that accepts handovers.
fn check_answers(written: &written::Gateway, partners: &[Partner], faults: &mut Faults) {
    let later = partners.iter().filter(|partner| partner.bars.answers_later && written.bars.is_none());
    faults.faults.extend(later.map(|partner| {
        let text = format!("the partner {} has answers_later, but weir.toml has no [bars] section", partner.ods);
        Fault::new(SITE, text, "add [bars] with listen, trust_anchors and service_id")
    }));
    let by_mesh = partners.iter().any(|partner| partner.routes.iter().any(|over| matches!(over, Over::Mesh(_))));
    let asks = written.interfaces.iter().filter(|(_, interface)| interface.handover.is_some());
    faults.faults.extend(asks.filter(|_| written.bars.is_none() && !by_mesh).map(|(name, _)| {
        let text = format!("interfaces.{name}.handover: nobody can accept, for partners cannot answer");
        Fault::new(SITE, text, "add [bars] with listen, trust_anchors and service_id, or a partner's [mesh]")
    }));
}

/// The TLS of the provider's side or the partners' side, and what it is made of.
#[derive(Debug)]
pub(super) struct SideTls {
    pub(super) tls: ServerTls,
    credentials: Credentials,
    clients: TrustAnchors,
}

fn records_tls(files: &Files, written: &written::Gateway) -> Result<SideTls, Fault> {
    let records = &written.records;
    let credentials = files.credentials(SITE, &records.certificate, &records.key)?;
    let clients = (&*records.trust_anchors, &records.revocation_lists[..], records.revocation_grace_hours);
    side_tls("records", credentials, files.trust("records", clients)?)
}

fn bars_tls(files: &Files, written: &written::Gateway, bars: &written::Bars) -> Result<SideTls, Fault> {
    let (certificate, key) = match (&bars.certificate, &bars.key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => (&written.gateway.certificate, &written.gateway.key),
        _ => {
            let text = "bars has one of certificate and key";
            return Err(Fault::new(SITE, text, "write both, or neither for those of the gateway"));
        }
    };
    let credentials = files.credentials(SITE, certificate, key)?;
    let clients = (&*bars.trust_anchors, &bars.revocation_lists[..], bars.revocation_grace_hours);
    side_tls("bars", credentials, files.trust("bars", clients)?)
}

pub(super) fn side_tls(side: &str, credentials: Credentials, clients: TrustAnchors) -> Result<SideTls, Fault> {
    let tls = server_config(&credentials, &clients, system_clock())
        .map_err(|error| Fault::new(SITE, format!("{side}.certificate: {error}"), error.hint()))?;
    Ok(SideTls { tls, credentials, clients })
}

fn load_partners(files: &Files, hashes: &mut Vec<(String, [u8; 32])>, faults: &mut Faults) -> Option<Vec<Partner>> {
    let mut partners: Vec<Partner> = Vec::new();
    for (name, text) in faults.keep(files.texts("partners", "toml"))? {
        let file = format!("partners/{name}");
        hashes.push((file.clone(), sha_256(text.as_bytes())));
        let section = toml::from_str::<PartnerSection>(&text).map_err(|error| Fault::new(&file, error, ""));
        let Some(section) = faults.keep(section) else { continue };
        let checked = section.check(&files.folder).map_err(|errors| {
            let fault = |error: crate::delivery::SettingError| {
                Fault::new(&file, format!("{} {}", error.key, error.problem), error.remedy)
            };
            errors.into_iter().map(fault).collect()
        });
        let Some(partner) = faults.keep_all(checked) else { continue };
        if partners.iter().any(|other| other.ods == partner.ods) {
            faults.faults.push(Fault::new(&file, format!("{} has two files", partner.ods), "keep one file a partner"));
        }
        partners.push(partner);
    }
    Some(partners)
}

/// What agreements are checked against besides the definitions, and the files that stand in for the site's.
struct Others<'a> {
    partners: &'a [Partner],
    principals: Option<&'a Principals>,
    replaced: &'a [(String, String)],
}

/// Stages 1 to 5, from the built-in definitions and maps and those of the site.
fn load_stages(
    files: &Files,
    written: &written::Gateway,
    (others, keys): (&Others<'_>, Option<provenance::Keys>),
    hashes: &mut Vec<(String, [u8; 32])>,
    faults: &mut Faults,
) -> Option<(Stages, Reader)> {
    let own_profiles = files.path(Path::new("profiles"));
    let folders = if own_profiles.is_dir() { vec![own_profiles] } else { Vec::new() };
    let packages = faults.keep_all(PackageStore::of(&files.folder).load().map_err(|faults| faults.faults));
    let packages = packages.unwrap_or_default();
    hashes.extend(packages.iter().map(|package| (format!("packages/{}", package.id), package.sha_256)));
    let definitions = definitions::of_packages(&packages, &folders);
    let definitions = faults.keep_all(definitions.map_err(|faults| faults.faults));
    let validator = definitions.as_ref().map(|known| definitions::compile(known).map_err(|faults| faults.faults));
    let validator = validator.and_then(|compiled| faults.keep_all(compiled));
    let models = definitions.as_ref().map(|known| &*known.documents);
    let mappings = models.and_then(|models| load_mappings(files, written, models, hashes, faults));
    let structures = models.map(agreements::structures);
    let facts = SiteFacts { validator: validator.as_ref(), pseudonym_keys: pseudonym_keys(files, written, faults) };
    let known = agreements::Known {
        facts: &facts,
        structures: structures.as_deref(),
        mappings: mappings.as_ref(),
        partners: others.partners,
        principals: others.principals,
    };
    let texts = faults.keep(agreements::texts(files, others.replaced));
    let agreements = texts.and_then(|texts| agreements::load(&texts, &known, hashes, faults));
    let interfaces = load_interfaces(written, (validator.as_ref(), models.unwrap_or_default()), faults);
    let inbound = load_inbound(written, agreements.as_ref(), faults);
    let pseudonym_keys = facts.pseudonym_keys;
    let stages = Stages {
        provider: provenance::Gateway::new(
            written.gateway.ods.clone(),
            &written.gateway.name,
            env!("CARGO_PKG_VERSION"),
            keys?,
        ),
        limits: Limits { depth: written.records.max_depth, ..Limits::default() },
        interfaces,
        inbound,
        mappings: Arc::new(mappings?),
        validator: Arc::new(validator?),
        agreements: Arc::new(agreements?),
    };
    Some((stages, Reader { structures: structures?, pseudonym_keys }))
}

fn load_interfaces(
    written: &written::Gateway,
    (validator, definitions): (Option<&Validator>, &[Document]),
    faults: &mut Faults,
) -> BTreeMap<InterfaceName, Interface> {
    for (name, interface) in &written.interfaces {
        for (key, url) in [("record", &interface.record), ("profile", &interface.profile)] {
            if validator.is_some_and(|validator| !validator.knows(url)) {
                let text = format!("interfaces.{name}.{key}: there is no definition {url}");
                faults.faults.push(Fault::new(
                    SITE,
                    text,
                    "check the URL, or add the definition to profiles/ or its package",
                ));
            }
        }
    }
    for (name, interface) in &written.interfaces {
        for (priority, minutes) in &interface.deadline_minutes {
            let at = format!("interfaces.{name}.deadline_minutes.{priority}");
            if !PRIORITIES.contains(&priority.as_str()) {
                let hint = "write stat, asap, urgent or routine";
                faults.faults.push(Fault::new(SITE, format!("{at} is no priority of a request"), hint));
            }
            if !(0.01..=LONGEST.as_secs_f64() / 60.0).contains(minutes) {
                let hint = "write minutes from 0.01 to 43200";
                faults.faults.push(Fault::new(SITE, format!("{at} is out of range"), hint));
            }
        }
    }
    for (name, interface) in &written.interfaces {
        faults.faults.extend(missing_faults(&format!("interfaces.{name}.missing_essential"), interface));
    }
    let mut handovers: BTreeMap<&InterfaceName, _> = BTreeMap::new();
    for (name, interface) in &written.interfaces {
        let terms = interface.handover.as_ref().map(|written| handovers::check(name, written));
        handovers.extend(terms.and_then(|terms| faults.keep_all(terms)).map(|terms| (name, terms)));
    }
    let mut checked = |name: &InterfaceName, interface: &written::Interface| Interface {
        record: interface.record.clone(),
        model: model(&interface.record, definitions, written.hl7v2.clock()),
        profile: interface.profile.clone(),
        ordered: interface.order_by_subject,
        identified_by: interface.identified_by.clone(),
        deadlines: deadlines(interface),
        if_missing: if_missing(&interface.missing_essential),
        handover: handovers.remove(name),
    };
    let out = written.interfaces.iter().filter(|(_, interface)| interface.direction == written::Direction::Out);
    out.map(|(name, interface)| (name.clone(), checked(name, interface))).collect()
}

/// The logical model with this URL, as what is not JSON is read by it.
fn model(url: &str, definitions: &[Document], clock: Clock) -> Option<Arc<Model>> {
    let url = without_version(url);
    let definition = definitions.iter().find(|definition| definition.root().text_of("url").as_deref() == Some(url))?;
    Model::of(definition).map(|model| Arc::new(model.with_clock(clock)))
}

/// The interface that takes referrals of partners.
fn load_inbound(written: &written::Gateway, agreements: Option<&Agreements>, faults: &mut Faults) -> Option<Inbound> {
    let outward = written.interfaces.iter().filter(|(_, interface)| interface.direction == written::Direction::Out);
    for (name, _) in outward.filter(|(_, interface)| interface.collection.is_some()) {
        let text =
            format!("interfaces.{name}.collection: nothing comes in over an interface whose direction is \"out\"");
        faults.faults.push(Fault::new(
            SITE,
            text,
            "take the section away, or put it below the interface that is \"in\"",
        ));
    }
    let mut inward = written.interfaces.iter().filter(|(_, interface)| interface.direction == written::Direction::In);
    let (name, interface) = inward.next()?;
    if let Some((other, _)) = inward.next() {
        let text = format!("interfaces.{name} and interfaces.{other} both have direction = \"in\"");
        faults.faults.push(Fault::new(SITE, text, "keep one: all referrals of partners come over it"));
    }
    if written.bars.is_none() {
        let text = format!("interfaces.{name} has direction = \"in\", but weir.toml has no [bars] section");
        faults.faults.push(Fault::new(SITE, text, "add [bars] with listen, trust_anchors and service_id"));
    }
    if !(1..=36_525).contains(&interface.retention_days) {
        let text = format!("interfaces.{name}.retention_days is out of range");
        faults.faults.push(Fault::new(SITE, text, "write 1 to 36525 days"));
    }
    let collection = match &interface.collection {
        Some(written) => faults.keep_all(collection::check(name, written, agreements))?,
        None => Default::default(),
    };
    Some(Inbound {
        name: name.clone(),
        profile: interface.profile.clone(),
        record: interface.record.clone(),
        retention_days: interface.retention_days,
        collection,
    })
}

/// Codes of `http://hl7.org/fhir/request-priority`.
pub(super) const PRIORITIES: [&str; 4] = ["routine", "urgent", "asap", "stat"];

fn missing_faults(at: &str, interface: &written::Interface) -> Vec<Fault> {
    let written::MissingEssential::ByPriority(table) = &interface.missing_essential else { return Vec::new() };
    let fault = |(priority, lacking): (&String, &written::Lacking)| match (priority.as_str(), lacking) {
        (EMERGENCY, written::Lacking::Refuse) => {
            let text = format!("{at}.{EMERGENCY}: an emergency is never refused for what it lacks");
            Some(Fault::new(SITE, text, "write \"mark\": it is sent, and says what is missing"))
        }
        (other, _) if !PRIORITIES.contains(&other) => {
            let hint = "write stat, asap, urgent or routine";
            Some(Fault::new(SITE, format!("{at}.{other} is no priority of a request"), hint))
        }
        _ => None,
    };
    table.iter().filter_map(fault).collect()
}

fn if_missing(written: &written::MissingEssential) -> IfMissing {
    match written {
        written::MissingEssential::Always(written::Lacking::Mark) => IfMissing::default(),
        written::MissingEssential::Always(written::Lacking::Refuse) => IfMissing::refused_at(PRIORITIES),
        written::MissingEssential::ByPriority(table) => {
            let refused = table.iter().filter(|(_, lacking)| **lacking == written::Lacking::Refuse);
            IfMissing::refused_at(refused.map(|(priority, _)| priority.as_str()))
        }
    }
}

/// One for each priority: the interface's own in the place of what holds where it says nothing. What is out of range is told as a fault.
fn deadlines(interface: &written::Interface) -> BTreeMap<String, Duration> {
    let time = |minutes: f64| Duration::try_from_secs_f64(minutes * 60.0).unwrap_or(LONGEST);
    let own = interface.deadline_minutes.iter().map(|(priority, minutes)| (priority.clone(), time(*minutes)));
    MINUTES.into_iter().map(|(priority, minutes)| (priority.to_owned(), time(minutes))).chain(own).collect()
}

fn load_mappings(
    files: &Files,
    written: &written::Gateway,
    models: &[Document],
    hashes: &mut Vec<(String, [u8; 32])>,
    faults: &mut Faults,
) -> Option<Mappings> {
    let own = faults.keep(files.texts("mappings", "map"))?;
    let is_own = |name: &str| own.iter().any(|(own, _)| own == name);
    let built_in = builtin::mappings().into_iter().filter(|(name, _)| !is_own(name));
    let available = built_in.chain(own.iter().cloned()).map(|(name, text)| MapFile { name, text });
    let available: Vec<MapFile> = available.collect();
    let needs = mapping::imports(&available);
    let texts = |places: &[usize]| -> Vec<MapFile> { places.iter().map(|&place| available[place].clone()).collect() };
    let mut compiled = Vec::new();
    let mut needed: Vec<usize> = Vec::new();
    // A fault of a map that several interfaces need would be said for each.
    let tell = |diagnostics: Vec<Diagnostic>, faults: &mut Faults| {
        for fault in diagnostics.into_iter().map(Fault::of_map) {
            if !faults.faults.contains(&fault) {
                faults.faults.push(fault);
            }
        }
    };
    for (interface, settings) in &written.interfaces {
        let Some(place) = available.iter().position(|file| file.name == settings.map) else {
            let text = format!("interfaces.{interface}.map: there is no map {}", settings.map);
            faults.faults.push(Fault::new(SITE, text, "check the name, or add the file to mappings/"));
            continue;
        };
        needed.extend(&needs[place]);
        match CompiledMap::compile(&texts(&needs[place]), models) {
            Ok(map) => compiled.push((interface.clone(), Arc::new(map))),
            Err(diagnostics) => tell(diagnostics, faults),
        }
    }
    needed.sort_unstable();
    needed.dedup();
    let hash = |&place: &usize| {
        let MapFile { name, text } = &available[place];
        (format!("mappings/{name}"), sha_256(text.as_bytes()))
    };
    hashes.extend(needed.iter().map(hash));
    // The site's own maps that no interface needs are checked beside one that is needed: they may hold groups alone.
    let idle = (0..available.len()).filter(|place| !needed.contains(place) && is_own(&available[*place].name));
    let mut beside: Vec<usize> = needed.first().map(|&first| needs[first].clone()).unwrap_or_default();
    let known = beside.len();
    for place in idle.flat_map(|place| needs[place].clone()) {
        if !beside.contains(&place) {
            beside.push(place);
        }
    }
    if known > 0 && beside.len() > known {
        let checked = CompiledMap::compile(&texts(&beside), models);
        checked.err().into_iter().for_each(|diagnostics| tell(diagnostics, faults));
    }
    Some(compiled.into_iter().collect())
}

/// The keys that turn identifiers into pseudonyms. Each file is read once, here.
fn pseudonym_keys(files: &Files, written: &written::Gateway, faults: &mut Faults) -> BTreeMap<String, PseudonymKey> {
    let keys = written.pseudonym_keys.iter().filter_map(|(name, file)| {
        let secret = faults.keep(files.secret(SITE, file))?;
        Some((name.clone(), PseudonymKey::new(secret.bytes())))
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The deadlines of an interface with these lines, in minutes.
    fn minutes(lines: &str) -> Vec<(String, u64)> {
        let text = format!("record = 'r'\nmap = 'm'\nprofile = 'p'\n{lines}");
        let written: written::Interface = toml::from_str(&text).expect("it is a section");
        deadlines(&written).into_iter().map(|(priority, time)| (priority, time.as_secs() / 60)).collect()
    }

    #[test]
    fn every_priority_has_a_deadline_whatever_the_site_says() {
        let all = |stat, asap, urgent, routine| {
            let all = [("asap", asap), ("routine", routine), ("stat", stat), ("urgent", urgent)];
            all.map(|(priority, minutes)| (priority.to_owned(), minutes)).to_vec()
        };
        assert_eq!(minutes(""), all(15, 60, 240, 1440));
        assert_eq!(minutes("deadline_minutes = {}"), all(15, 60, 240, 1440), "nothing turns them off");
        assert_eq!(minutes("deadline_minutes = { stat = 5, routine = 600 }"), all(5, 60, 240, 600), "one by one");
    }
}
