//! Rows in and out: the statements, and the types they carry.

use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::{
    Accepted, Act, Approval, Change, Content, Count, Damage, Error, Event, Filter, Full, Handling, History, Load,
    MessageRecord, NewMessage, Performed, Place, Raised, State, StoredCheckpoint, StoredEvent, Subtree, Text,
    Transition, Window,
};
use super::{answers, carried, envelopes, filed, handovers, reviews};
use crate::fhir::Instant;
use crate::identity::{InterfaceName, MessageId, PartyId};

/// The columns that [`record`] reads, in its order.
macro_rules! record_columns {
    () => {
        "id, sender, interface, recipient, agreement, digest, state, accepted_at, updated_at, attempts, \
         next_attempt_at, note, route, order_key, priority, deadline_at, alert_at, timed_from, position"
    };
}
pub(super) use record_columns;

/// The table of the messages.
const MESSAGES: &str = "messages";

/// The sealed parts of a new message.
pub(super) struct Sealed {
    /// The number of the envelope.
    pub(super) envelope: Option<u64>,
    pub(super) payload: Vec<u8>,
    pub(super) provenance: Vec<u8>,
    pub(super) lineage: Vec<u8>,
    /// Of the review's decision, when there is one.
    pub(super) decision: Vec<u8>,
}

/// Every row, mapped.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    map: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(map(row)?);
    }
    Ok(found)
}

/// Rows of a table that are sound, mapped; the damaged ones are noted, and take up no place. The statement's last column is the row's
/// position, and `params` gives its parameters for how many rows it is to give.
pub(super) fn sound<T, P: Params>(
    connection: &Connection,
    (table, damage): (&'static str, &Damage),
    (sql, params): (&str, impl Fn(i64) -> P),
    limit: usize,
    map: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    loop {
        let known = damage.count();
        let found = all(connection, sql, params(count(limit.saturating_add(known))), |row| {
            let position: i64 = row.get(row.as_ref().column_count() - 1)?;
            damage.sift((table, position), map(row))
        })?;
        if damage.count() == known {
            return Ok(found.into_iter().flatten().take(limit).collect());
        }
    }
}

/// The first row, mapped.
pub(super) fn first<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    map: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(map).transpose()
}

/// Accepts one message, unless its id is known.
pub(super) fn accept(
    connection: &Connection,
    message: &NewMessage,
    sealed: &Sealed,
    events: &[Event],
    room: impl FnOnce(Load) -> Option<Full>,
) -> Result<Accepted, Error> {
    match find(connection, message.id)? {
        Some(known) if known.digest == message.digest => return Ok(Accepted::Repeated(Box::new(known))),
        Some(_) => return Ok(Accepted::Conflict),
        None => {}
    }
    if let Some(full) = room(load(connection)?) {
        return Err(Error::Full(full));
    }
    envelopes::check_open(connection, &sealed.payload)?;
    let beginning = match &message.beginning {
        Some(step) if is_first_of_order(connection, message)? => Some(&**step),
        _ => None,
    };
    insert_message(connection, message, beginning)?;
    let contents = "INSERT INTO contents (message, envelope, payload, provenance, lineage) VALUES (?, ?, ?, ?, ?)";
    let position = connection.last_insert_rowid();
    connection.prepare_cached(contents)?.execute(params![
        position,
        sealed.envelope.map(bound),
        sealed.payload,
        sealed.provenance,
        sealed.lineage
    ])?;
    keep_text(connection, &message.glossary)?;
    count_waiting(connection, count(sealed.payload.len()), true)?;
    answers::name(connection, position, &message.names)?;
    if let Some(review) = &message.review {
        reviews::open(connection, position, review, &sealed.decision)?;
    }
    for event in events.iter().chain(beginning.map(|step| &step.event)) {
        append(connection, event)?;
    }
    Ok(if beginning.is_some() { Accepted::Begun } else { Accepted::New })
}

