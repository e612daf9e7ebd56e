//! The files of a site as written: unknown keys are refused, units stand in key names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::folders::Folder;
use super::hl7v2::{Hl7v2, Mllp};
use super::incidents::Incidents;
use super::limits::LimitsSection;
use super::witnesses::Witness;
use crate::identity::principal::Role;
use crate::identity::{AgreementId, InterfaceName, PartyId, PrincipalId};

/// `weir.toml`: a gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) gateway: Identity,
    pub(super) records: Records,
    /// Without it, no partner can answer by a message of its own.
    pub(super) bars: Option<Bars>,
    /// Which HL7 v2 messages are taken.
    #[serde(default)]
    pub(super) hl7v2: Hl7v2,
    /// Without it, HL7 v2 messages come over HTTP alone.
    pub(super) mllp: Option<Mllp>,
    /// Folders whose files are taken as records.
    #[serde(default)]
    pub(super) folders: Vec<Folder>,
    pub(super) operations: Operations,
    pub(super) storage: Storage,
    pub(super) audit: Audit,
    pub(super) interfaces: BTreeMap<InterfaceName, Interface>,
    /// Files of 32 random bytes that turn identifiers into pseudonyms, by the name that agreements give them.
    #[serde(default)]
    pub(super) pseudonym_keys: BTreeMap<String, PathBuf>,
    pub(super) send: Option<Send>,
    /// Who may do what at this site; nobody else may do anything.
    #[serde(default)]
    pub(super) principals: Vec<Principal>,
    pub(super) cli: Option<Cli>,
    #[serde(default)]
    pub(super) incidents: Incidents,
    /// What connections and requests may cost.
    #[serde(default)]
    pub(super) limits: LimitsSection,
}

/// Someone or something that acts at the site.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Principal {
    /// Lower-case words joined by hyphens; stands in audit events, so it is no person's name.
    pub(super) id: PrincipalId,
    /// For people.
    pub(super) name: String,
    pub(super) roles: Vec<Role>,
    /// The client certificate it presents, PEM.
    pub(super) certificate: Option<PathBuf>,
    /// The public half of its signing key: Ed25519, PEM.
    pub(super) key: Option<PathBuf>,
}

/// The command line at this site.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cli {
    /// Who acts when a verb is not told with `--as`.
    #[serde(rename = "as")]
    pub(super) default: PrincipalId,
}

/// Who runs the gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// The provider's ODS code.
    pub(super) ods: PartyId,
    /// The provider's name.
    pub(super) name: String,
    /// What the gateway presents to partners.
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The provider's side: where records come in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    pub(super) listen: SocketAddr,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Who may issue the certificates of record systems.
    pub(super) trust_anchors: PathBuf,
    /// Their revocation lists. Without any, nothing is asked about revocation; with some, every authority needs one.
    #[serde(default)]
    pub(super) revocation_lists: Vec<PathBuf>,
    /// How many hours a list is still used after the next one was due. Default 0, at most 168.
    #[serde(default)]
    pub(super) revocation_grace_hours: u8,
    /// Default 10 MiB, at most 1 GiB.
    #[serde(default = "ten_mebibytes")]
    pub(super) max_body_bytes: usize,
    /// Default 100, at most 500.
    #[serde(default = "hundred")]
    pub(super) max_depth: u16,
    /// Default 30.
    #[serde(default = "thirty")]
    pub(super) body_timeout_seconds: u64,
}

/// The partners' side: where their responses come in (BaRS).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bars {
    pub(super) listen: SocketAddr,
    /// What it presents; without both, what the gateway presents to partners.
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    /// Who may issue the certificates that partners connect with.
    pub(super) trust_anchors: PathBuf,
    /// Their revocation lists, as those of `[records]`.
    #[serde(default)]
    pub(super) revocation_lists: Vec<PathBuf>,
    /// As that of `[records]`.
    #[serde(default)]
    pub(super) revocation_grace_hours: u8,
    /// Our service in the directory of services: responses name it.
    pub(super) service_id: String,
    /// The FHIR base that partners use, for what we say of ourselves. Default: the address that is listened on.
    pub(super) base: Option<String>,
    /// Default 1 MiB, at most 16 MiB.
    #[serde(default = "one_mebibyte")]
    pub(super) max_body_bytes: usize,
    /// Default 30.
    #[serde(default = "thirty")]
    pub(super) body_timeout_seconds: u64,
}

