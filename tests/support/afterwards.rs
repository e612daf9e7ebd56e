//! What must hold after any crash, read from what is on disk and from what the partner received.
#![allow(dead_code, unreachable_pub, reason = "each test includes it and uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use uuid::Uuid;
use weir::config::Site;

use crate::support::{DemoSite, weir};

/// The database as it lies there, also beside a running gateway; reading changes nothing.
fn database(site: &DemoSite) -> Connection {
    let path = site.path("gateway/data/weir.sqlite3");
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the database opens")
}

/// Every message that is stored, with its state.
pub fn states(site: &DemoSite) -> BTreeMap<String, String> {
    let database = database(site);
    let mut rows = database.prepare("SELECT id, state FROM messages").expect("there are messages");
    let row = |row: &rusqlite::Row<'_>| Ok((Uuid::from_bytes(row.get(0)?).to_string(), row.get(1)?));
    rows.query_map([], row).expect("they are read").collect::<Result<_, _>>().expect("they are read")
}

/// What one number of the database is.
pub fn number(site: &DemoSite, sql: &str) -> i64 {
    database(site).query_row(sql, [], |row| row.get(0)).expect("it is read")
}

/// The file is sound, and what it says of itself is what was recorded and signed.
pub fn assert_sound(site: &DemoSite, loaded: &Site) {
    let sound: String = database(site).query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is read");
    assert_eq!(sound, "ok");
    let store = loaded.open_for_reading().expect("the store opens");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let report = runtime
        .block_on(weir::audit::verify(&store, loaded.audit_verifier(), Some(&loaded.hash_key())))
        .expect("it is read");
    assert!(report.is_clean(), "{report}");
}

/// `weir audit verify` finds nothing wrong.
pub fn assert_verified(site: &DemoSite) {
    let verified = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(verified.status.success(), "{}{}", said(&verified.stdout), said(&verified.stderr));
}

/// What a partner saw of the messages.
#[derive(Debug, Default)]
pub struct Seen {
    /// The Bundles it kept, by the message they are.
    pub kept: BTreeMap<String, String>,
    /// Times that a message arrived.
    pub arrivals: usize,
    /// Those of them that were a resend of what it had.
    pub resends: usize,
}

/// Under each message the partner saw one `Bundle.id`, one `MessageHeader.id` and one `X-Correlation-Id`, under each of
/// these one message; and it kept none twice. (A partner that is killed between keeping a Bundle and noting it
/// notes it as a duplicate the next time.)
pub fn seen(site: &DemoSite, partner: &str) -> Seen {
    let header_ids: BTreeMap<String, String> = site.inbox(partner).into_iter().map(header_id).collect();
    let distinct: BTreeSet<&String> = header_ids.values().collect();
    assert_eq!(distinct.len(), header_ids.len(), "two Bundles with one MessageHeader.id");
    let mut seen = Seen::default();
    let mut names: BTreeMap<String, BTreeSet<[String; 2]>> = BTreeMap::new();
    let mut first_times = BTreeSet::new();
    for row in site.arrivals(partner) {
        let text = |key: &str| row[key].as_str().expect("an arrival names its ids").to_owned();
        let (outcome, bundle) = (text("outcome"), text("id"));
        assert_ne!(outcome, "conflict", "a resend had other bytes");
        if !["accepted", "duplicate", "too-early"].contains(&outcome.as_str()) {
            continue;
        }
        seen.arrivals += 1;
        seen.resends += usize::from(outcome == "duplicate");
        assert!(outcome != "accepted" || first_times.insert(bundle.clone()), "a Bundle was kept twice");
        let request = text("request");
        assert_eq!(header(&row, "x-request-id"), request);
        names.entry(request).or_default().insert([bundle, header(&row, "x-correlation-id")]);
    }
    let mut others: [BTreeSet<String>; 2] = Default::default();
    for (message, ids) in names {
        assert_eq!(ids.len(), 1, "message {message} was seen under two sets of ids: {ids:?}");
        let [bundle, correlation] = ids.into_iter().next().expect("there is one");
        let [bundles, correlations] = &mut others;
        assert!(bundles.insert(bundle.clone()) && correlations.insert(correlation), "two messages have one id");
        if header_ids.contains_key(&bundle) {
            seen.kept.insert(message, bundle);
        }
    }
    let known: BTreeSet<&String> = seen.kept.values().collect();
    let strange = header_ids.keys().filter(|id| !known.contains(id)).count();
    assert_eq!(strange, 0, "the partner kept Bundles of no message");
    seen
}

fn header(row: &Value, name: &str) -> String {
    let headers = row["headers"].as_array().expect("an arrival has headers");
    let found = headers.iter().find(|header| header[0] == name);
    found.and_then(|header| header[1].as_str()).unwrap_or_default().to_owned()
}

/// The ids of a kept Bundle and of its MessageHeader.
fn header_id((name, text): (String, String)) -> (String, String) {
    let bundle: Value = serde_json::from_str(&text).expect("a received Bundle is JSON");
    assert_eq!(bundle["id"], *name);
    let header = &bundle["entry"][0]["resource"];
    assert_eq!(header["resourceType"], "MessageHeader");
    (name, header["id"].as_str().expect("a MessageHeader has an id").to_owned())
}