/// See [`is_first_of_order`].
pub(super) const EARLIER: &str = "SELECT 1 FROM messages WHERE recipient = ? AND order_key = ? \
    AND (state = 'accepted' OR state = 'queued' OR state = 'in-flight') LIMIT 1";

/// Whether no earlier message of its order waits.
fn is_first_of_order(connection: &Connection, message: &NewMessage) -> Result<bool, Error> {
    let Some(order_key) = &message.handling.order_key else { return Ok(true) };
    Ok(first(connection, EARLIER, params![message.recipient.as_str(), order_key], |_| Ok(()))?.is_none())
}

/// A new message as it stands after its first step, if it takes one.
fn insert_message(connection: &Connection, message: &NewMessage, step: Option<&Transition>) -> Result<(), Error> {
    let sql = "INSERT INTO messages (id, sender, interface, recipient, agreement, digest, state, accepted_at, \
               updated_at, attempts, next_attempt_at, note, route, order_key, priority, deadline_at, alert_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?13, ?14, ?15, ?16, 0, ?9, ?10, ?11, ?12)";
    let Handling { order_key, priority, deadline_at, timed_from: _, alert_at } = &message.handling;
    let (state, attempts) = step.map_or((State::Accepted, 0), |step| (step.to, step.attempts));
    let (updated_at, due) =
        step.map_or((message.accepted_at, Some(message.accepted_at)), |step| (step.at, step.next_attempt_at));
    connection.prepare_cached(sql)?.execute(params![
        message.id.uuid().as_bytes(),
        message.sender.as_str(),
        message.interface.as_str(),
        message.recipient.as_str(),
        message.agreement.as_str(),
        message.digest,
        state.code(),
        millis(message.accepted_at),
        order_key,
        priority,
        deadline_at.map(millis),
        alert_at.map(millis),
        millis(updated_at),
        attempts,
        due.map(millis),
        step.map_or("", |step| &step.note),
    ])?;
    Ok(())
}

/// Keeps a text, unless it is there. Mostly it is: then its bytes are not touched.
fn keep_text(connection: &Connection, text: &Text) -> Result<(), Error> {
    let known = "SELECT 1 FROM texts WHERE digest = ?";
    if first(connection, known, [text.digest], |_| Ok(()))?.is_some() {
        return Ok(());
    }
    let sql = "INSERT INTO texts (digest, bytes) VALUES (?, ?)";
    connection.prepare_cached(sql)?.execute(params![text.digest, text.bytes])?;
    Ok(())
}