fn one_mebibyte() -> usize {
    1 << 20
}

fn ten_mebibytes() -> usize {
    10 << 20
}

fn hundred() -> u16 {
    100
}

fn thirty() -> u64 {
    30
}

/// Health, readiness and metrics: plain HTTP, for loopback or a management network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Operations {
    pub(super) listen: SocketAddr,
}

/// Where accepted messages are kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Storage {
    pub(super) file: PathBuf,
    /// 32 random bytes that seal the keys of stored payloads; else `payload_key_command`.
    pub(super) payload_key: Option<PathBuf>,
    /// A program with its arguments that prints those bytes in hexadecimal; else `payload_key`.
    pub(super) payload_key_command: Option<Vec<String>>,
    /// Messages that may wait to be sent; no more records are accepted then. Default 200,000.
    #[serde(default = "many_messages")]
    pub(super) max_waiting_messages: u64,
    /// Bytes of those messages. Default 4 GiB.
    #[serde(default = "four_gibibytes")]
    pub(super) max_waiting_bytes: u64,
    /// Bytes that stay free on the disk for messages that were accepted. Default 128 MiB; 0 keeps nothing.
    #[serde(default = "hundred_and_more_mebibytes")]
    pub(super) min_free_bytes: u64,
}

fn many_messages() -> u64 {
    200_000
}

fn four_gibibytes() -> u64 {
    4 << 30
}

fn hundred_and_more_mebibytes() -> u64 {
    128 << 20
}

/// The audit log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    /// The log's name in its checkpoints (C2SP tlog-checkpoint origin).
    pub(super) origin: String,
    /// The Ed25519 key that signs checkpoints.
    pub(super) key: PathBuf,
    /// 32 random bytes that turn identifiers into keyed hashes.
    pub(super) hash_key: PathBuf,
    /// Default 1.
    #[serde(default = "one")]
    pub(super) checkpoint_seconds: u64,
    /// Those who watch the log and cosign its heads.
    #[serde(default)]
    pub(super) witnesses: Vec<Witness>,
    /// How often each of them is asked to cosign, at most. Default 60.
    #[serde(default = "sixty")]
    pub(super) witness_seconds: u64,
}

fn sixty() -> u64 {
    60
}

fn one() -> u64 {
    1
}

/// How the records of one interface are read, mapped and checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interface {
    /// Canonical URL of the record's logical model; or, for FHIR resources, of their profile or R4 type.
    pub(super) record: String,
    /// File name of the FML map, in the site's `mappings/` or among the built-in ones.
    pub(super) map: String,
    /// Canonical URL of the Bundle's profile.
    pub(super) profile: String,
    /// Whether messages about one person reach a recipient in the order in which they were accepted. Default false.
    #[serde(default)]
    pub(super) order_by_subject: bool,
    /// The members of the record that identify it: `["recordId", "version"]`, `["id", "meta.versionId"]`. Without any, its
    /// bytes do.
    #[serde(default)]
    pub(super) identified_by: Vec<String>,
    /// How many minutes a message may take to be acknowledged, by the priority of its request: `stat`, `asap`, `urgent`,
    /// `routine`. Default 15, 60, 240 and 1440, each where it is not here.
    #[serde(default)]
    pub(super) deadline_minutes: BTreeMap<String, f64>,
    /// Whether records go out over it, or referrals of partners come in. Default `"out"`; one interface may be `"in"`.
    #[serde(default)]
    pub(super) direction: Direction,
    /// For how many days what comes in is kept, of an interface whose direction is `"in"`. Default 2922, eight years.
    #[serde(default = "eight_years")]
    pub(super) retention_days: u32,
    /// What becomes of a record that lacks something essential: `"mark"` or `"refuse"`, or that by the priority of its
    /// request. Default `"mark"`; an emergency is never refused.
    #[serde(default)]
    pub(super) missing_essential: MissingEssential,
    /// By when the receiving team is to take responsibility. Without it, nobody is asked to.
    pub(super) handover: Option<Handover>,
    /// By when a record system is to have collected what comes in, of an interface whose direction is `"in"`.
    pub(super) collection: Option<Collection>,
}

