//! Prometheus metrics: counts, states and durations; never a message's content, never an id.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::limits::Refusals;
use crate::delivery::{self, Lane, Support};
use crate::disclosure::Agreements;
use crate::fhir::Instant;
use crate::handover::ROUTINE;
use crate::identity::InterfaceName;
use crate::identity::tls::Term;
use crate::storage::{Count, Full, HandoverCount, HandoverState, InboundCount, Load, ReviewCounts};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Submission {
    interface: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    recipient: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Standing {
    recipient: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reviewing {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reading {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    recipient: String,
    route: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Breaker {
    recipient: String,
    route: u32,
    breaker: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Alarmed {
    recipient: String,
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandedOver {
    interface: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandoverAlarm {
    interface: String,
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitingReferral {
    interface: String,
    priority: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Takes {
    recipient: String,
    route: u32,
    support: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Responded {
    sender: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    place: String,
    what: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watching {
    witness: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Witnessed {
    witness: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogAlarm {
    witness: String,
    alarm: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    folder: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The metrics of one gateway.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    submissions: Family<Submission, Counter>,
    lacking: Family<Submission, Counter>,
    attempts: Family<Attempt, Counter>,
    messages: Family<Standing, Gauge>,
    reviews: Family<Reviewing, Gauge>,
    notices_waiting: Gauge,
    agreements: Family<Reviewing, Gauge>,
    agreement_faults: Gauge,
    agreements_read: Family<Reading, Counter>,
    certificates_end: Family<Ending, Gauge>,
    certificate_faults: Gauge,
    certificates_read: Family<Reading, Counter>,
    breakers: Family<Breaker, Gauge>,
    under_way: Family<Route, Gauge>,
    alarms: Family<Alarmed, Counter>,
    handovers: Family<HandedOver, Gauge>,
    handover_alarms: Family<HandoverAlarm, Counter>,
    inbound_waiting: Family<WaitingReferral, Gauge>,
    inbound_overdue: Family<WaitingReferral, Gauge>,
    inbound_oldest: Family<WaitingReferral, Gauge>,
    inbound_alarms: Family<HandoverAlarm, Counter>,
    responses: Family<Responded, Counter>,
    supports: Family<Takes, Gauge>,
    witnessed: Family<Witnessed, Counter>,
    cosigned_events: Family<Watching, Gauge>,
    log_alarms: Family<LogAlarm, Gauge>,
    refusals: Refusals,
    damaged_rows: Gauge,
    waiting_messages: Gauge,
    waiting_bytes: Gauge,
    disk_free_bytes: Gauge,
    takes_no_more: Family<Reason, Gauge>,
    folder_waiting: Family<Watched, Gauge>,
    accept_seconds: Histogram,
    delivery_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("weir");
        let buckets = || Histogram::new(exponential_buckets(0.000_5, 2.0, 18));
        let (accept_seconds, delivery_seconds) = (buckets(), buckets());
        let submissions = Family::default();
        let attempts = Family::default();
        let messages = Family::default();
        let (reviews, notices_waiting) = (Family::default(), Gauge::default());
        registry.register("submissions", "Records submitted, by what became of them", submissions.clone());
        let lacking = Family::default();
        let help = "Essential elements that records lacked, by what became of the record";
        registry.register("essential_missing", help, lacking.clone());
        registry.register("attempts", "Delivery attempts, by what they came to", attempts.clone());
        registry.register("messages", "Messages that are stored, by where they stand", messages.clone());
        registry.register("reviews", "Reviews of sharing without consent, by where they stand", reviews.clone());
        let help = "Notices of incidents that are not delivered yet";
        registry.register("incident_notices_waiting", help, notices_waiting.clone());
        let (agreements, agreement_faults) = (Family::default(), Gauge::default());
        let agreements_read = Family::default();
        registry.register("agreements", "Versions of agreements, by whether they are in force", agreements.clone());
        let help = "Faults of the agreements as they stand; while there are any, the last good ones are used";
        registry.register("agreement_faults", help, agreement_faults.clone());
        let help = "Times that changed agreements were read, by what became of them";
        registry.register("agreements_read", help, agreements_read.clone());
        let (certificates_end, certificate_faults) = (Family::default(), Gauge::default());
        let certificates_read = Family::default();
        let help = "When a certificate, an authority or a revocation list ends, in seconds since 1970";
        registry.register("certificate_end_timestamp_seconds", help, certificates_end.clone());
        let help = "Faults of the TLS files as they stand; while there are any, the last good ones are used";
        registry.register("certificate_faults", help, certificate_faults.clone());
        let help = "Times that changed TLS files were read, by what became of them";
        registry.register("certificates_read", help, certificates_read.clone());
        let (breakers, under_way) = (Family::default(), Family::default());
        let help = "Routes to partners, 1 at where their breaker stands";
        registry.register("routes", help, breakers.clone());
        let alarms = Family::default();
        let help = "Messages moved to a next route for their deadline, and troubles that people were told of";
        registry.register("delivery_alarms", help, alarms.clone());
        let (handovers, handover_alarms) = (Family::default(), Family::default());
        let help = "Handovers of delivered messages, by where they stand";
        registry.register("handovers", help, handovers.clone());
        let help = "Troubles of handovers that people were told of";
        registry.register("handover_alarms", help, handover_alarms.clone());
        let (inbound_waiting, inbound_overdue, inbound_oldest) =
            (Family::default(), Family::default(), Family::default());
        let help = "Referrals of partners that no record system has collected";
        registry.register("inbound_waiting", help, inbound_waiting.clone());
        let help = "Those of them whose time to be collected is over";
        registry.register("inbound_overdue", help, inbound_overdue.clone());
        let help = "For how many seconds the oldest of them has waited; 0 when none waits";
        registry.register("inbound_oldest_seconds", help, inbound_oldest.clone());
        let inbound_alarms = Family::default();
        let help = "Troubles of referrals that nobody collects that people were told of";
        registry.register("inbound_alarms", help, inbound_alarms.clone());
        let responses = Family::default();
        let help = "Responses that partners sent to $process-message, by what became of them";
        registry.register("partner_responses", help, responses.clone());
        let supports = Family::default();
        let help = "Whether partners say that they take our messages, 1 at what they say";
        registry.register("partner_support", help, supports.clone());
        let (witnessed, cosigned_events, log_alarms) = (Family::default(), Family::default(), Family::default());
        let help = "Times that a witness was asked to cosign the audit log, by what came of it";
        registry.register("witness_requests", help, witnessed.clone());
        let help = "Events of the audit log under the newest head that a witness cosigned";
        registry.register("witness_cosigned_events", help, cosigned_events.clone());
        let help = "1 when a witness has cosigned more than the log holds (rolled-back), or another log (forked)";
        registry.register("witness_alarms", help, log_alarms.clone());
        registry.register("attempts_under_way", "Delivery attempts under way, by route", under_way.clone());
        let (waiting_messages, waiting_bytes, disk_free_bytes) = <(Gauge, Gauge, Gauge)>::default();
        registry.register("outbox_messages", "Messages that wait to be sent", waiting_messages.clone());
        registry.register("outbox_bytes", "Bytes of messages that wait to be sent", waiting_bytes.clone());
        registry.register("disk_free_bytes", "What the disk of the store has left", disk_free_bytes.clone());
        let damaged_rows = Gauge::default();
        let help =
            "Damaged rows of the store that were met since the gateway started: nobody is told what they stand for";
        registry.register("damaged_rows", help, damaged_rows.clone());
        let folder_waiting = Family::default();
        let help = "Files of a watched folder that have settled and could not be taken yet";
        registry.register("folder_waiting", help, folder_waiting.clone());
        let takes_no_more = Family::default();
        let help = "1 at each reason for which no records are taken now";
        registry.register("takes_no_more", help, takes_no_more.clone());
        let refusals = Refusals::default();
        refusals.register(&mut registry);
        let seconds = Unit::Seconds;
        let help = "From the last byte of a record to its 202";
        registry.register_with_unit("accept", help, seconds.clone(), accept_seconds.clone());
        let help = "From acceptance to acknowledgement";
        registry.register_with_unit("acknowledgement", help, seconds, delivery_seconds.clone());
        Metrics {
            registry,
            submissions,
            lacking,
            attempts,
            messages,
            reviews,
            notices_waiting,
            agreements,
            agreement_faults,
            agreements_read,
            certificates_end,
            certificate_faults,
            certificates_read,
            breakers,
            under_way,
            alarms,
            handovers,
            handover_alarms,
            inbound_waiting,
            inbound_overdue,
            inbound_oldest,
            inbound_alarms,
            responses,
            supports,
            witnessed,
            cosigned_events,
            log_alarms,
            refusals,
            damaged_rows,
            waiting_messages,
            waiting_bytes,
            disk_free_bytes,
            takes_no_more,
            folder_waiting,
            accept_seconds,
            delivery_seconds,
        }
    }
}

impl Metrics {
    /// A submission that was answered. `outcome` is `accepted`, `repeated` or the stage that refused it.
    pub(super) fn submitted(&self, interface: &str, outcome: &'static str, took: Duration) {
        self.submissions.get_or_create(&Submission { interface: interface.to_owned(), outcome }).inc();
        self.accept_seconds.observe(took.as_secs_f64());
    }

    /// Essential elements that a record lacked: it was `marked` with them, or `refused`.
    pub(super) fn lacked(&self, interface: &str, outcome: &'static str, elements: usize) {
        if elements > 0 {
            let lacked = self.lacking.get_or_create(&Submission { interface: interface.to_owned(), outcome });
            lacked.inc_by(elements as u64);
        }
    }

    /// What listeners refuse to keep to a limit.
    pub(super) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// An attempt that ended. `outcome` is the state that the message took.
    pub(super) fn attempted(&self, recipient: &str, outcome: &'static str) {
        self.attempts.get_or_create(&Attempt { recipient: recipient.to_owned(), outcome }).inc();
    }

    /// A message that was acknowledged, this long after it was accepted.
    pub(super) fn acknowledged(&self, after: Duration) {
        self.delivery_seconds.observe(after.as_secs_f64());
    }

    /// Changed agreements were read. `outcome` is `taken-over` or `refused`.
    pub(super) fn agreements_read(&self, outcome: &'static str) {
        self.agreements_read.get_or_create(&Reading { outcome }).inc();
    }

    /// The agreements that are used, and the faults of those that are not.
    pub(super) fn agreements(&self, used: &Agreements, faults: usize, now: Instant) {
        let in_force = used.count_in_force(now);
        for (state, number) in [("in-force", in_force), ("not-in-force", used.iter().count() - in_force)] {
            self.agreements.get_or_create(&Reviewing { state }).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        self.agreement_faults.set(i64::try_from(faults).unwrap_or(i64::MAX));
    }

    /// Changed TLS files were read. `outcome` is `taken-over` or `refused`.
    pub(super) fn certificates_read(&self, outcome: &'static str) {
        self.certificates_read.get_or_create(&Reading { outcome }).inc();
    }

    /// What of TLS ends when, and the faults of the files that are not used.
    pub(super) fn certificates(&self, terms: &[(String, Term)], faults: usize) {
        self.certificates_end.clear();
        for (place, Term { what, until, .. }) in terms {
            let ending = Ending { place: place.clone(), what: what.clone() };
            self.certificates_end.get_or_create(&ending).set(until.unix_timestamp());
        }
        self.certificate_faults.set(i64::try_from(faults).unwrap_or(i64::MAX));
    }

    /// A message was moved to the next route (`next-route`), or people were told what is wrong with it.
    pub(super) fn alarm(&self, recipient: &str, what: &'static str) {
        self.alarms.get_or_create(&Alarmed { recipient: recipient.to_owned(), what }).inc();
    }

    /// People were told what is wrong with a handover.
    pub(super) fn handover_alarm(&self, interface: &str, what: &'static str) {
        self.handover_alarms.get_or_create(&HandoverAlarm { interface: interface.to_owned(), what }).inc();
    }

    /// People were told of a referral that nobody collects.
    pub(super) fn inbound_alarm(&self, interface: &str, what: &'static str) {
        self.inbound_alarms.get_or_create(&HandoverAlarm { interface: interface.to_owned(), what }).inc();
    }

    /// Referrals that wait, by priority; one that has none is routine. Of the interface over which they come now there is always a row.
    pub(super) fn inbound(&self, counts: &[InboundCount], interface: Option<InterfaceName>, now: Instant) {
        let families = [&self.inbound_waiting, &self.inbound_overdue, &self.inbound_oldest];
        families.iter().for_each(|family| family.clear());
        let interfaces: BTreeSet<_> = counts.iter().map(|count| &count.interface).chain(&interface).collect();
        for interface in interfaces {
            for priority in ["stat", "asap", "urgent", ROUTINE] {
                let is_own = |count: &&InboundCount| count.interface == *interface && known(count) == priority;
                let own = || counts.iter().filter(is_own);
                let sum = |of: fn(&InboundCount) -> u64| i64::try_from(own().map(of).sum::<u64>()).unwrap_or(i64::MAX);
                // After the clock was set back it has not waited yet.
                let oldest = own().map(|count| (now - count.oldest).whole_seconds().max(0)).max();
                let label = WaitingReferral { interface: interface.to_string(), priority };
                let numbers = [sum(|count| count.waiting), sum(|count| count.overdue), oldest.unwrap_or(0)];
                for (family, number) in families.iter().zip(numbers) {
                    family.get_or_create(&label).set(number);
                }
            }
        }
    }

    /// Where handovers stand. A state that none is in any more is told as 0, where one was.
    pub(super) fn handovers(&self, counts: &[HandoverCount]) {
        let interfaces: BTreeSet<_> = counts.iter().map(|count| &count.interface).collect();
        for interface in interfaces {
            for &state in HandoverState::ALL {
                let own = counts.iter().find(|count| count.interface == *interface && count.state == state);
                let number = i64::try_from(own.map_or(0, |own| own.handovers)).unwrap_or(i64::MAX);
                let standing = HandedOver { interface: interface.to_string(), state: state.code() };
                self.handovers.get_or_create(&standing).set(number);
            }
        }
    }

    /// What partners say that they take.
    pub(super) fn support<'l>(
        &self,
        lanes: impl Iterator<Item = &'l Arc<Lane>>,
        said: impl Fn(&Lane) -> Option<Support>,
    ) {
        for lane in lanes {
            let Some(found) = said(lane) else { continue };
            for support in Support::ALL {
                let (recipient, route) = (lane.party().to_string(), lane.route().into());
                let takes = Takes { recipient, route, support: support.code() };
                self.supports.get_or_create(&takes).set((support == found).into());
            }
        }
    }

    /// A witness was asked. `outcome` is `cosigned`, or the code of why not.
    pub(super) fn witnessed(&self, witness: &str, outcome: &'static str) {
        self.witnessed.get_or_create(&Witnessed { witness: witness.to_owned(), outcome }).inc();
    }

    /// Of each witness: how many events it cosigned, and its alarm.
    pub(super) fn witnesses(&self, standings: Vec<(String, u64, Option<&'static str>)>) {
        for (witness, events, found) in standings {
            for alarm in ["rolled-back", "forked"] {
                let alarmed = LogAlarm { witness: witness.clone(), alarm };
                self.log_alarms.get_or_create(&alarmed).set((found == Some(alarm)).into());
            }
            let events = i64::try_from(events).unwrap_or(i64::MAX);
            self.cosigned_events.get_or_create(&Watching { witness }).set(events);
        }
    }

    /// A partner's response was answered. `outcome` is `accepted`, or the kind of issue that refused it.
    pub(super) fn partner_responded(&self, sender: &str, outcome: &'static str) {
        self.responses.get_or_create(&Responded { sender: sender.to_owned(), outcome }).inc();
    }

    /// Where the lanes stand.
    pub(super) fn lanes<'l>(&self, lanes: impl Iterator<Item = &'l Arc<Lane>>) {
        let now = tokio::time::Instant::now();
        for lane in lanes {
            let (recipient, route, standing) = (lane.party().to_string(), lane.route().into(), lane.standing(now));
            for each in delivery::Standing::ALL {
                let breaker = Breaker { recipient: recipient.clone(), route, breaker: each.code() };
                self.breakers.get_or_create(&breaker).set((each == standing).into());
            }
            self.under_way.get_or_create(&Route { recipient, route }).set(lane.under_way().into());
        }
    }

    /// What waits, what is left, and why nothing more is taken.
    pub(super) fn load(&self, load: &Load) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.waiting_messages.set(gauge(load.messages));
        self.waiting_bytes.set(gauge(load.bytes));
        self.disk_free_bytes.set(gauge(load.free_bytes.unwrap_or_default()));
        let reasons = [Full::Messages, Full::Bytes, Full::Disk].map(|full| (full.code(), load.full == Some(full)));
        for (reason, holds) in reasons.into_iter().chain([("store-fails", load.failing.is_some())]) {
            self.takes_no_more.get_or_create(&Reason { reason }).set(holds.into());
        }
    }

    /// How many rows of the store are damaged.
    pub(super) fn damaged(&self, rows: usize) {
        self.damaged_rows.set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    /// How many files wait in a watched folder.
    pub(super) fn folder(&self, folder: &str, waiting: usize) {
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.folder_waiting.get_or_create(&Watched { folder: folder.to_owned() }).set(waiting);
    }

    /// The text exposition, with the store's own counts.
    pub(super) fn render(&self, counts: &[Count], reviews: ReviewCounts) -> String {
        self.messages.clear();
        for count in counts {
            let standing = Standing { recipient: count.recipient.to_string(), state: count.state.code() };
            self.messages.get_or_create(&standing).set(i64::try_from(count.messages).unwrap_or(i64::MAX));
        }
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (state, number) in [("open", reviews.open), ("overdue", reviews.overdue), ("completed", reviews.completed)]
        {
            self.reviews.get_or_create(&Reviewing { state }).set(gauge(number));
        }
        self.notices_waiting.set(gauge(reviews.notices_waiting));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}

/// The priority as it is counted: one of FHIR's request-priority.
fn known(count: &InboundCount) -> &'static str {
    let own = count.priority.as_deref();
    ["stat", "asap", "urgent"].into_iter().find(|code| Some(*code) == own).unwrap_or(ROUTINE)
}