/// What stands under a digest.
pub(super) fn text(connection: &Connection, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, Error> {
    first(connection, "SELECT bytes FROM texts WHERE digest = ?", [digest], |row| Ok(row.get(0)?))
}

/// How much waits to be sent.
pub(super) fn load(connection: &Connection) -> Result<Load, Error> {
    let found = first(connection, "SELECT messages, bytes FROM waiting", [], |row| {
        Ok(Load { messages: index(row, 0)?, bytes: index(row, 1)?, ..Load::default() })
    })?;
    found.ok_or_else(|| Error::Damaged("what waits is not counted".to_owned()))
}

/// Counts anew what waits, where the count that is kept is another.
pub(super) fn recount_waiting(connection: &Connection) -> Result<(), Error> {
    let sql = "UPDATE waiting SET messages = found.messages, bytes = found.bytes FROM \
               (SELECT count(*) AS messages, coalesce(sum(length(payload)), 0) AS bytes FROM messages \
               JOIN contents ON contents.message = position WHERE state IN ('accepted', 'queued', 'in-flight')) AS found \
               WHERE (waiting.messages, waiting.bytes) IS NOT (found.messages, found.bytes)";
    connection.execute(sql, [])?;
    Ok(())
}

/// Counts a message that waits from now on, or no longer does, with the bytes of its payload as stored. A count that is wrong must
/// not hold up a message.
fn count_waiting(connection: &Connection, bytes: i64, waits: bool) -> Result<(), Error> {
    let sql = "UPDATE waiting SET messages = max(0, messages + ?1), bytes = max(0, bytes + ?1 * ?2)";
    let sign = if waits { 1 } else { -1 };
    connection.prepare_cached(sql)?.execute(params![sign, bytes])?;
    Ok(())
}

/// The bytes of a message's payload as stored; 0 when it was erased.
fn payload_bytes(connection: &Connection, id: MessageId) -> Result<i64, Error> {
    let sql = "SELECT coalesce(length(payload), 0) FROM messages JOIN contents ON message = position WHERE id = ?";
    let found = first(connection, sql, [id.uuid().as_bytes()], |row| Ok(row.get(0)?))?;
    Ok(found.unwrap_or_default())
}

/// Moves one message on, with its event. One that ends well needs nobody's look any more, one that ends badly needs it at once, and one
/// that is taken up again does when half of its time has passed; if it had arrived, its deadline was kept, and it has its whole time anew.
pub(super) fn transition(connection: &Connection, step: &Transition) -> Result<(), Error> {
    move_on(connection, step)?;
    if let Some(id) = &step.carried_as {
        carried::keep(connection, step.message, id)?;
    }
    append(connection, &step.event)?;
    step.handover.iter().try_for_each(|of| handovers::apply(connection, of).map(drop))
}

/// See [`move_on`].
pub(super) const MOVE_ON: &str = "UPDATE messages SET state = ?1, updated_at = ?2, attempts = ?3, next_attempt_at = ?4, note = ?5, \
    alert_at = CASE WHEN ?1 IN ('acknowledged', 'cancelled') THEN NULL \
                    WHEN ?1 IN ('refused', 'dead') THEN ?2 \
                    WHEN ?7 = 'acknowledged' THEN ?2 + (deadline_at - accepted_at) / 2 \
                    WHEN ?7 IN ('refused', 'dead') \
                    THEN coalesce(timed_from, accepted_at) + (deadline_at - accepted_at) / 2 \
                    ELSE alert_at END, \
    timed_from = CASE WHEN ?7 = 'acknowledged' AND ?1 = 'queued' THEN ?2 ELSE timed_from END \
    WHERE id = ?6 AND state = ?7 AND (?8 IS NULL OR route = ?8)";

fn move_on(connection: &Connection, step: &Transition) -> Result<(), Error> {
    let changed = connection.prepare_cached(MOVE_ON)?.execute(params![
        step.to.code(),
        millis(step.at),
        step.attempts,
        step.next_attempt_at.map(millis),
        step.note,
        step.message.uuid().as_bytes(),
        step.from.code(),
        step.route,
    ])?;
    if changed == 0 {
        let found = find(connection, step.message)?.ok_or(Error::UnknownMessage(step.message))?.state;
        return Err(Error::Stale { message: step.message, expected: step.from, found });
    }
    if step.from.is_waiting() != step.to.is_waiting() {
        count_waiting(connection, payload_bytes(connection, step.message)?, step.to.is_waiting())?;
    }
    Ok(())
}

/// Performs one act, unless it was performed before.
pub(super) fn perform(connection: &Connection, act: &Act) -> Result<Performed, Error> {
    let sql = "INSERT OR IGNORE INTO acts (id, performed_at) VALUES (?, ?)";
    if connection.prepare_cached(sql)?.execute(params![act.id.as_bytes(), millis(act.at)])? == 0 {
        return Ok(Performed::Before);
    }
    match &act.change {
        Change::Nothing => {}
        Change::Approve(approval) => approve(connection, approval)?,
        Change::Review(step) => reviews::complete(connection, step)?,
        Change::Message(step) => move_on(connection, step)?,
        Change::Erase(erasures) => erasures.iter().try_for_each(|each| envelopes::erase(connection, each, act.at))?,
    }
    append(connection, &act.event)?;
    if let Change::Message(step) = &act.change {
        step.handover.iter().try_for_each(|of| handovers::apply(connection, of).map(drop))?;
    }
    Ok(Performed::Now)
}

fn approve(connection: &Connection, approval: &Approval) -> Result<(), Error> {
    let Approval { agreement, version, file, role, by, at } = approval;
    let sql = "INSERT OR IGNORE INTO approvals (agreement, version, file, role, principal, approved_at) \
               VALUES (?, ?, ?, ?, ?, ?)";
    let row = params![agreement.as_str(), version, file, role, by.as_str(), millis(*at)];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Every approval.
pub(super) fn approvals(connection: &Connection) -> Result<Vec<Approval>, Error> {
    let sql = "SELECT agreement, version, file, role, principal, approved_at FROM approvals \
               ORDER BY approved_at, agreement, version, file, role, principal";
    all(connection, sql, [], |row| {
        Ok(Approval {
            agreement: parsed(row, 0)?,
            version: row.get(1)?,
            file: row.get(2)?,
            role: row.get(3)?,
            by: parsed(row, 4)?,
            at: instant(row.get(5)?)?,
        })
    })
}

/// See [`append`]. With `INSERT … SELECT`, or with `RETURNING`, SQLite would put the row in a table of its own first.
pub(super) const APPEND: &str = "INSERT INTO events (seq, message, leaf, bytes) \
    VALUES ((SELECT coalesce(max(seq) + 1, 0) FROM events), ?, ?, ?)";

/// Appends one event; gives its index.
pub(super) fn append(connection: &Connection, event: &Event) -> Result<u64, Error> {
    let message = event.message.map(|id| *id.uuid().as_bytes());
    connection.prepare_cached(APPEND)?.execute(params![message, event.leaf, event.bytes])?;
    let seq = u64::try_from(connection.last_insert_rowid()).expect("the table checks that it is not negative");
    filed::file(connection, seq, &event.bytes)?;
    Ok(seq)
}

/// Hashes of leaves, one after the other: a gap ends them.
pub(super) fn leaves(connection: &Connection, from: u64, limit: usize) -> Result<Vec<[u8; 32]>, Error> {
    let sql = "SELECT seq, leaf FROM events WHERE seq >= ? ORDER BY seq LIMIT ?";
    let found = all(connection, sql, params![bound(from), count(limit)], |row| Ok((index(row, 0)?, row.get(1)?)))?;
    Ok((from..).zip(found).map_while(|(seq, (own, leaf))| (seq == own).then_some(leaf)).collect())
}

/// Subtrees of one level, in order.
pub(super) fn subtrees(connection: &Connection, level: u8, from: u64, limit: usize) -> Result<Vec<Subtree>, Error> {
    let sql = "SELECT position, hash FROM subtrees WHERE level = ? AND position >= ? ORDER BY position LIMIT ?";
    all(connection, sql, params![level, bound(from), count(limit)], |row| {
        Ok(Subtree { level, position: index(row, 0)?, hash: row.get(1)? })
    })
}

/// Keeps one checkpoint, and subtrees that are complete.
pub(super) fn store_checkpoint(
    connection: &Connection,
    checkpoint: &StoredCheckpoint,
    subtrees: &[Subtree],
) -> Result<(), Error> {
    for Subtree { level, position, hash } in subtrees {
        let sql = "INSERT OR IGNORE INTO subtrees (level, position, hash) VALUES (?, ?, ?)";
        connection.prepare_cached(sql)?.execute(params![level, bound(*position), hash])?;
    }
    let sql = "INSERT OR IGNORE INTO checkpoints (size, note, frontier) VALUES (?, ?, ?)";
    let size = i64::try_from(checkpoint.size).expect("a log has fewer than 2^63 events");
    connection.prepare_cached(sql)?.execute(params![size, checkpoint.note, checkpoint.frontier])?;
    Ok(())
}

/// One message.
pub(super) fn find(connection: &Connection, id: MessageId) -> Result<Option<MessageRecord>, Error> {
    let sql = concat!("SELECT ", record_columns!(), " FROM messages WHERE id = ?");
    first(connection, sql, [id.uuid().as_bytes()], record)
}

/// Urgencies, the most urgent first: `stat`, `asap`, `urgent`, any other priority.
const URGENCIES: std::ops::Range<u8> = 0..4;

/// Messages of one lane and one urgency that no earlier one of their order holds back. One that is damaged is not sent, and holds back none:
/// `?4` lists the positions of those that were met.
macro_rules! free {
    () => {
        "recipient = ?1 AND route = ?2 AND state IN ('accepted', 'queued') \
         AND (CASE priority WHEN 'stat' THEN 0 WHEN 'asap' THEN 1 WHEN 'urgent' THEN 2 ELSE 3 END) = ?3 \
         AND (order_key IS NULL OR NOT EXISTS (SELECT 1 FROM messages AS earlier \
         WHERE earlier.recipient = messages.recipient AND earlier.order_key = messages.order_key \
         AND earlier.position < messages.position \
         AND (earlier.state = 'accepted' OR earlier.state = 'queued' OR earlier.state = 'in-flight') \
         AND instr(?4, ' ' || earlier.position || ' ') = 0))"
    };
}

/// See [`due`].
pub(super) const DUE: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM messages WHERE ",
    free!(),
    " AND next_attempt_at <= ?5 ORDER BY next_attempt_at, position LIMIT ?6"
);

/// What was put off for longer than anything is: see [`Window`].
pub(super) const PUT_OFF: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM messages WHERE ",
    free!(),
    " AND next_attempt_at > ?5 ORDER BY next_attempt_at, position LIMIT ?6"
);

