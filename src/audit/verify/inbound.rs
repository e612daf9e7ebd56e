//! Whether the referrals that partners sent are what the events say: each that came, with its terms, what people were told of it, and
//! who collected it; and whether what they said is there, unless an event says that it is gone.
//!
//! The events of referrals are filed under no message, so they are not read beside the rows: all rows together are compared with all
//! events together, and only where these differ are they looked at one by one.

use std::collections::BTreeMap;

use super::super::event::{detail, kind};
use super::super::inbound::referral_of;
use super::{Fault, OPENED, PAGE, Sum, Told, Verifier, in_order, is_same};
use crate::fhir::audit_event::{Part, RecordedEvent};
use crate::fhir::{Instant, instant_text};
use crate::identity::MessageId;
use crate::identity::digest::{hex, sha_256};
use crate::storage::{Content, Error, InboundRecord, Store};

/// What rows and events say of referrals.
pub(super) struct Referrals {
    /// By the rows.
    kept: Sum,
    /// By the events.
    said: Sum,
    /// How many rows there are.
    pub(super) rows: u64,
    /// How many events there were before the rows were read: later ones tell of what the rows may not say yet.
    before: u64,
}

/// One thing that is said of a referral. Instants are as exact as rows are.
#[derive(Hash)]
enum Fact<'a> {
    Received { id: MessageId, sender: &'a str, bundle: &'a str, interface: &'a str, digest: &'a str, at: String },
    Terms { id: MessageId, event: u64, priority: Option<&'a str>, due_at: &'a str },
    Told { id: MessageId, trouble: &'a str },
    Collected { id: MessageId, by: &'a str, at: String },
}

impl Default for Referrals {
    fn default() -> Referrals {
        let kept = Sum::default();
        Referrals { said: kept.empty(), kept, rows: 0, before: 0 }
    }
}

impl Referrals {
    /// What the rows say. `before` is how many events there were before.
    pub(super) async fn of_rows(store: &dyn Store, before: u64) -> Result<Referrals, Error> {
        let mut of_all = Referrals { before, ..Referrals::default() };
        let mut after = 0;
        loop {
            let page = store.referrals(after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(of_all) };
            in_order(page.iter().map(|(position, _)| *position), after + 1)?;
            after = *last;
            page.iter().for_each(|(_, record)| of_all.keep(record));
        }
    }

    fn keep(&mut self, record: &InboundRecord) {
        let InboundRecord { id, sender, interface, priority, received_at, .. } = record;
        let (id, bundle, digest) = (*id, record.bundle.to_string(), hex(&record.digest));
        self.rows += 1;
        let (sender, interface) = (sender.as_str(), interface.as_str());
        let at = instant_text(*received_at);
        self.kept.add(Fact::Received { id, sender, bundle: &bundle, interface, digest: &digest, at });
        if let Some(event) = record.event {
            let due_at = record.due_at.map(instant_text).unwrap_or_default();
            self.kept.add(Fact::Terms { id, event, priority: priority.as_deref(), due_at: &due_at });
        }
        if let Some(told) = record.told {
            self.kept.add(Fact::Told { id, trouble: told.code() });
        }
        if let Some((at, by)) = &record.collected {
            self.kept.add(Fact::Collected { id, by: by.as_str(), at: instant_text(*at) });
        }
    }

    /// Notes what an event says.
    pub(super) fn note(&mut self, said: &RecordedEvent<'_>, seq: u64) {
        let of = |kinds: &[&str]| said.kind().is_some_and(|own| kinds.contains(&own));
        if seq >= self.before || !of(&[kind::REFERRAL_RECEIVED, kind::REFERRAL_ALARM, kind::REFERRAL_COLLECTED]) {
            return;
        }
        let Some(id) = referral_of(said) else { return };
        let detail = |name| said.detail(name).unwrap_or_default();
        if of(&[kind::REFERRAL_RECEIVED]) {
            let sender = said.party(Part::Source);
            let (sender, at) = (sender.as_ref().map_or("", |sender| sender.as_str()), instant_text(said.at()));
            let (bundle, interface) = (detail(detail::REFERRAL), detail(detail::INTERFACE));
            let digest = detail(detail::SHA256);
            self.said.add(Fact::Received { id, sender, bundle, interface, digest, at });
            if let Some(due_at) = said.detail(detail::DEADLINE) {
                let priority = said.detail(detail::PRIORITY);
                self.said.add(Fact::Terms { id, event: seq, priority, due_at });
            }
        } else if of(&[kind::REFERRAL_ALARM]) {
            self.said.add(Fact::Told { id, trouble: detail(detail::REASON) });
            if let Some(trouble) = said.detail(detail::FROM) {
                self.said.take_away(Fact::Told { id, trouble });
            }
        } else {
            let by = said.operator().unwrap_or_default();
            self.said.add(Fact::Collected { id, by, at: instant_text(said.at()) });
        }
    }

    fn differ(&self) -> bool {
        self.kept.differs(&self.said)
    }
}

impl Verifier<'_> {
    /// Compares the rows of referrals with the events. Where they differ the log is read once more: a running gateway may have taken
    /// some while the rows were read.
    pub(super) async fn check_referrals(&mut self) -> Result<(), Error> {
        self.report.referrals = self.referrals.rows;
        if self.referrals.differ() {
            let end = self.store.event_count().await?;
            let rows = all_rows(self.store).await?;
            // Read after the rows: whatever a row says, its event is among these.
            let mut said = all_events(self.store).await?;
            for record in rows {
                let said = said.remove(&record.id).unwrap_or_default();
                referral_faults(&record, &said, end).into_iter().for_each(|fault| self.fault(fault));
            }
            for (referral, said) in said {
                let came = said.iter().find(|(seq, said)| *seq < end && said.is(kind::REFERRAL_RECEIVED));
                if let Some((seq, _)) = came {
                    self.fault(Fault::ReferralMissing { referral, seq: *seq });
                }
            }
        }
        self.check_contents_of_referrals().await
    }

    /// Opens what referrals said, and compares the message that came with its digest.
    async fn check_contents_of_referrals(&mut self) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let page = self.store.referrals(after, OPENED).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            in_order(page.iter().map(|(position, _)| *position), after + 1)?;
            after = *last;
            let parts = |record| [Content::Inbound, Content::InboundRecord].map(|part| (record, part));
            let each: Vec<(&InboundRecord, Content)> = page.iter().flat_map(|(_, record)| parts(record)).collect();
            let opened = match self.store.contents(each.iter().map(|(record, part)| (record.id, *part)).collect()).await
            {
                Err(Error::NoKey) => return Ok(()),
                opened => opened?,
            };
            for ((record, part), opened) in each.into_iter().zip(opened) {
                let (message, what) = (record.id, part.column());
                match opened {
                    Ok(Some(content)) => {
                        if self.gone.holds_referral(record.id) {
                            self.fault(Fault::ContentKept { message, what });
                        }
                        if part == Content::Inbound && sha_256(&content) != record.digest {
                            self.fault(Fault::ContentChanged { message, what });
                        } else {
                            self.report.contents += 1;
                        }
                    }
                    Ok(None) if self.is_gone_of(record).await? => {}
                    Ok(None) => self.fault(Fault::ContentMissing { message, what }),
                    Err(Error::Damaged(_)) => self.fault(Fault::ContentChanged { message, what }),
                    Err(other) => return Err(other),
                }
            }
        }
    }

    /// Whether events say that what a referral said is gone; those too that came while the verification ran.
    async fn is_gone_of(&mut self, record: &InboundRecord) -> Result<bool, Error> {
        if self.gone.holds_contents_of(record) {
            return Ok(true);
        }
        self.caught_up = self.gone.catch_up(self.store, self.caught_up).await?;
        Ok(self.gone.holds_contents_of(record))
    }
}