fn eight_years() -> u32 {
    2922
}

/// Which way an interface goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Direction {
    /// Records of the provider go out.
    #[default]
    Out,
    /// Referrals of partners come in.
    In,
}

/// What becomes of records that lack something essential.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "missing_essential is \"mark\", \"refuse\", or a table of these by priority")]
pub(super) enum MissingEssential {
    Always(Lacking),
    ByPriority(BTreeMap<String, Lacking>),
}

impl Default for MissingEssential {
    fn default() -> MissingEssential {
        MissingEssential::Always(Lacking::Mark)
    }
}

/// What becomes of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Lacking {
    /// It is sent, and says what it lacks.
    Mark,
    /// It is refused, with a list.
    Refuse,
}

/// By when the receiving team of an interface's messages takes responsibility, and reaches the person.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Handover {
    /// Minutes from delivery to acceptance, by the priority of the request; `routine` stands for those that are not here.
    pub(super) accept_minutes: BTreeMap<String, f64>,
    /// Minutes from acceptance to first contact, where the acceptance names no time.
    pub(super) first_contact_minutes: BTreeMap<String, f64>,
    /// After which share of its time it is nearly due. Default 0.75; or `near_due_minutes`.
    pub(super) near_due_share: Option<f64>,
    /// How many minutes before its end it is nearly due.
    pub(super) near_due_minutes: Option<f64>,
}

/// By when a record system is to have collected a referral, and who is told when it has not.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Collection {
    /// Minutes from arrival to collection, by the priority of the request; `routine` stands for those that are not here. Default 15
    /// for `stat`, 60 for `asap`, 240 for `urgent`, 1440 for `routine`.
    pub(super) collect_minutes: Option<BTreeMap<String, f64>>,
    /// After which share of its time it is nearly due. Default 0.75; or `near_due_minutes`.
    pub(super) near_due_share: Option<f64>,
    /// How many minutes before its end it is nearly due.
    pub(super) near_due_minutes: Option<f64>,
    /// The agreement along whose escalation route people are told. Default: one that is in force with the referral's sender.
    pub(super) escalation: Option<AgreementId>,
}

/// What `weir send` presents when it submits a record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    /// The records endpoint: `https://records.demop.example:8443`.
    pub(super) endpoint: String,
    /// Connect here instead of resolving the endpoint's name.
    pub(super) connect: Option<SocketAddr>,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) trust_anchors: PathBuf,
}

/// `partner.toml`: the reference receiver of a partner.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Partner {
    /// The partner's ODS code.
    pub(super) ods: PartyId,
    /// For people.
    #[expect(dead_code, reason = "the file says whose it is; nothing is done with it")]
    pub(super) name: String,
    pub(super) listen: SocketAddr,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) trust_anchors: PathBuf,
    /// Whose messages it takes.
    pub(super) senders: Vec<PartyId>,
    /// Where it keeps what it received.
    pub(super) inbox: PathBuf,
    /// Its service in the directory of services.
    #[serde(default)]
    pub(super) service_id: String,
    /// The use cases that it says it takes: names of interfaces. Default: `crisis-escalation`.
    #[serde(default = "crisis_escalation")]
    pub(super) use_cases: Vec<String>,
    pub(super) answers: Option<Answers>,
    /// Where it shows what it received, to a browser on this machine: a loopback address.
    pub(super) pages: Option<SocketAddr>,
}

fn crisis_escalation() -> Vec<String> {
    vec!["crisis-escalation".to_owned()]
}

/// Where the reference receiver's answers go that it gives later.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answers {
    /// Whose endpoint it is.
    pub(super) ods: PartyId,
    /// Its FHIR base.
    pub(super) endpoint: String,
    /// Connect here instead of resolving the endpoint's name.
    pub(super) connect: Option<SocketAddr>,
    pub(super) service_id: String,
}