/// See [`next_due`].
pub(super) const NEXT_DUE: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM messages WHERE ",
    free!(),
    " AND next_attempt_at IS NOT NULL ORDER BY next_attempt_at LIMIT ?5"
);

/// Messages of one lane that are due and free to go, the most urgent first.
pub(super) fn due(
    connection: &Connection,
    damage: &Damage,
    (recipient, route): (&PartyId, u16),
    window: Window,
    limit: usize,
) -> Result<Vec<MessageRecord>, Error> {
    let mut found = Vec::new();
    for urgency in URGENCIES {
        for (sql, at) in [(DUE, window.now), (PUT_OFF, window.latest)] {
            let params = |limit| (recipient.as_str(), route, urgency, damage.listed(MESSAGES), millis(at), limit);
            let left = limit - found.len();
            found.extend(sound(connection, (MESSAGES, damage), (sql, params), left, record)?);
        }
    }
    Ok(found)
}

/// What comes after a place and later than `now`: the bounds of a statement.
pub(super) fn beyond(now: Instant, after: Place) -> (i64, i64) {
    let (at, position) = after.max((now, u64::MAX));
    (millis(at), bound(position))
}

/// When the next message of one lane is due that is free to go.
pub(super) fn next_due(
    connection: &Connection,
    damage: &Damage,
    (recipient, route): (&PartyId, u16),
) -> Result<Option<Instant>, Error> {
    let mut next = None;
    for urgency in URGENCIES {
        let params = |limit| (recipient.as_str(), route, urgency, damage.listed(MESSAGES), limit);
        let due = sound(connection, (MESSAGES, damage), (NEXT_DUE, params), 1, record)?;
        next = next.into_iter().chain(due.into_iter().filter_map(|record| record.next_attempt_at)).min();
    }
    Ok(next)
}