async fn all_rows(store: &dyn Store) -> Result<Vec<InboundRecord>, Error> {
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let page = store.referrals(after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        in_order(page.iter().map(|(position, _)| *position), after + 1)?;
        after = *last;
        found.extend(page.into_iter().map(|(_, record)| record));
    }
}

/// What the log says of each referral.
async fn all_events(store: &dyn Store) -> Result<BTreeMap<MessageId, Told<'static>>, Error> {
    let (mut found, mut next) = (BTreeMap::<MessageId, Told<'static>>::new(), 0);
    loop {
        let page = store.events(next, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        in_order(page.iter().map(|stored| stored.seq), next)?;
        next = last.seq + 1;
        for stored in &page {
            let Some(said) = RecordedEvent::read(&stored.event.bytes) else { continue };
            let kinds = [kind::REFERRAL_RECEIVED, kind::REFERRAL_ALARM, kind::REFERRAL_COLLECTED];
            let is_one = said.kind().is_some_and(|own| kinds.contains(&own));
            if let Some(id) = referral_of(&said).filter(|_| is_one) {
                found.entry(id).or_default().push((stored.seq, said.into_owned()));
            }
        }
    }
}

/// Compares one row with its events. Those from `end` on came after the rows were read, or just before.
fn referral_faults(record: &InboundRecord, said: &Told<'_>, end: u64) -> Vec<Fault> {
    let referral = record.id;
    let last = |kind| said.iter().rev().find(|(_, said)| said.is(kind)).map(|(seq, said)| (*seq, said));
    let Some((came, received)) = last(kind::REFERRAL_RECEIVED) else {
        return vec![Fault::ReferralUnsaid { referral }];
    };
    let told = |name: &str, text: &str| received.detail(name) == Some(text);
    let due_at = record.due_at.map(instant_text);
    // An earlier version told nothing of these.
    let (is_earlier, deadline) = (record.event.is_none(), received.detail(detail::DEADLINE));
    let terms = deadline.is_none() == is_earlier && (is_earlier || record.event == Some(came));
    let same = [
        ("sender", received.party(Part::Source).as_ref() == Some(&record.sender)),
        ("message", told(detail::REFERRAL, &record.bundle.to_string())),
        ("interface", told(detail::INTERFACE, record.interface.as_str())),
        ("digest", told(detail::SHA256, &hex(&record.digest))),
        ("time of arrival", is_same(received.at(), record.received_at)),
        ("event", terms),
        ("priority", is_earlier || received.detail(detail::PRIORITY) == record.priority.as_deref()),
        ("time to collect", is_earlier || deadline == due_at.as_deref()),
    ];
    let changed = |what, seq| Fault::ReferralChanged { referral, what, seq };
    let mut faults: Vec<Fault> =
        same.into_iter().filter(|(_, same)| !same).map(|(what, _)| changed(what, came)).collect();
    let is_collected =
        |said: &RecordedEvent<'_>, at: Instant, by: &str| said.operator() == Some(by) && is_same(said.at(), at);
    let (seq, same) = match (last(kind::REFERRAL_COLLECTED), &record.collected) {
        (Some((seq, said)), Some((at, by))) => (seq, is_collected(said, *at, by.as_str())),
        (Some((seq, _)), None) => (seq, seq >= end),
        (None, collected) => (came, collected.is_none()),
    };
    faults.extend((!same).then(|| changed("collection", seq)));
    let (seq, same) = match last(kind::REFERRAL_ALARM) {
        Some((seq, said)) => (seq, seq >= end || said.detail(detail::REASON) == record.told.map(|told| told.code())),
        None => (came, record.told.is_none()),
    };
    faults.extend((!same).then(|| changed("alarm", seq)));
    faults
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::super::{Report, verify};
    use super::*;
    use crate::audit::checkpoint::{SigningKey, VerifierKey};
    use crate::audit::{Checkpointer, HashKey, Recorder, Referral};
    use crate::storage::suite::{NOON, party, referral};
    use crate::storage::{
        Act, Change, Collection, Erasure, InboundLook, InboundTrouble, Performed, Received, Secret, SqliteStore,
    };

    /// A site that got two referrals: 0 the first came; 1 the second; 2 the first was collected; 3 and 4 people were told of the
    /// second, that it is nearly due and that it is overdue.
    struct Site {
        folder: tempfile::TempDir,
        secret: Secret,
        key: VerifierKey,
        ids: [MessageId; 2],
    }

    fn recorder() -> Recorder {
        Recorder::new(party("DEMOP"), "weir.example/DEMOP")
    }

    impl Site {
        async fn new() -> Site {
            let folder = tempfile::tempdir().expect("a folder");
            let secret = Secret::generate();
            let store = SqliteStore::open(&folder.path().join("weir.db"), &secret).expect("it opens");
            let store: Arc<dyn Store> = Arc::new(store);
            let (one, two) = (receive(&*store, 1).await, receive(&*store, 2).await);
            let by = "demo-records".parse().expect("an id");
            let event = recorder().referral_collected((one.bundle, one.id), &by, "10.0.0.7", NOON);
            let collection = Collection { id: one.id, at: NOON, by, event };
            assert_eq!(store.collect_inbound(collection).await, Ok(true));
            for trouble in [InboundTrouble::NearDue, InboundTrouble::Overdue] {
                let record = store.inbound(two.id).await.expect("it is read").expect("it is there");
                let due_at = record.due_at.expect("it has a clock");
                let event = recorder().referral_alarm((&record, None), (trouble, due_at), NOON);
                let next = (trouble == InboundTrouble::NearDue).then_some(due_at);
                let told = Some((trouble, vec![], event));
                let look = InboundLook { id: two.id, before: record.alert_at, due_at, next, told };
                assert_eq!(store.look_at_inbound(look).await, Ok(true));
            }
            let signing = SigningKey::generate("weir.example/DEMOP").expect("the name is good");
            let key = signing.verifier().clone();
            let mut checkpointer = Checkpointer::resume(store, signing).await.expect("it begins");
            checkpointer.checkpoint().await.expect("it is signed");
            Site { folder, secret, key, ids: [one.id, two.id] }
        }

        fn database(&self) -> rusqlite::Connection {
            rusqlite::Connection::open(self.folder.path().join("weir.db")).expect("it opens")
        }

        async fn verify(&self) -> Report {
            let path = self.folder.path().join("weir.db");
            let store = SqliteStore::open_to_read(&path, Some(&self.secret)).expect("it opens");
            verify(&store, &self.key, None).await.expect("it is read")
        }

        async fn faults_after(&self, sql: &str) -> Vec<String> {
            self.database().execute_batch(sql).expect("it runs");
            self.verify().await.faults.iter().map(Fault::to_string).collect()
        }
    }

    async fn receive(store: &dyn Store, number: u32) -> InboundRecord {
        let mut new = referral(number);
        new.digest = sha_256(&new.message);
        new.event = recorder().referral_received(Referral {
            sender: &new.sender,
            address: "10.0.0.9",
            bundle: new.bundle,
            id: new.id(),
            interface: &new.interface,
            digest: &new.digest,
            subject: None,
            priority: new.priority.as_deref(),
            due_at: new.due_at,
            at: new.received_at,
        });
        match store.receive(new).await {
            Ok(Received::Now(kept)) => *kept,
            other => panic!("it is new: {other:?}"),
        }
    }

    #[tokio::test]
    async fn referrals_that_are_what_the_events_say_are_counted_and_have_no_fault() {
        let report = Site::new().await.verify().await;
        assert_eq!((report.faults, report.referrals, report.contents), (vec![], 2, 4));
    }

    #[tokio::test]
    async fn a_referral_that_is_gone_changed_or_added_is_named() {
        let [one, two] = Site::new().await.ids;
        let row = |id, seq: u64, what: &str| format!("the row of referral {id} differs from event {seq} in {what}");
        for (sql, says) in [
            ("DELETE FROM inbound WHERE position = 2", format!("referral {two} is gone; event 1 says that it came")),
            ("UPDATE inbound SET sender = 'RXT02' WHERE position = 1", row(one, 0, "sender")),
            ("UPDATE inbound SET bundle = zeroblob(16) WHERE position = 1", row(one, 0, "message")),
            ("UPDATE inbound SET interface = 'another' WHERE position = 1", row(one, 0, "interface")),
            ("UPDATE inbound SET received_at = received_at + 1 WHERE position = 1", row(one, 0, "time of arrival")),
            ("UPDATE inbound SET priority = 'routine' WHERE position = 2", row(two, 1, "priority")),
            ("UPDATE inbound SET priority = NULL WHERE position = 2", row(two, 1, "priority")),
            ("UPDATE inbound SET due_at = due_at + 1 WHERE position = 2", row(two, 1, "time to collect")),
            ("UPDATE inbound SET event = NULL WHERE position = 2", row(two, 1, "event")),
            ("UPDATE inbound SET told = NULL WHERE position = 2", row(two, 4, "alarm")),
            ("UPDATE inbound SET told = 'near-due' WHERE position = 2", row(two, 4, "alarm")),
            ("UPDATE inbound SET told = 'overdue' WHERE position = 1", row(one, 0, "alarm")),
            (
                "UPDATE inbound SET collected_at = NULL, collected_by = NULL WHERE position = 1",
                row(one, 2, "collection"),
            ),
            ("UPDATE inbound SET collected_by = 'another' WHERE position = 1", row(one, 2, "collection")),
            (
                "UPDATE inbound SET collected_at = 5, collected_by = 'demo-records' WHERE position = 2",
                row(two, 1, "collection"),
            ),
        ] {
            let faults = Site::new().await.faults_after(sql).await;
            assert_eq!(faults, [says], "{sql}");
        }
        let site = Site::new().await;
        let added = "INSERT INTO inbound (id, sender, bundle, interface, digest, received_at) \
                     VALUES (x'6f9619ff8b865011b42d00cf4fc964ff', 'RXT02', zeroblob(16), 'referral-in', zeroblob(32), 5)";
        let unsaid = "no event says that referral 6f9619ff-8b86-5011-b42d-00cf4fc964ff came";
        assert!(site.faults_after(added).await.contains(&unsaid.to_owned()));
    }

    #[tokio::test]
    async fn what_a_referral_said_is_gone_changed_or_back_with_an_event_alone() {
        let [one, two] = Site::new().await.ids;
        let part = |what: &str, id, how: &str| format!("the {what} of message {id} {how}");
        let faults = Site::new().await.faults_after("UPDATE inbound SET record = NULL WHERE position = 2").await;
        assert_eq!(faults, [part("inbound-record", two, "is gone")]);
        let moved = "UPDATE inbound SET message = (SELECT message FROM inbound WHERE position = 1) WHERE position = 2";
        assert_eq!(Site::new().await.faults_after(moved).await, [part("inbound-message", two, "was changed")]);
        let digest = "UPDATE inbound SET digest = zeroblob(32) WHERE position = 1";
        let row = format!("the row of referral {one} differs from event 0 in digest");
        let changed = part("inbound-message", one, "was changed");
        assert_eq!(Site::new().await.faults_after(digest).await, [row, changed]);

        let site = Site::new().await;
        let sql = "SELECT hex(message) FROM inbound WHERE position = 1";
        let before: String = site.database().query_row(sql, [], |row| row.get(0)).expect("it is read");
        let store = SqliteStore::open(&site.folder.path().join("weir.db"), &site.secret).expect("it opens");
        let record = store.inbound(one).await.expect("it is read").expect("it is there");
        let (by, subject) = ("ivy".parse().expect("an id"), HashKey::new(&[5; 32]).subject("a", "b"));
        let event = recorder().referral_erased(&record, &subject, &by, NOON);
        let change = Change::Erase(vec![Erasure { message: one, event }]);
        let ordered = recorder().subject_erased(&subject, &by, (1, 0), NOON);
        let act = Act { id: Uuid::from_u128(1), at: NOON, change, event: ordered };
        assert_eq!(store.perform(act).await, Ok(Performed::Now));
        drop(store);
        let report = site.verify().await;
        assert_eq!((report.faults, report.contents), (vec![], 2));
        let back = format!("UPDATE inbound SET message = x'{before}' WHERE position = 1");
        let kept = part("inbound-message", one, "is there, although it was erased");
        assert_eq!(site.faults_after(&back).await, [kept]);
    }
}