/// Puts messages that wait on a route beyond `last` on that one; how many.
pub(super) fn bring_back(connection: &Connection, recipient: &PartyId, last: u16) -> Result<usize, Error> {
    let sql = "UPDATE messages SET route = ?2 WHERE recipient = ?1 AND route > ?2 AND state IN ('accepted', 'queued') \
               AND next_attempt_at IS NOT NULL";
    Ok(connection.prepare_cached(sql)?.execute(params![recipient.as_str(), last])?)
}

/// See [`list`]. Only the conditions that the filter sets, so that an index can answer them.
pub(super) fn list_sql(filter: &Filter) -> String {
    let mut sql = concat!("SELECT ", record_columns!(), " FROM messages WHERE TRUE").to_owned();
    for (is_set, condition) in [
        (filter.state.is_some(), " AND state = ?1"),
        (filter.recipient.is_some(), " AND recipient = ?2"),
        (filter.route.is_some(), " AND route = ?3"),
        (filter.interface.is_some(), " AND interface = ?4"),
    ] {
        if is_set {
            sql.push_str(condition);
        }
    }
    sql.push_str(" ORDER BY position DESC LIMIT ?5");
    sql
}

/// Messages, the newest first.
pub(super) fn list(
    connection: &Connection,
    damage: &Damage,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<MessageRecord>, Error> {
    let Filter { state, recipient, route, interface } = filter;
    let (recipient, interface) =
        (recipient.as_ref().map(PartyId::as_str), interface.as_ref().map(InterfaceName::as_str));
    let params = |limit| (state.map(State::code), recipient, route, interface, limit);
    sound(connection, (MESSAGES, damage), (&list_sql(filter), params), limit, record)
}

/// See [`alerts_due`].
pub(super) const ALERTS_DUE: &str =
    concat!("SELECT ", record_columns!(), " FROM messages WHERE alert_at <= ?1 ORDER BY alert_at LIMIT ?2");

/// Messages that are to be looked at, the longest due first.
pub(super) fn alerts_due(
    connection: &Connection,
    damage: &Damage,
    now: Instant,
    limit: usize,
) -> Result<Vec<MessageRecord>, Error> {
    sound(connection, (MESSAGES, damage), (ALERTS_DUE, |limit| (millis(now), limit)), limit, record)
}

/// See [`accepted_later`]. Nothing is to be looked at before its time began.
pub(super) const ACCEPTED_LATER: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM messages WHERE alert_at > ?1 AND coalesce(timed_from, accepted_at) > ?1 ORDER BY alert_at LIMIT ?2"
);

/// Messages that are to be looked at and whose time began later than `now`.
pub(super) fn accepted_later(
    connection: &Connection,
    damage: &Damage,
    now: Instant,
    limit: usize,
) -> Result<Vec<MessageRecord>, Error> {
    sound(connection, (MESSAGES, damage), (ACCEPTED_LATER, |limit| (millis(now), limit)), limit, record)
}

/// Does what is to be done about a message, unless it moved on meanwhile.
pub(super) fn raise(connection: &Connection, raised: &Raised) -> Result<bool, Error> {
    let sql = "UPDATE messages SET alert_at = ?1, route = coalesce(?2, route), note = ?3, \
               next_attempt_at = CASE WHEN ?2 IS NULL THEN next_attempt_at ELSE ?4 END \
               WHERE id = ?5 AND state = ?6 AND alert_at IS ?7";
    let changed = connection.prepare_cached(sql)?.execute(params![
        raised.next.map(millis),
        raised.route,
        raised.note,
        millis(raised.at),
        raised.message.uuid().as_bytes(),
        raised.state.code(),
        raised.alert_at.map(millis),
    ])?;
    if changed == 1 {
        raised.notices.iter().try_for_each(|notice| reviews::insert_notice(connection, raised.message, notice))?;
        append(connection, &raised.event)?;
    }
    Ok(changed == 1)
}

/// How many messages stand where.
pub(super) fn counts(connection: &Connection, damage: &Damage) -> Result<Vec<Count>, Error> {
    let sql = "SELECT recipient, state, count(*), min(position) FROM messages GROUP BY state, recipient \
               ORDER BY recipient, state LIMIT ?";
    sound(connection, (MESSAGES, damage), (sql, |limit| [limit]), usize::MAX, |row| {
        Ok(Count { recipient: parsed(row, 0)?, state: parsed(row, 1)?, messages: index(row, 2)? })
    })
}

/// One sealed part of one message.
pub(super) fn content(connection: &Connection, id: MessageId, content: Content) -> Result<Option<Vec<u8>>, Error> {
    let sql = match content {
        Content::Payload => "SELECT payload FROM contents JOIN messages ON position = message WHERE id = ?",
        Content::Provenance => "SELECT provenance FROM contents JOIN messages ON position = message WHERE id = ?",
        Content::Lineage => "SELECT lineage FROM contents JOIN messages ON position = message WHERE id = ?",
        Content::Decision => "SELECT decision FROM reviews JOIN messages ON position = message WHERE id = ?",
        Content::Words => "SELECT words FROM reviews JOIN messages ON position = message WHERE id = ?",
        Content::Answer => "SELECT body FROM answers WHERE slot = ?",
        Content::Inbound => "SELECT message FROM inbound WHERE id = ?",
        Content::InboundRecord => "SELECT record FROM inbound WHERE id = ?",
    };
    Ok(first(connection, sql, [id.uuid().as_bytes()], |row| Ok(row.get(0)?))?.flatten())
}

/// Events in order.
pub(super) fn events(connection: &Connection, from: u64, limit: usize) -> Result<Vec<StoredEvent>, Error> {
    let sql = "SELECT seq, message, leaf, bytes FROM events WHERE seq >= ? ORDER BY seq LIMIT ?";
    all(connection, sql, params![bound(from), count(limit)], event)
}

/// Events about one message.
pub(super) fn events_of(connection: &Connection, id: MessageId) -> Result<Vec<StoredEvent>, Error> {
    let sql = "SELECT seq, message, leaf, bytes FROM events WHERE message = ? ORDER BY seq";
    all(connection, sql, [id.uuid().as_bytes()], event)
}

/// The first event about one message.
pub(super) fn first_event_of(connection: &Connection, id: MessageId) -> Result<Option<StoredEvent>, Error> {
    let sql = "SELECT seq, message, leaf, bytes FROM events WHERE message = ? ORDER BY seq LIMIT 1";
    first(connection, sql, [id.uuid().as_bytes()], event)
}

/// One more than the last index.
pub(super) fn event_count(connection: &Connection) -> Result<u64, Error> {
    let last = connection.query_row("SELECT max(seq) FROM events", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.map_or(0, |last| u64::try_from(last).unwrap_or(0) + 1))
}

/// Messages after a position, each with its events, in one snapshot.
pub(super) fn histories(connection: &Connection, after: u64, limit: usize) -> Result<Vec<History>, Error> {
    let sql = concat!("SELECT ", record_columns!(), " FROM messages WHERE position > ? ORDER BY position LIMIT ?");
    let snapshot = connection.unchecked_transaction()?;
    let messages = all(&snapshot, sql, params![bound(after), count(limit)], |row| Ok((index(row, 18)?, record(row)?)))?;
    let (Some((first, _)), Some((last, _))) = (messages.first(), messages.last()) else { return Ok(Vec::new()) };
    // Most messages have no review, answers or handover: those that do are asked for once.
    let among = |sql| all(&snapshot, sql, params![bound(*first), bound(*last)], |row| index(row, 0));
    let reviewed = among("SELECT message FROM reviews WHERE message BETWEEN ? AND ?")?;
    let answered = among("SELECT message FROM answers WHERE message BETWEEN ? AND ?")?;
    let handed_over = among("SELECT message FROM handovers WHERE message BETWEEN ? AND ?")?;
    let with_events = |(position, record): (u64, MessageRecord)| {
        let events = events_of(&snapshot, record.id)?;
        let review = if reviewed.contains(&position) { reviews::find(&snapshot, record.id)? } else { None };
        let answers = match answered.contains(&position) {
            true => answers::of_message(&snapshot, record.id)?,
            false => Vec::new(),
        };
        let handover = match handed_over.contains(&position) {
            true => handovers::find(&snapshot, record.id)?,
            false => None,
        };
        let steps = |found| Ok::<_, Error>((found, handovers::steps(&snapshot, record.id)?));
        let handover = handover.map(steps).transpose()?;
        Ok(History { position, record, events, review, answers, handover })
    };
    messages.into_iter().map(with_events).collect()
}

/// Those ids that no message has.
pub(super) fn absent(connection: &Connection, ids: Vec<MessageId>) -> Result<Vec<MessageId>, Error> {
    let snapshot = connection.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached("SELECT 1 FROM messages WHERE id = ?")?;
    let mut missing = Vec::new();
    for id in ids {
        if statement.query_row([id.uuid().as_bytes()], |_| Ok(())).optional()?.is_none() {
            missing.push(id);
        }
    }
    Ok(missing)
}

/// Checkpoints above a size.
pub(super) fn checkpoints(connection: &Connection, after: u64, limit: usize) -> Result<Vec<StoredCheckpoint>, Error> {
    let sql = "SELECT size, note, frontier FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?";
    all(connection, sql, params![bound(after), count(limit)], checkpoint)
}

/// The largest checkpoint.
pub(super) fn last_checkpoint(connection: &Connection) -> Result<Option<StoredCheckpoint>, Error> {
    first(connection, "SELECT size, note, frontier FROM checkpoints ORDER BY size DESC LIMIT 1", [], checkpoint)
}

pub(super) fn record(row: &Row<'_>) -> Result<MessageRecord, Error> {
    Ok(MessageRecord {
        id: MessageId::from(Uuid::from_bytes(row.get(0)?)),
        sender: parsed(row, 1)?,
        interface: parsed(row, 2)?,
        recipient: parsed(row, 3)?,
        agreement: parsed(row, 4)?,
        digest: row.get(5)?,
        state: parsed(row, 6)?,
        accepted_at: instant(row.get(7)?)?,
        updated_at: instant(row.get(8)?)?,
        attempts: row.get(9)?,
        next_attempt_at: row.get::<_, Option<i64>>(10)?.map(instant).transpose()?,
        note: row.get(11)?,
        route: row.get(12)?,
        handling: Handling {
            order_key: row.get(13)?,
            priority: row.get(14)?,
            deadline_at: row.get::<_, Option<i64>>(15)?.map(instant).transpose()?,
            alert_at: row.get::<_, Option<i64>>(16)?.map(instant).transpose()?,
            timed_from: row.get::<_, Option<i64>>(17)?.map(instant).transpose()?,
        },
    })
}

pub(super) fn event(row: &Row<'_>) -> Result<StoredEvent, Error> {
    let message = row.get::<_, Option<[u8; 16]>>(1)?.map(|bytes| MessageId::from(Uuid::from_bytes(bytes)));
    Ok(StoredEvent { seq: index(row, 0)?, event: Event { message, leaf: row.get(2)?, bytes: row.get(3)? } })
}

pub(super) fn checkpoint(row: &Row<'_>) -> Result<StoredCheckpoint, Error> {
    Ok(StoredCheckpoint { size: index(row, 0)?, note: row.get(1)?, frontier: row.get(2)? })
}

/// A value that is kept as text, in the one spelling that it is written in: statements compare texts.
pub(super) fn parsed<T: FromStr + Display>(row: &Row<'_>, column: usize) -> Result<T, Error> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    let value = text.parse().ok().filter(|value| is_spelled(value, text));
    value.ok_or_else(|| Error::Damaged(format!("column {column} of a message does not hold what it should")))
}

/// Whether a value is written like this.
fn is_spelled(value: &impl Display, text: &str) -> bool {
    struct Rest<'t>(&'t str);
    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

pub(super) fn index(row: &Row<'_>, column: usize) -> Result<u64, Error> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| Error::Damaged("a number is below 0".to_owned()))
}

pub(super) fn millis(instant: Instant) -> i64 {
    let millis = instant.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(millis).expect("the calendar ends in the year 9999")
}

pub(super) fn instant(millis: i64) -> Result<Instant, Error> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .map_err(|_| Error::Damaged("an instant lies outside the calendar".to_owned()))
}

/// As large as SQLite counts: what lies above is never reached.
pub(super) fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
