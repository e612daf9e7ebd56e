//! What every [`Store`] must do, as tests over the trait. Each implementation runs them all, by [`run_suite`].

use std::sync::Arc;

use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use super::{
    Accepted, Act, Approval, Change, Channel, Collection, Completed, Content, Count, Ended, Envelope, Erasure, Error,
    Event, FIRST, Filter, Finding, Handling, Handover, HandoverCount, HandoverState, HandoverStep, HandoverTell,
    InboundCount, InboundLook, InboundTrouble, Kept, Listed, MAY_COME_BACK, MessageRecord, NewAnswer, NewInbound,
    NewMessage, NewNotice, NewReview, NoticeResult, NoticeStep, Performed, Raised, Received, ReviewCounts, ReviewStep,
    Says, State, Store, StoredCheckpoint, StoredCosignature, Subtree, Text, Transition, Window,
};
use crate::fhir::Instant;
use crate::identity::{MessageId, PartyId};

/// Runs every test of the suite on a store made by `$store`, an expression that gives an `Arc<dyn Store>` and what
/// keeps its files alive.
macro_rules! run_suite {
    ($store:expr; $($test:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let (store, _files) = $store;
            crate::storage::suite::$test(store).await;
        }
    )+};
    ($store:expr) => {
        crate::storage::suite::run_suite!($store;
            accepted_with_its_events_and_contents, a_repeat_and_a_conflict_write_nothing,
            a_change_without_its_event_is_refused, a_transition_checks_the_state_it_starts_from,
            a_failing_change_does_not_fail_its_neighbours, events_are_numbered_without_a_gap,
            due_gives_what_is_queued_and_due_the_longest_due_first, lists_and_counts_see_the_state,
            what_a_clock_that_was_ahead_put_off_is_due,
            what_is_urgent_leaves_first, messages_of_one_order_leave_one_after_the_other,
            a_message_begins_as_it_is_accepted_unless_one_of_its_order_waits, a_lane_sees_its_own_route, a_message_is_looked_at_when_its_time_has_come,
            histories_pair_a_message_with_its_events, one_checkpoint_is_kept_for_each_size,
            one_cosignature_is_kept_for_each_head_and_witness, leaves_are_read_in_order,
            a_review_is_opened_with_its_message_and_ends_once, reviews_are_listed_by_what_is_due_first,
            a_review_is_said_to_be_overdue_once, notices_to_one_place_hold_up_none_to_another, a_notice_is_due_until_it_is_delivered_once,
            an_answer_is_kept_once_with_what_it_changes, an_answer_finds_its_message_by_name,
            a_carrier_names_copies_of_a_message, a_handover_is_opened_with_the_delivery_once,
            a_handover_takes_each_step_once, handovers_are_due_and_listed_by_what_waits,
            what_a_referral_said_ends_when_nobody_needs_it,
            a_referral_is_kept_and_collected_once, a_referral_is_looked_at_until_it_is_collected,
            an_act_is_performed_once, what_a_destroyed_key_sealed_opens_no_more, what_is_still_needed_holds_its_key,
            erased_contents_are_gone_and_their_events_stay, what_was_delivered_and_not_answered_may_come_back,
            the_answer_to_an_erased_message_is_not_kept, a_person_moves_a_message_on_once, an_approval_is_kept_once_with_its_event,
        );
    };
}
pub(crate) use run_suite;

pub(crate) const NOON: Instant = datetime!(2026-01-01 12:00 UTC);

pub(crate) fn party(text: &str) -> PartyId {
    text.parse().expect("an ODS code")
}

/// The message number `number`, for the Trust `RXT01`, accepted `number` seconds after noon.
pub(crate) fn message(number: u32) -> NewMessage {
    let sender = party("DEMOP");
    let interface = "crisis-escalation".parse().expect("a name");
    NewMessage {
        id: MessageId::derive(&sender, &interface, &number.to_string()),
        sender,
        interface,
        recipient: party("RXT01"),
        agreement: "demo-trust-crisis".parse().expect("a name"),
        retention_days: 30,
        digest: [number as u8; 32],
        accepted_at: NOON + Duration::seconds(number.into()),
        payload: format!("payload {number}").into(),
        provenance: format!("provenance {number}").into(),
        lineage: format!("lineage {number}").into(),
        glossary: Arc::new(Text { digest: [number as u8 / 2; 32], bytes: format!("text {}", number / 2).into() }),
        review: None,
        handling: Handling::default(),
        names: vec![format!("Bundle-{number}"), format!("header-{number}")],
        beginning: None,
    }
}

pub(crate) fn event(message: Option<MessageId>, text: &str) -> Event {
    Event { message, bytes: text.into(), leaf: [text.len() as u8; 32] }
}

/// Accepts message `number` with one event.
pub(crate) async fn accept(store: &Arc<dyn Store>, number: u32) -> MessageId {
    let message = message(number);
    let id = message.id;
    let outcome = store.accept(message, vec![event(Some(id), "accepted")]).await;
    assert_eq!(outcome, Ok(Accepted::New));
    id
}

pub(crate) fn step(message: MessageId, from: State, to: State) -> Transition {
    let at = NOON + Duration::minutes(1);
    let event = event(Some(message), to.code());
    let note = to.code().to_owned();
    Transition {
        message,
        from,
        to,
        route: None,
        at,
        attempts: 1,
        next_attempt_at: None,
        note,
        carried_as: None,
        event,
        handover: None,
    }
}

async fn texts(store: &Arc<dyn Store>) -> Vec<(u64, String)> {
    let events = store.events(0, 100).await.expect("events are read");
    let text = |bytes| String::from_utf8(bytes).expect("the test wrote text");
    events.into_iter().map(|stored| (stored.seq, text(stored.event.bytes))).collect()
}

pub(crate) async fn accepted_with_its_events_and_contents(store: Arc<dyn Store>) {
    let new = message(1);
    let events = vec![event(Some(new.id), "accepted"), event(Some(new.id), "permitted")];
    assert_eq!(store.accept(message(1), events.clone()).await, Ok(Accepted::New));
    let record = MessageRecord {
        id: new.id,
        sender: new.sender,
        interface: new.interface,
        recipient: new.recipient,
        agreement: new.agreement,
        digest: new.digest,
        state: State::Accepted,
        accepted_at: new.accepted_at,
        updated_at: new.accepted_at,
        attempts: 0,
        next_attempt_at: Some(new.accepted_at),
        note: String::new(),
        route: 0,
        handling: Handling::default(),
    };
    assert_eq!(store.message(new.id).await, Ok(Some(record)));
    for (content, text) in
        [(Content::Payload, "payload 1"), (Content::Provenance, "provenance 1"), (Content::Lineage, "lineage 1")]
    {
        assert_eq!(store.content(new.id, content).await, Ok(Some(text.into())));
    }
    let stored: Vec<Event> =
        store.events_of(new.id).await.expect("events are read").into_iter().map(|stored| stored.event).collect();
    assert_eq!(stored, events);
    let unknown = message(2).id;
    assert_eq!(store.message(unknown).await, Ok(None));
    assert_eq!(store.content(unknown, Content::Payload).await, Ok(None));
    assert_eq!((store.text([0; 32]).await, store.text([1; 32]).await), (Ok(Some(b"text 0".to_vec())), Ok(None)));
    accept(&store, 2).await;
    accept(&store, 3).await;
    assert_eq!(store.text([1; 32]).await, Ok(Some(b"text 1".to_vec())), "what two messages share is kept once");
    let unknown = message(4).id;
    assert_eq!(store.absent(vec![new.id, unknown]).await, Ok(vec![unknown]));
}

fn answer(message: MessageId, id: &str, step: Option<Transition>) -> NewAnswer {
    NewAnswer {
        message,
        sender: party("RXT01"),
        id: id.to_owned(),
        digest: [7; 32],
        received_at: NOON,
        written_at: Some(NOON),
        says: Says { verdict: "accepted".to_owned(), code: "ok".to_owned(), ..Says::default() },
        body: b"Chantal".to_vec(),
        event: event(Some(message), "answer"),
        step,
        handover: vec![],
    }
}

pub(crate) async fn an_answer_is_kept_once_with_what_it_changes(store: Arc<dyn Store>) {
    let id = accept(&store, 1).await;
    store.transition(step(id, State::Accepted, State::Delivered)).await.expect("it is delivered");
    let taken = || answer(id, "a", Some(step(id, State::Delivered, State::Acknowledged)));
    let stale = NewAnswer { step: Some(step(id, State::Queued, State::Acknowledged)), ..taken() };
    let found = Error::Stale { message: id, expected: State::Queued, found: State::Delivered };
    assert_eq!(store.take_answer(stale).await, Err(found));
    assert_eq!(store.answers_of(id).await, Ok(vec![]), "nothing of it is kept");
    assert_eq!(store.take_answer(taken()).await, Ok(Kept::Now));
    assert_eq!(store.take_answer(taken()).await, Ok(Kept::Before));
    assert_eq!(store.take_answer(NewAnswer { digest: [8; 32], ..taken() }).await, Ok(Kept::Conflict));
    let elsewhere = NewAnswer { sender: party("RXT02"), ..answer(id, "a", None) };
    assert_eq!(store.take_answer(elsewhere).await, Ok(Kept::Now), "names of answers are their sender's");
    let unrelated = NewAnswer { event: event(None, "answer"), ..answer(id, "b", None) };
    assert_eq!(store.take_answer(unrelated).await, Err(Error::WithoutEvent(id)));
    let events: Vec<String> = texts(&store).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(events, ["accepted", "delivered", "answer", "acknowledged", "answer"]);
    let kept = store.answers_of(id).await.expect("they are read");
    assert_eq!(
        kept.iter().map(|answer| (answer.sender.as_str(), &*answer.id)).collect::<Vec<_>>(),
        [("RXT01", "a"), ("RXT02", "a")]
    );
    assert_eq!((kept[0].written_at, &*kept[0].says.verdict), (Some(NOON), "accepted"));
    assert_eq!(store.content(kept[0].slot, Content::Answer).await, Ok(Some(b"Chantal".to_vec())));
    assert_ne!(kept[0].slot, kept[1].slot);
}

pub(crate) async fn an_answer_finds_its_message_by_name(store: Arc<dyn Store>) {
    let (one, other) = (accept(&store, 1).await, accept(&store, 2).await);
    for (name, id) in [("Bundle-1", one), ("bundle-1", one), ("HEADER-2", other)] {
        let found = store.named(name).await.expect("it is read");
        assert_eq!(found.iter().map(|record| record.id).collect::<Vec<_>>(), [id], "{name}");
    }
    assert_eq!(store.named("bundle-3").await, Ok(vec![]));
    assert_eq!(store.nameless(9).await, Ok(vec![]));
    store.name(vec![(other, vec!["Bundle-3".to_owned()])]).await.expect("it is kept");
    assert_eq!(store.named("bundle-3").await.expect("it is read").len(), 1);
    assert_eq!(store.named("bundle-2").await.expect("it is read").len(), 1);
}

pub(crate) async fn a_carrier_names_copies_of_a_message(store: Arc<dyn Store>) {
    let (id, other) = (accept(&store, 1).await, accept(&store, 2).await);
    let carried = |message, from, name: &str| Transition {
        carried_as: Some(name.to_owned()),
        ..step(message, from, State::Delivered)
    };
    let stale = store.transition(carried(id, State::Queued, "none")).await;
    assert!(matches!(stale, Err(Error::Stale { .. })));
    store.transition(carried(id, State::Accepted, "one")).await.expect("it is delivered");
    store.transition(step(id, State::Delivered, State::Queued)).await.expect("it is queued");
    store.transition(carried(id, State::Queued, "two")).await.expect("it is delivered");
    store.transition(carried(other, State::Accepted, "three")).await.expect("it is delivered");
    assert_eq!(store.carrier_ids(id).await, Ok(vec!["one".to_owned(), "two".to_owned()]));
    let found = |name: &'static str| {
        let store = store.clone();
        async move { store.carried(name).await.map(|record| record.map(|record| record.id)) }
    };
    assert_eq!((found("one").await, found("three").await), (Ok(Some(id)), Ok(Some(other))));
    assert_eq!(found("none").await, Ok(None), "what was not written is not known");
}

pub(crate) fn waiting(number: i64) -> Handover {
    Handover {
        state: HandoverState::Waiting,
        since: NOON,
        opened_at: NOON,
        near_at: NOON + Duration::minutes(number),
        due_at: NOON + Duration::minutes(2 * number),
        contact_within: std::time::Duration::from_secs(60),
        contact_due_at: None,
        contacted_at: None,
        alert_at: Some(NOON + Duration::minutes(number)),
        tell: None,
    }
}

pub(crate) fn hand(message: MessageId, before: Option<Handover>, after: Handover) -> HandoverStep {
    let event = event(Some(message), after.state.code());
    let (at, is_step) = (NOON, before.as_ref().is_none_or(|before| before.state != after.state));
    HandoverStep { message, at, before, after, is_step, answer: None, notices: vec![notice(9)], event }
}

pub(crate) async fn a_handover_is_opened_with_the_delivery_once(store: Arc<dyn Store>) {
    let id = accept(&store, 1).await;
    assert_eq!((store.handover(id).await, store.handover_steps(id).await), (Ok(None), Ok(vec![])));
    let delivered = Transition {
        handover: Some(Box::new(hand(id, None, waiting(1)))),
        ..step(id, State::Accepted, State::Delivered)
    };
    store.transition(delivered).await.expect("it is delivered");
    let record = store.handover(id).await.expect("it is read").expect("it is open");
    assert_eq!((record.message, &record.handover), (id, &waiting(1)));
    assert_eq!(store.step_handover(hand(id, None, waiting(5))).await, Ok(false), "not twice");
    let steps = store.handover_steps(id).await.expect("they are read");
    assert_eq!(steps.iter().map(|step| (step.state, step.event)).collect::<Vec<_>>(), [(HandoverState::Waiting, 2)]);
    let of_another = Transition {
        handover: Some(Box::new(hand(message(2).id, None, waiting(1)))),
        ..step(id, State::Delivered, State::Acknowledged)
    };
    assert_eq!(store.transition(of_another).await, Err(Error::WithoutEvent(id)));
    let history = store.histories(0, 9).await.expect("they are read").pop().expect("there is one");
    assert_eq!(history.handover, Some((record, steps)));
}

pub(crate) async fn a_handover_takes_each_step_once(store: Arc<dyn Store>) {
    let id = accept(&store, 1).await;
    store.transition(step(id, State::Accepted, State::Delivered)).await.expect("it is delivered");
    assert_eq!(store.step_handover(hand(id, None, waiting(1))).await, Ok(true));
    let due = Some(NOON + Duration::minutes(9));
    let accepted = Handover { state: HandoverState::Accepted, contact_due_at: due, alert_at: due, ..waiting(1) };
    let taken = || hand(id, Some(waiting(1)), accepted.clone());
    let taking = || NewAnswer { handover: vec![taken()], ..answer(id, "a", None) };
    assert_eq!(store.take_answer(taking()).await, Ok(Kept::Now));
    assert_eq!(store.handover(id).await.map(|it| it.map(|it| it.handover)), Ok(Some(accepted.clone())));
    let stale = NewAnswer { handover: vec![taken()], ..answer(id, "b", None) };
    assert!(matches!(store.take_answer(stale).await, Err(Error::Stale { .. })));
    assert_eq!(store.answers_of(id).await.map(|answers| answers.len()), Ok(1), "nothing of it is kept");
    assert_eq!(store.step_handover(taken()).await, Ok(false));
    let told = Handover { tell: Some(HandoverTell::Conflict), ..accepted.clone() };
    assert_eq!(store.step_handover(hand(id, Some(accepted), told)).await, Ok(true));
    let before = store.handover(id).await.expect("it is read").expect("it is there").handover;
    for tell in HandoverTell::ALL {
        let told = Handover { tell: Some(*tell), ..before.clone() };
        assert_eq!(store.step_handover(hand(id, Some(before.clone()), told.clone())).await, Ok(true), "{tell}");
        let later = NOON + Duration::minutes(1);
        let anew = Handover { opened_at: later, near_at: later, due_at: later, ..before.clone() };
        assert_eq!(store.step_handover(hand(id, Some(told), anew.clone())).await, Ok(true));
        assert_eq!(
            store.handover(id).await.map(|it| it.map(|it| it.handover)),
            Ok(Some(anew.clone())),
            "its times too"
        );
        assert_eq!(store.step_handover(hand(id, Some(anew), before.clone())).await, Ok(true));
    }
    let states: Vec<_> = store.handover_steps(id).await.expect("they are read").iter().map(|step| step.state).collect();
    assert_eq!(states, [HandoverState::Waiting, HandoverState::Accepted], "that people are told is no step");
    assert_eq!(store.notices_of(id).await.map(|notices| notices.len()), Ok(1));
}

pub(crate) async fn handovers_are_due_and_listed_by_what_waits(store: Arc<dyn Store>) {
    for number in [3, 2, 1] {
        let id = accept(&store, number).await;
        assert_eq!(store.step_handover(hand(id, None, waiting(number.into()))).await, Ok(true));
    }
    let due = |minutes| store.handovers_due(NOON + Duration::minutes(minutes), 9);
    let ids = |found: Result<Vec<super::HandoverRecord>, Error>| -> Vec<MessageId> {
        found.expect("they are read").iter().map(|record| record.message).collect()
    };
    let of = |number| message(number).id;
    assert_eq!((ids(due(0).await), ids(due(2).await)), (vec![], vec![of(1), of(2)]));
    let rejected =
        Handover { state: HandoverState::Rejected, alert_at: None, tell: Some(HandoverTell::Rejected), ..waiting(3) };
    assert_eq!(store.step_handover(hand(of(3), Some(waiting(3)), rejected)).await, Ok(true));
    assert_eq!(ids(due(0).await), [of(3)], "at once");
    let before = NOON - Duration::hours(1);
    let [(place, first)] = &store.handovers_later(before, FIRST, 1).await.expect("they are read")[..] else { panic!() };
    let [(_, second)] = &store.handovers_later(before, *place, 9).await.expect("they are read")[..] else { panic!() };
    assert_eq!([first.message, second.message], [of(1), of(2)]);
    assert_eq!(store.handovers_later(NOON, FIRST, 9).await, Ok(vec![]));
    assert_eq!(ids(store.handovers(None, 9).await), [of(1), of(2), of(3)]);
    assert_eq!(ids(store.handovers(Some(HandoverState::Rejected), 9).await), [of(3)]);
    let count = |state, handovers| HandoverCount { interface: message(1).interface, state, handovers };
    let counts = vec![count(HandoverState::Rejected, 1), count(HandoverState::Waiting, 2)];
    assert_eq!(store.handover_counts().await, Ok(counts));
}

pub(crate) async fn a_repeat_and_a_conflict_write_nothing(store: Arc<dyn Store>) {
    let id = accept(&store, 1).await;
    store.transition(step(id, State::Accepted, State::InFlight)).await.expect("it is sent");
    let known = store.message(id).await.expect("it is read").expect("it is there");
    let again = store.accept(message(1), vec![event(Some(id), "again")]).await;
    assert_eq!(again, Ok(Accepted::Repeated(Box::new(known.clone()))));
    let other = NewMessage { digest: [9; 32], payload: b"other".to_vec(), ..message(1) };
    assert_eq!(store.accept(other, vec![event(Some(id), "other")]).await, Ok(Accepted::Conflict));
    assert_eq!(store.message(id).await, Ok(Some(known)));
    assert_eq!(store.content(id, Content::Payload).await, Ok(Some(b"payload 1".to_vec())));
    assert_eq!(texts(&store).await, [(0, "accepted".to_owned()), (1, "in-flight".to_owned())]);
}

pub(crate) async fn a_change_without_its_event_is_refused(store: Arc<dyn Store>) {
    let id = message(1).id;
    let elsewhere = event(Some(message(2).id), "accepted");
    for events in [vec![], vec![event(None, "accepted")], vec![elsewhere.clone()]] {
        assert_eq!(store.accept(message(1), events).await, Err(Error::WithoutEvent(id)));
    }
    accept(&store, 1).await;
    let step = Transition { event: elsewhere, ..step(id, State::Accepted, State::InFlight) };
    assert_eq!(store.transition(step).await, Err(Error::WithoutEvent(id)));
    assert_eq!(store.event_count().await, Ok(1));
}

pub(crate) async fn a_transition_checks_the_state_it_starts_from(store: Arc<dyn Store>) {
    let id = accept(&store, 1).await;
    let later = NOON + Duration::HOUR;
    let to_flight = Transition { next_attempt_at: Some(later), ..step(id, State::Accepted, State::InFlight) };
    assert_eq!(store.transition(to_flight.clone()).await, Ok(()));
    let stale = Error::Stale { message: id, expected: State::Accepted, found: State::InFlight };
    assert_eq!(store.transition(to_flight).await, Err(stale));
    let unknown = message(2).id;
    let to_nowhere = step(unknown, State::Accepted, State::InFlight);
    assert_eq!(store.transition(to_nowhere).await, Err(Error::UnknownMessage(unknown)));
    let record = store.message(id).await.expect("it is read").expect("it is there");
    assert_eq!((record.state, record.attempts, &*record.note), (State::InFlight, 1, "in-flight"));
    assert_eq!((record.updated_at, record.next_attempt_at), (NOON + Duration::minutes(1), Some(later)));
    assert_eq!(store.event_count().await, Ok(2), "a refused transition leaves no event");
}

pub(crate) async fn a_failing_change_does_not_fail_its_neighbours(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for number in 0..60 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let id = message(number).id;
            if number % 3 == 0 {
                let refused = store.transition(step(id, State::Dead, State::Queued)).await;
                assert_eq!(refused, Err(Error::UnknownMessage(id)));
            } else {
                accept(&store, number).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("the task ends well");
    }
    assert_eq!(store.event_count().await, Ok(40));
    let listed = store.messages(Filter::default(), 100).await.expect("they are listed");
    assert_eq!(listed.len(), 40);
}

pub(crate) async fn events_are_numbered_without_a_gap(store: Arc<dyn Store>) {
    assert_eq!(store.event_count().await, Ok(0));
    for text in ["started", "refused"] {
        store.append(event(None, text)).await.expect("it is written");
    }
    let id = accept(&store, 1).await;
    assert_eq!(store.append(event(Some(id), "read")).await, Ok(3));
    let expected = ["started", "refused", "accepted", "read"];
    let expected: Vec<(u64, String)> = (0..).zip(expected.map(str::to_owned)).collect();
    assert_eq!(texts(&store).await, expected);
    let page = store.events(1, 2).await.expect("events are read");
    assert_eq!(page.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(page[0].event, event(None, "refused"));
    assert_eq!(page[1].event.message, Some(id));
    assert_eq!(store.event_count().await, Ok(4));
}

pub(crate) async fn due_gives_what_is_queued_and_due_the_longest_due_first(store: Arc<dyn Store>) {
    let trust = party("RXT01");
    let (third, second, first) = (accept(&store, 3).await, accept(&store, 2).await, accept(&store, 1).await);
    let now = NOON + Duration::seconds(2);
    let due = store.due(&trust, 0, at(now), 10).await.expect("they are read");
    let ids: Vec<MessageId> = due.iter().map(|due| due.id).collect();
    assert_eq!(ids, [first, second], "{third} is not due yet");
    assert_eq!(store.due(&trust, 0, at(now), 1).await.expect("they are read").len(), 1);
    assert_eq!(store.due(&party("X26"), 0, at(now), 10).await, Ok(vec![]));
    assert_eq!(store.next_due(&party("X26"), 0).await, Ok(None));

    store.transition(step(first, State::Accepted, State::InFlight)).await.expect("it is sent");
    assert_eq!(store.next_due(&trust, 0).await, Ok(Some(now)));
    let retry = Transition { next_attempt_at: Some(NOON), ..step(first, State::InFlight, State::Queued) };
    store.transition(retry).await.expect("it is queued again");
    assert_eq!(store.next_due(&trust, 0).await, Ok(Some(NOON)));
    store.transition(step(first, State::Queued, State::Dead)).await.expect("it is given up");
    let due = store.due(&trust, 0, at(NOON + Duration::HOUR), 10).await.expect("they are read");
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [second, third]);
}

/// What is due at `now` where everything is tried at least once a day.
pub(crate) fn at(now: Instant) -> Window {
    Window::new(now, std::time::Duration::from_secs(86_400))
}

pub(crate) async fn what_a_clock_that_was_ahead_put_off_is_due(store: Arc<dyn Store>) {
    let (trust, ahead) = (party("RXT01"), NOON + Duration::days(2));
    let handling = Handling { alert_at: Some(ahead + Duration::HOUR), ..Handling::default() };
    let early = NewMessage { accepted_at: ahead, handling, ..message(1) };
    let (early, late) = (store_new(&store, early).await, accept(&store, 2).await);
    let ids = async |now| -> Vec<MessageId> {
        store.due(&trust, 0, at(now), 10).await.expect("they are read").iter().map(|due| due.id).collect()
    };
    assert_eq!(ids(NOON + Duration::MINUTE).await, [late, early]);
    assert_eq!(ids(ahead - Duration::HOUR).await, [late], "its time comes within the day");
    store.transition(step(early, State::Accepted, State::InFlight)).await.expect("it is sent");
    assert_eq!(ids(NOON + Duration::MINUTE).await, [late]);

    let later = async |now| store.accepted_later(now, 10).await.expect("they are read").len();
    assert_eq!((later(NOON).await, later(ahead).await), (1, 0), "that without a deadline is not looked at");

    let id = accept_with_review(&store, 3, 72).await;
    complete(&store, end(id, Finding::NotJustified, vec![notice(1)])).await.expect("it ends");
    let again = NoticeResult::Again(ahead);
    let again = NoticeStep { id: Uuid::from_u128(1), attempts: 1, result: again, note: "no".to_owned() };
    store.step_notice(again).await.expect("it is noted");
    let notices = async |now| store.notices_due(at(now), 10).await.expect("they are read").len();
    assert_eq!((notices(NOON).await, notices(ahead - Duration::HOUR).await, notices(ahead).await), (1, 0, 1));
}

async fn store_new(store: &Arc<dyn Store>, new: NewMessage) -> MessageId {
    let id = new.id;
    assert_eq!(store.accept(new, vec![event(Some(id), "accepted")]).await, Ok(Accepted::New));
    id
}

pub(crate) async fn what_is_urgent_leaves_first(store: Arc<dyn Store>) {
    let mut expected = Vec::new();
    for (number, priority) in
        (1..).zip([Some("routine"), None, Some("urgent"), Some("asap"), Some("stat"), Some("stat")])
    {
        let handling = Handling { priority: priority.map(str::to_owned), ..Handling::default() };
        let new = NewMessage { handling, ..message(number) };
        expected.push(new.id);
        let event = event(Some(new.id), "accepted");
        store.accept(new, vec![event]).await.expect("it is accepted");
    }
    let order = [4, 5, 3, 2, 0, 1].map(|index: usize| expected[index]);
    let due = async |limit| {
        let due = store.due(&party("RXT01"), 0, at(NOON + Duration::HOUR), limit).await.expect("they are read");
        due.into_iter().map(|due| due.id).collect::<Vec<_>>()
    };
    assert_eq!(due(10).await, order);
    assert_eq!(due(3).await, order[..3]);
    assert_eq!(store.next_due(&party("RXT01"), 0).await, Ok(Some(NOON + Duration::SECOND)), "the next of all of them");
}

/// Accepts message `number` that keeps its order with others of `key`.
async fn accept_in_order(store: &Arc<dyn Store>, number: u32, key: &str) -> MessageId {
    let handling = Handling { order_key: Some(key.to_owned()), ..Handling::default() };
    let message = NewMessage { handling, ..message(number) };
    let id = message.id;
    assert_eq!(store.accept(message, vec![event(Some(id), "accepted")]).await, Ok(Accepted::New));
    id
}

pub(crate) async fn messages_of_one_order_leave_one_after_the_other(store: Arc<dyn Store>) {
    let trust = party("RXT01");
    let (one, two) = (accept_in_order(&store, 1, "a").await, accept_in_order(&store, 2, "a").await);
    let (other, free) = (accept_in_order(&store, 3, "b").await, accept(&store, 4).await);
    let later = NOON + Duration::HOUR;
    let due = async |now| {
        let due = store.due(&trust, 0, at(now), 10).await.expect("they are read");
        due.into_iter().map(|due| due.id).collect::<Vec<_>>()
    };
    assert_eq!(due(later).await, [one, other, free], "the second of one order waits");
    store.transition(step(one, State::Accepted, State::InFlight)).await.expect("it is sent");
    assert_eq!(due(later).await, [other, free], "also while the first is under way");
    let retry = Transition { next_attempt_at: Some(later), ..step(one, State::InFlight, State::Queued) };
    store.transition(retry).await.expect("it is queued again");
    assert_eq!(due(NOON + Duration::MINUTE).await, [other, free], "and while it waits for its next attempt");
    for (id, to) in [(other, State::Cancelled), (free, State::Cancelled)] {
        store.transition(step(id, State::Accepted, to)).await.expect("it is cancelled");
    }
    assert_eq!(store.next_due(&trust, 0).await, Ok(Some(later)), "nothing else is due before");
    store.transition(step(one, State::Queued, State::Dead)).await.expect("it is given up");
    assert_eq!(due(later).await, [two], "one that is dead holds up nobody");
}

pub(crate) async fn a_message_begins_as_it_is_accepted_unless_one_of_its_order_waits(store: Arc<dyn Store>) {
    let accept = async |number: u32, key: Option<&str>| {
        let handling = Handling { order_key: key.map(str::to_owned), ..Handling::default() };
        let new = NewMessage { handling, ..message(number) };
        let (id, step) = (new.id, step(new.id, State::Accepted, State::InFlight));
        let new = NewMessage { beginning: Some(Box::new(step)), ..new };
        (id, store.accept(new, vec![event(Some(id), "accepted")]).await)
    };
    let ((free, begun), (one, first), (two, waits)) =
        (accept(1, None).await, accept(2, Some("a")).await, accept(3, Some("a")).await);
    assert_eq!([begun, first, waits], [Ok(Accepted::Begun), Ok(Accepted::Begun), Ok(Accepted::New)]);
    let told = async |id| {
        let record = store.message(id).await.expect("it is read").expect("it is there");
        let events = store.events_of(id).await.expect("they are read");
        let events: Vec<Vec<u8>> = events.into_iter().map(|stored| stored.event.bytes).collect();
        (record.state, record.attempts, record.next_attempt_at, record.note, events.concat())
    };
    let begun = |note: &str| (State::InFlight, 1, None, note.to_owned(), b"acceptedin-flight".to_vec());
    assert_eq!(told(free).await, begun("in-flight"));
    assert_eq!(told(one).await, begun("in-flight"));
    let accepted_at = NOON + Duration::seconds(3);
    assert_eq!(told(two).await, (State::Accepted, 0, Some(accepted_at), String::new(), b"accepted".to_vec()));
    let (again, repeated) = accept(1, None).await;
    assert!(
        matches!(repeated, Ok(Accepted::Repeated(record)) if (record.id, record.state) == (again, State::InFlight))
    );
    assert_eq!(store.event_count().await, Ok(5), "a repeat begins nothing");
    store.transition(step(free, State::InFlight, State::Acknowledged)).await.expect("it goes on as any other");
    let of_another = Some(Box::new(step(two, State::Accepted, State::InFlight)));
    let new = NewMessage { beginning: of_another, ..message(4) };
    let (id, events) = (new.id, vec![event(Some(new.id), "accepted")]);
    assert_eq!(store.accept(new, events).await, Err(Error::WithoutEvent(id)));
}

pub(crate) async fn a_lane_sees_its_own_route(store: Arc<dyn Store>) {
    let (trust, later) = (party("RXT01"), NOON + Duration::HOUR);
    let id = accept(&store, 1).await;
    assert_eq!(store.due(&trust, 1, at(later), 10).await, Ok(vec![]));
    assert_eq!(store.next_due(&trust, 1).await, Ok(None));
    assert_eq!(store.bring_back(&trust, 0).await, Ok(0));
    let elsewhere = Transition { route: Some(1), ..step(id, State::Accepted, State::InFlight) };
    let stale = Error::Stale { message: id, expected: State::Accepted, found: State::Accepted };
    assert_eq!(store.transition(elsewhere).await, Err(stale), "a lane begins nothing that was moved to another");
    let on_route = |route| Filter { route: Some(route), ..Filter::default() };
    assert_eq!(store.messages(on_route(1), 10).await, Ok(vec![]));
    assert_eq!(store.messages(on_route(0), 10).await.map(|found| found[0].id), Ok(id));
}

pub(crate) async fn a_message_is_looked_at_when_its_time_has_come(store: Arc<dyn Store>) {
    let (soon, late) = (NOON + Duration::minutes(2), NOON + Duration::minutes(4));
    let handling = Handling { deadline_at: Some(late), alert_at: Some(soon), ..Handling::default() };
    let new = NewMessage { handling, ..message(1) };
    let (id, trust) = (new.id, new.recipient.clone());
    store.accept(new, vec![event(Some(id), "accepted")]).await.expect("it is accepted");
    accept(&store, 2).await;
    assert_eq!(store.alerts_due(soon - Duration::SECOND, 10).await, Ok(vec![]));
    let [record] = &store.alerts_due(soon, 10).await.expect("they are read")[..] else { panic!("one has a deadline") };
    let raised = Raised {
        message: id,
        state: record.state,
        alert_at: record.handling.alert_at,
        at: soon,
        next: Some(late),
        route: Some(1),
        note: "moved".to_owned(),
        notices: vec![notice(1)],
        event: event(Some(id), "alarm"),
    };
    let elsewhere = Raised { event: event(None, "alarm"), ..raised.clone() };
    assert_eq!(store.raise(elsewhere).await, Err(Error::WithoutEvent(id)));
    assert_eq!(store.raise(raised.clone()).await, Ok(true));
    assert_eq!(store.raise(raised).await, Ok(false), "it was done");
    assert_eq!(store.alerts_due(soon, 10).await, Ok(vec![]));
    let due = store.due(&trust, 1, at(soon), 10).await.expect("they are read");
    assert_eq!(due.iter().map(|due| (due.id, due.route)).collect::<Vec<_>>(), [(id, 1)]);
    assert_eq!((store.notices_of(id).await.expect("they are read").len(), &*due[0].note), (1, "moved"));

    // A message that ends badly is looked at at once, one that is taken up again after half of its time, and one that ends well never.
    let half = |from: Instant| from + (late - message(1).accepted_at) / 2;
    let alert_at = async || store.message(id).await.expect("it is read").expect("it is there").handling.alert_at;
    store.transition(step(id, State::Accepted, State::InFlight)).await.expect("it is sent");
    assert_eq!(alert_at().await, Some(late));
    store.transition(step(id, State::InFlight, State::Dead)).await.expect("it is given up");
    assert_eq!(alert_at().await, Some(NOON + Duration::MINUTE));
    store.transition(step(id, State::Dead, State::Queued)).await.expect("it is taken up");
    assert_eq!(alert_at().await, Some(half(message(1).accepted_at)));
    store.transition(step(id, State::Queued, State::InFlight)).await.expect("it is sent");
    store.transition(step(id, State::InFlight, State::Acknowledged)).await.expect("it arrives");
    assert_eq!(alert_at().await, None);

    // One that had arrived and is sent again has its whole time anew, however often.
    for again in [NOON + Duration::minutes(20), NOON + Duration::minutes(40)] {
        let resend = Transition { at: again, ..step(id, State::Acknowledged, State::Queued) };
        store.transition(resend).await.expect("it is sent again");
        assert_eq!(alert_at().await, Some(half(again)), "its deadline is over, and nobody missed it");
        let handling = store.message(id).await.expect("it is read").expect("it is there").handling;
        assert_eq!((handling.timed_from, handling.deadline_at), (Some(again), Some(late)));
        store.transition(step(id, State::Queued, State::Acknowledged)).await.expect("it arrives");
    }
    assert_eq!(store.bring_back(&trust, 0).await, Ok(0), "what does not wait stays");
}

pub(crate) async fn lists_and_counts_see_the_state(store: Arc<dyn Store>) {
    let (one, two) = (accept(&store, 1).await, accept(&store, 2).await);
    store.transition(step(one, State::Accepted, State::InFlight)).await.expect("it is sent");
    let list = async |filter| {
        let found = store.messages(filter, 10).await.expect("they are listed");
        found.iter().map(|record| record.id).collect::<Vec<_>>()
    };
    assert_eq!(list(Filter::default()).await, [two, one]);
    assert_eq!(list(Filter { state: Some(State::InFlight), ..Filter::default() }).await, [one]);
    assert_eq!(list(Filter { recipient: Some(party("X26")), ..Filter::default() }).await, []);
    let count = |state| Count { recipient: party("RXT01"), state, messages: 1 };
    assert_eq!(store.counts().await, Ok(vec![count(State::Accepted), count(State::InFlight)]));
}

pub(crate) async fn histories_pair_a_message_with_its_events(store: Arc<dyn Store>) {
    let (one, two) = (accept(&store, 1).await, accept(&store, 2).await);
    store.transition(step(one, State::Accepted, State::Dead)).await.expect("it is given up");
    let all = store.histories(0, 10).await.expect("they are read");
    assert_eq!(all.iter().map(|each| each.record.id).collect::<Vec<_>>(), [one, two]);
    assert_eq!(all[0].events.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(all[0].record.state, State::Dead);
    let rest = store.histories(all[0].position, 10).await.expect("they are read");
    assert_eq!(rest.iter().map(|each| each.record.id).collect::<Vec<_>>(), [two]);
}

pub(crate) async fn one_checkpoint_is_kept_for_each_size(store: Arc<dyn Store>) {
    let checkpoint = |size, note: &str| StoredCheckpoint { size, note: note.into(), frontier: vec![size as u8; 32] };
    assert_eq!(store.last_checkpoint().await, Ok(None));
    let subtree = |position, byte| Subtree { level: 1, position, hash: [byte; 32] };
    let second = Subtree { level: 2, ..subtree(0, 9) };
    for (size, note, subtrees) in
        [(1, "a", vec![]), (3, "b", vec![subtree(0, 1), subtree(1, 2)]), (3, "c", vec![subtree(1, 3), second])]
    {
        store.store_checkpoint(checkpoint(size, note), subtrees).await.expect("it is kept");
    }
    assert_eq!(store.checkpoints(0, 10).await, Ok(vec![checkpoint(1, "a"), checkpoint(3, "b")]));
    assert_eq!(store.checkpoints(1, 10).await, Ok(vec![checkpoint(3, "b")]));
    assert_eq!(store.last_checkpoint().await, Ok(Some(checkpoint(3, "b"))));
    assert_eq!(store.subtrees(1, 0, 10).await, Ok(vec![subtree(0, 1), subtree(1, 2)]), "the first stays");
    assert_eq!(store.subtrees(1, 1, 10).await, Ok(vec![subtree(1, 2)]));
    assert_eq!(store.subtrees(2, 0, 1).await, Ok(vec![second]));
}

pub(crate) async fn one_cosignature_is_kept_for_each_head_and_witness(store: Arc<dyn Store>) {
    let cosignature = |size, witness: &str, line: &str| StoredCosignature {
        size,
        witness: witness.to_owned(),
        line: line.to_owned(),
        received_at: NOON,
    };
    let checkpoint = |size| StoredCheckpoint { size, note: b"n".to_vec(), frontier: vec![] };
    assert!(store.store_cosignature(cosignature(1, "a", "x")).await.is_err(), "no such head is kept");
    assert_eq!((store.last_cosigned().await, store.cosignature_count().await), (Ok(None), Ok(0)));
    for size in [1, 3, 7] {
        store.store_checkpoint(checkpoint(size), vec![]).await.expect("it is kept");
    }
    for (size, witness, line) in [(3, "b", "3b"), (1, "a", "1a"), (3, "a", "3a"), (3, "b", "another")] {
        store.store_cosignature(cosignature(size, witness, line)).await.expect("it is kept");
    }
    let all = vec![cosignature(1, "a", "1a"), cosignature(3, "a", "3a"), cosignature(3, "b", "3b")];
    assert_eq!(store.cosignatures((0, String::new()), 9).await.as_ref(), Ok(&all));
    assert_eq!(store.cosignatures((1, "a".to_owned()), 1).await, Ok(all[1..2].to_vec()));
    assert_eq!(store.cosignatures((3, "a".to_owned()), 9).await, Ok(all[2..].to_vec()));
    assert_eq!(store.cosignatures_of(3).await, Ok(all[1..].to_vec()));
    assert_eq!(store.cosignatures_of(7).await, Ok(vec![]));
    assert_eq!(store.last_cosignature("a").await, Ok(Some(all[1].clone())));
    assert_eq!(store.last_cosignature("c").await, Ok(None));
    assert_eq!(store.last_cosigned().await, Ok(Some(checkpoint(3))));
    assert_eq!(store.cosignature_count().await, Ok(3));
}

pub(crate) async fn leaves_are_read_in_order(store: Arc<dyn Store>) {
    for text in ["a", "bb", "ccc", "dddd"] {
        store.append(event(None, text)).await.expect("it is written");
    }
    assert_eq!(store.leaves(1, 2).await, Ok(vec![[2; 32], [3; 32]]));
    assert_eq!(store.leaves(3, 256).await, Ok(vec![[4; 32]]));
    assert_eq!(store.leaves(4, 1).await, Ok(vec![]));
}

/// Accepts message `number`, sent without consent, whose review is due `hours` after noon.
async fn accept_with_review(store: &Arc<dyn Store>, number: u32, hours: i64) -> MessageId {
    let review = NewReview {
        reviewer: "safeguarding_lead".to_owned(),
        purpose: "BTG".to_owned(),
        basis: "safeguarding".to_owned(),
        due_at: NOON + Duration::hours(hours),
        decision: format!("decision {number}").into(),
    };
    let message = NewMessage { review: Some(review), ..message(number) };
    let id = message.id;
    let events = vec![event(Some(id), "accepted"), event(Some(id), "review opened")];
    assert_eq!(store.accept(message, events).await, Ok(Accepted::New));
    id
}

fn end(message: MessageId, finding: Finding, notices: Vec<NewNotice>) -> ReviewStep {
    let completed = Completed { at: NOON + Duration::HOUR, by: "sue".to_owned(), finding };
    ReviewStep { message, completed, words: b"words".to_vec(), notices }
}

/// Ends a review, with the event `done` about its message.
async fn complete(store: &Arc<dyn Store>, step: ReviewStep) -> Result<Performed, Error> {
    let (at, event) = (step.completed.at, event(Some(step.message), "done"));
    store.perform(Act { id: Uuid::new_v4(), at, change: Change::Review(Box::new(step)), event }).await
}

fn notice(number: u128) -> NewNotice {
    NewNotice {
        id: Uuid::from_u128(number),
        channel: Channel::Webhook,
        target: "https://incidents.example/".to_owned(),
        body: "{}".to_owned(),
        at: NOON + Duration::HOUR,
    }
}

pub(crate) async fn a_review_is_opened_with_its_message_and_ends_once(store: Arc<dyn Store>) {
    let plain = accept(&store, 1).await;
    assert_eq!(store.review(plain).await, Ok(None));
    assert_eq!(complete(&store, end(plain, Finding::Justified, vec![])).await, Err(Error::UnknownReview(plain)));
    let id = accept_with_review(&store, 2, 72).await;
    let open = store.review(id).await.expect("it is read").expect("it is there");
    assert_eq!((open.message, &*open.purpose, &*open.basis), (id, "BTG", "safeguarding"));
    assert_eq!((open.opened_at, open.due_at), (NOON + Duration::seconds(2), NOON + Duration::hours(72)));
    assert_eq!((open.overdue_at, &open.completed), (None, &None));
    assert_eq!(store.content(id, Content::Decision).await, Ok(Some(b"decision 2".to_vec())));
    assert_eq!(store.content(id, Content::Words).await, Ok(None));
    assert_eq!(store.content(plain, Content::Decision).await, Ok(None));

    let change = Change::Review(Box::new(end(id, Finding::Justified, vec![])));
    let elsewhere = Act { id: Uuid::new_v4(), at: NOON, change, event: event(Some(plain), "done") };
    assert_eq!(store.perform(elsewhere).await, Err(Error::WithoutEvent(id)));
    let step = end(id, Finding::NotJustified, vec![notice(1)]);
    assert_eq!(complete(&store, step.clone()).await, Ok(Performed::Now));
    let closed = store.review(id).await.expect("it is read").expect("it is there");
    assert_eq!(closed.completed, Some(step.completed.clone()));
    assert_eq!(store.content(id, Content::Words).await, Ok(Some(b"words".to_vec())));
    let again = end(id, Finding::Justified, vec![notice(2)]);
    assert_eq!(complete(&store, again).await, Err(Error::ReviewClosed(id)));
    assert_eq!(store.notices_of(id).await.expect("they are read").len(), 1, "a refused step leaves no notice");
    let written: Vec<String> = texts(&store).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(written, ["accepted", "accepted", "review opened", "done"], "nor an event");
}

pub(crate) async fn reviews_are_listed_by_what_is_due_first(store: Arc<dyn Store>) {
    let (late, soon) = (accept_with_review(&store, 1, 9).await, accept_with_review(&store, 2, 3).await);
    let done = accept_with_review(&store, 3, 1).await;
    complete(&store, end(done, Finding::JustifiedWithLearning, vec![])).await.expect("it ends");
    let list = async |open_only, limit| {
        let found = store.reviews(open_only, limit).await.expect("they are listed");
        found.iter().map(|review| review.message).collect::<Vec<_>>()
    };
    assert_eq!(list(false, 10).await, [soon, late, done]);
    assert_eq!(list(true, 10).await, [soon, late]);
    assert_eq!(list(false, 1).await, [soon]);
    let counts = store.review_counts(NOON + Duration::hours(4)).await;
    assert_eq!(counts, Ok(ReviewCounts { open: 1, overdue: 1, completed: 1, notices_waiting: 0 }));
}

pub(crate) async fn a_review_is_said_to_be_overdue_once(store: Arc<dyn Store>) {
    let (one, two) = (accept_with_review(&store, 1, 1).await, accept_with_review(&store, 2, 2).await);
    assert_eq!(store.next_review_due().await, Ok(Some(NOON + Duration::HOUR)));
    assert_eq!(store.newly_overdue(NOON + Duration::HOUR, 10).await, Ok(vec![]), "the deadline itself is in time");
    let now = NOON + Duration::minutes(90);
    let found = store.newly_overdue(now, 10).await.expect("they are read");
    assert_eq!(found.iter().map(|review| review.message).collect::<Vec<_>>(), [one]);
    assert_eq!(store.mark_overdue(two, now, event(Some(two), "overdue")).await, Ok(false), "it is not");
    assert_eq!(store.mark_overdue(one, now, event(Some(two), "overdue")).await, Err(Error::WithoutEvent(one)));
    assert_eq!(store.mark_overdue(one, now, event(Some(one), "overdue")).await, Ok(true));
    assert_eq!(store.mark_overdue(one, now, event(Some(one), "overdue")).await, Ok(false));
    assert_eq!(store.newly_overdue(now, 10).await, Ok(vec![]));
    assert_eq!(store.next_review_due().await, Ok(Some(NOON + Duration::hours(2))));
    let review = store.review(one).await.expect("it is read").expect("it is there");
    assert_eq!((review.overdue_at, review.standing(now)), (Some(now), "overdue"));
    complete(&store, end(two, Finding::Justified, vec![])).await.expect("it ends");
    let late = NOON + Duration::hours(3);
    assert_eq!(store.mark_overdue(two, late, event(Some(two), "overdue")).await, Ok(false), "it ended in time");
    let said = texts(&store).await.into_iter().filter(|(_, text)| text == "overdue").count();
    assert_eq!(said, 1);
}

pub(crate) async fn notices_to_one_place_hold_up_none_to_another(store: Arc<dyn Store>) {
    let id = accept_with_review(&store, 1, 72).await;
    let other = NewNotice { target: "https://other.example/".to_owned(), ..notice(4) };
    let file = |number| NewNotice { channel: Channel::Spool, target: format!("{number}.json"), ..notice(number) };
    let notices = vec![notice(1), notice(2), notice(3), other.clone(), file(5), file(6), file(7)];
    complete(&store, end(id, Finding::NotJustified, notices)).await.expect("it ends");
    let due = async |limit| {
        let due = store.notices_due(at(NOON + Duration::HOUR), limit).await.expect("they are read");
        due.into_iter().map(|due| due.notice).collect::<Vec<_>>()
    };
    assert_eq!(due(2).await, [notice(1), notice(2), other, file(5), file(6)]);
    assert_eq!(due(9).await.len(), 7);
}

pub(crate) async fn a_notice_is_due_until_it_is_delivered_once(store: Arc<dyn Store>) {
    let id = accept_with_review(&store, 1, 72).await;
    assert_eq!(store.next_notice().await, Ok(None));
    complete(&store, end(id, Finding::NotJustified, vec![notice(1), notice(2)])).await.expect("it ends");
    let made = NOON + Duration::HOUR;
    assert_eq!(store.next_notice().await, Ok(Some(made)));
    assert_eq!(store.notices_due(at(NOON), 10).await, Ok(vec![]));
    let due = store.notices_due(at(made), 10).await.expect("they are read");
    assert_eq!(due.iter().map(|due| due.notice.clone()).collect::<Vec<_>>(), [notice(1), notice(2)]);
    assert_eq!(due[0].message, id);
    assert_eq!(store.notices_due(at(made), 1).await.map(|due| due.len()), Ok(1), "so many to one place");

    let step = |number, result| NoticeStep { id: Uuid::from_u128(number), attempts: 1, result, note: "no".to_owned() };
    let later = made + Duration::MINUTE;
    store.step_notice(step(1, NoticeResult::Again(later))).await.expect("it is noted");
    let delivered = || NoticeResult::Delivered(made, event(Some(id), "told"));
    for _ in 0..2 {
        store.step_notice(step(2, delivered())).await.expect("it is noted");
    }
    store.step_notice(step(2, NoticeResult::Again(made))).await.expect("it changes nothing");
    assert_eq!(store.notices_due(at(made), 10).await, Ok(vec![]));
    let due = store.notices_due(at(later), 10).await.expect("they are read");
    assert_eq!(due.iter().map(|due| (due.notice.id, due.attempts)).collect::<Vec<_>>(), [(Uuid::from_u128(1), 1)]);
    assert_eq!(store.notices_of(id).await.expect("they are read")[1].delivered_at, Some(made));
    let told = texts(&store).await.into_iter().filter(|(_, text)| text == "told").count();
    assert_eq!(told, 1, "a delivery that is noted twice is audited once");
}

pub(crate) async fn an_act_is_performed_once(store: Arc<dyn Store>) {
    let act = |id, text| Act { id: Uuid::from_u128(id), at: NOON, change: Change::Nothing, event: event(None, text) };
    assert_eq!(store.perform(act(1, "looked")).await, Ok(Performed::Now));
    assert_eq!(store.perform(act(1, "looked")).await, Ok(Performed::Before));
    assert_eq!(store.perform(act(2, "looked again")).await, Ok(Performed::Now));
    assert_eq!(texts(&store).await, [(0, "looked".to_owned()), (1, "looked again".to_owned())]);
}

pub(crate) async fn a_person_moves_a_message_on_once(store: Arc<dyn Store>) {
    let id = accept(&store, 1).await;
    let act = |number, step: Transition| {
        let event = step.event.clone();
        Act { id: Uuid::from_u128(number), at: NOON, change: Change::Message(Box::new(step)), event }
    };
    let cancel = || step(id, State::Accepted, State::Cancelled);
    let other = Act { event: event(Some(id), "another"), ..act(1, cancel()) };
    assert_eq!(store.perform(other).await, Err(Error::WithoutEvent(id)));
    assert_eq!(store.perform(act(1, cancel())).await, Ok(Performed::Now));
    assert_eq!(store.perform(act(1, cancel())).await, Ok(Performed::Before));
    let stale = Error::Stale { message: id, expected: State::Accepted, found: State::Cancelled };
    assert_eq!(store.perform(act(2, cancel())).await, Err(stale));
    let record = store.message(id).await.expect("it is read").expect("it is there");
    assert_eq!((record.state, record.next_attempt_at), (State::Cancelled, None));
    assert_eq!(texts(&store).await.len(), 2, "one event for one step");
}

pub(crate) async fn an_approval_is_kept_once_with_its_event(store: Arc<dyn Store>) {
    let approval = |version: &str, role: &str, by: &str, hours| Approval {
        agreement: "demo-trust-crisis".parse().expect("an id"),
        version: version.to_owned(),
        file: [7; 32],
        role: role.to_owned(),
        by: by.parse().expect("an id"),
        at: NOON + Duration::hours(hours),
    };
    let act = |id, approval: Approval| Act {
        id: Uuid::from_u128(id),
        at: NOON,
        change: Change::Approve(approval),
        event: event(None, "approved"),
    };
    assert_eq!(store.approvals().await, Ok(vec![]));
    let (first, second) = (approval("1", "siro", "demo-siro", 0), approval("1", "ig-lead", "demo-ig-lead", 1));
    assert_eq!(store.perform(act(1, first.clone())).await, Ok(Performed::Now));
    assert_eq!(store.perform(act(1, approval("2", "siro", "demo-siro", 0))).await, Ok(Performed::Before));
    assert_eq!(store.perform(act(2, second.clone())).await, Ok(Performed::Now));
    let again = approval("1", "siro", "demo-siro", 2);
    assert_eq!(store.perform(act(3, again)).await, Ok(Performed::Now), "another act of the same kind");
    assert_eq!(store.approvals().await, Ok(vec![first, second]));
    assert_eq!(texts(&store).await.len(), 3, "each act has its event");
}

/// The only envelope whose retention has ended at `now`.
async fn ended(store: &Arc<dyn Store>, now: Instant) -> Ended {
    let [ended] = &store.ended_envelopes(now, 0, 9).await.expect("they are read")[..] else { panic!("there is one") };
    ended.clone()
}

pub(crate) async fn what_a_destroyed_key_sealed_opens_no_more(store: Arc<dyn Store>) {
    let (one, two) = (accept(&store, 1).await, accept(&store, 2).await);
    let late = NewMessage { accepted_at: NOON + Duration::days(1), ..message(3) };
    let three = late.id;
    store.accept(late, vec![event(Some(three), "accepted")]).await.expect("it is accepted");
    for id in [one, two] {
        store.transition(step(id, State::Accepted, State::Dead)).await.expect("it is given up");
    }
    let end = datetime!(2026-02-01 0:00 UTC);
    assert_eq!(store.ended_envelopes(end - Duration::milliseconds(1), 0, 9).await, Ok(vec![]), "30 whole days");
    let Ended { envelope, messages, undelivered, held } = ended(&store, end).await;
    assert_eq!((messages, undelivered, held), (2, 2, 0));
    assert_eq!((&*envelope.agreement.to_string(), envelope.ends()), ("demo-trust-crisis", end));

    let destroyed = || store.destroy_envelope(envelope.number, end, event(None, "destroyed"));
    assert_eq!(destroyed().await, Ok(true));
    assert_eq!(destroyed().await, Ok(false), "once");
    let gone = |content| store.contents(vec![(one, content), (two, content), (three, content)]);
    for (content, kept) in [(Content::Payload, "payload 3"), (Content::Lineage, "lineage 3")] {
        assert_eq!(gone(content).await, Ok(vec![Ok(None), Ok(None), Ok(Some(kept.as_bytes().to_vec()))]));
    }
    let account = store.content(one, Content::Provenance).await;
    assert_eq!(account, Ok(Some(b"provenance 1".to_vec())), "the account of what was disclosed stays");
    assert_eq!(texts(&store).await.last(), Some(&(5, "destroyed".to_owned())));
    assert_eq!((store.clear_destroyed(1).await, store.clear_destroyed(9).await), (Ok(1), Ok(1)));
    assert_eq!(store.clear_destroyed(9).await, Ok(0));
    let days = |list: &[Envelope]| list.iter().map(|each| (each.number, each.destroyed_at)).collect::<Vec<_>>();
    let list = store.envelopes(0, 9).await.expect("they are read");
    assert_eq!(days(&list), [(1, Some(end)), (2, None)]);
    assert_eq!(store.envelopes(1, 9).await.expect("they are read"), list[1..]);

    // A clock that was ahead destroyed the key of a day that is not over.
    let four = accept(&store, 4).await;
    assert_eq!(store.content(four, Content::Payload).await, Ok(Some(b"payload 4".to_vec())));
}

pub(crate) async fn what_is_still_needed_holds_its_key(store: Arc<dyn Store>) {
    let waits = accept(&store, 1).await;
    let reviewed = accept_with_review(&store, 2, 72).await;
    store.transition(step(reviewed, State::Accepted, State::Acknowledged)).await.expect("it arrived");
    let later = NOON + Duration::days(99);
    let destroyed = || store.destroy_envelope(1, later, event(None, "destroyed"));
    let needed = |message, state| Err(Error::Needed { message, state });
    let erase = |message| {
        let erasures = vec![Erasure { message, event: event(Some(message), "erased") }];
        let id = Uuid::new_v4();
        store.perform(Act { id, at: later, change: Change::Erase(erasures), event: event(None, "ordered") })
    };
    assert_eq!(ended(&store, later).await.held, 2);
    assert_eq!(destroyed().await, Ok(false));
    assert_eq!(erase(waits).await, needed(waits, State::Accepted));
    store.transition(step(waits, State::Accepted, State::Cancelled)).await.expect("it is cancelled");
    assert_eq!(ended(&store, later).await.held, 1);
    assert_eq!(destroyed().await, Ok(false));
    assert_eq!(erase(reviewed).await, needed(reviewed, State::Acknowledged));
    let before = store.event_count().await;
    complete(&store, end(reviewed, Finding::Justified, vec![])).await.expect("it ends");
    assert_eq!(store.event_count().await, before.map(|count| count + 1), "nothing else was written");
    assert_eq!(store.content(reviewed, Content::Words).await.map(|words| words.is_some()), Ok(true));
    assert_eq!(destroyed().await, Ok(true));
    for content in [Content::Payload, Content::Decision] {
        assert_eq!(store.content(reviewed, content).await, Ok(None), "{content:?}");
    }
}

pub(crate) async fn what_was_delivered_and_not_answered_may_come_back(store: Arc<dyn Store>) {
    let id = accept(&store, 1).await;
    store.transition(step(id, State::Accepted, State::Delivered)).await.expect("its partner has it");
    let delivered = step(id, State::Accepted, State::Delivered).at;
    let erase = |at| {
        let erasures = vec![Erasure { message: id, event: event(Some(id), "erased") }];
        store.perform(Act { id: Uuid::new_v4(), at, change: Change::Erase(erasures), event: event(None, "ordered") })
    };
    let soon = delivered + MAY_COME_BACK - Duration::seconds(1);
    assert_eq!(erase(soon).await, Err(Error::Needed { message: id, state: State::Delivered }));
    assert_eq!(store.destroy_envelope(1, soon, event(None, "destroyed")).await, Ok(false));
    assert_eq!(store.content(id, Content::Payload).await, Ok(Some(b"payload 1".to_vec())));
    assert_eq!(erase(delivered + MAY_COME_BACK).await, Ok(Performed::Now));
    assert_eq!(store.content(id, Content::Payload).await, Ok(None));
}

pub(crate) async fn the_answer_to_an_erased_message_is_not_kept(store: Arc<dyn Store>) {
    let id = accept(&store, 1).await;
    store.transition(step(id, State::Accepted, State::Acknowledged)).await.expect("it arrived");
    let early = answer(id, "a", None);
    let slots = [early.slot(), answer(id, "b", None).slot()];
    store.take_answer(early).await.expect("it is kept");
    assert_eq!(store.content(slots[0], Content::Answer).await.map(|body| body.is_some()), Ok(true));
    let erasures = vec![Erasure { message: id, event: event(Some(id), "erased") }];
    let act = Act { id: Uuid::new_v4(), at: NOON, change: Change::Erase(erasures), event: event(None, "ordered") };
    assert_eq!(store.perform(act).await, Ok(Performed::Now));
    assert_eq!(store.take_answer(answer(id, "b", None)).await, Ok(Kept::Now), "that it came is kept");
    let bodies = store.contents(slots.map(|slot| (slot, Content::Answer)).into()).await;
    assert_eq!(bodies, Ok(vec![Ok(None), Ok(None)]));
    assert_eq!(store.answers_of(id).await.map(|answers| answers.len()), Ok(2));
}

pub(crate) async fn erased_contents_are_gone_and_their_events_stay(store: Arc<dyn Store>) {
    let (one, two) = (accept(&store, 1).await, accept(&store, 2).await);
    for id in [one, two] {
        store.transition(step(id, State::Accepted, State::Acknowledged)).await.expect("it arrived");
    }
    let erasures = vec![Erasure { message: one, event: event(Some(one), "erased") }];
    let (id, at) = (Uuid::new_v4(), NOON + Duration::days(2));
    let act = Act { id, at, change: Change::Erase(erasures), event: event(None, "ordered") };
    assert_eq!(store.perform(act.clone()).await, Ok(Performed::Now));
    assert_eq!(store.perform(act).await, Ok(Performed::Before));
    for content in [Content::Payload, Content::Lineage] {
        assert_eq!(store.content(one, content).await, Ok(None));
        assert_eq!(store.content(two, content).await.map(|kept| kept.is_some()), Ok(true), "another's is kept");
    }
    assert_eq!(store.content(one, Content::Provenance).await, Ok(Some(b"provenance 1".to_vec())));
    let mut said = texts(&store).await.split_off(4);
    said.sort_unstable();
    assert_eq!(said, [(4, "erased".to_owned()), (5, "ordered".to_owned())]);
    let wrong = vec![Erasure { message: one, event: event(None, "erased") }];
    let act = Act { id: Uuid::new_v4(), at, change: Change::Erase(wrong), event: event(None, "ordered") };
    assert_eq!(store.perform(act).await, Err(Error::WithoutEvent(one)));
}

/// Referral number `number` of the Trust `RXT01`, which came so many minutes after noon; it is nearly due an hour later, and due two.
pub(crate) fn referral(number: u32) -> NewInbound {
    let received_at = NOON + Duration::minutes(number.into());
    NewInbound {
        sender: party("RXT01"),
        bundle: Uuid::from_u128(number.into()),
        interface: "referral-in".parse().expect("a name"),
        retention_days: 30,
        digest: [number as u8; 32],
        priority: Some("urgent".to_owned()),
        received_at,
        near_at: received_at + Duration::HOUR,
        due_at: received_at + Duration::hours(2),
        message: format!("referral {number}").into(),
        record: format!("record {number}").into(),
        event: event(None, "received"),
    }
}

/// Keeps referral `number`.
pub(crate) async fn receive(store: &Arc<dyn Store>, number: u32) -> MessageId {
    let kept = store.receive(referral(number)).await.expect("it is kept");
    let Received::Now(kept) = kept else { panic!("it is new: {kept:?}") };
    kept.id
}

fn collection(id: MessageId) -> Collection {
    let by = "demo-records".parse().expect("an id");
    Collection { id, at: NOON + Duration::DAY, by, event: event(None, "collected") }
}

pub(crate) async fn a_referral_is_kept_and_collected_once(store: Arc<dyn Store>) {
    store.append(event(None, "before")).await.expect("it is written");
    let (one, two) = (receive(&store, 1).await, receive(&store, 2).await);
    let found = store.inbound(one).await.expect("it is read").expect("it is there");
    assert_eq!((found.event, found.due_at), (Some(1), Some(referral(1).due_at)));
    assert_eq!(store.receive(referral(1)).await, Ok(Received::Before(Box::new(found))));
    assert_eq!(store.receive(NewInbound { digest: [9; 32], ..referral(1) }).await, Ok(Received::Conflict));
    for (content, text) in [(Content::Inbound, "referral 1"), (Content::InboundRecord, "record 1")] {
        assert_eq!(store.content(one, content).await, Ok(Some(text.into())));
    }
    let ids = async |listed| {
        let found = store.inbounds(listed, 9).await.expect("they are listed");
        found.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!((ids(Listed::Waiting).await, ids(Listed::All).await), (vec![one, two], vec![two, one]));
    assert_eq!(store.collect_inbound(collection(one)).await, Ok(true));
    assert_eq!(store.collect_inbound(collection(one)).await, Ok(false));
    assert_eq!((ids(Listed::Waiting).await, ids(Listed::Before(two)).await), (vec![two], vec![one]));
    let unknown = MessageId::from(Uuid::from_u128(77));
    assert_eq!(store.collect_inbound(collection(unknown)).await, Err(Error::UnknownMessage(unknown)));
    let said: Vec<String> = texts(&store).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["before", "received", "received", "collected"]);
}

pub(crate) async fn a_referral_is_looked_at_until_it_is_collected(store: Arc<dyn Store>) {
    let (one, two) = (receive(&store, 1).await, receive(&store, 2).await);
    let later = |at, after, limit| store.inbound_later(at, after, limit);
    let ids = async |due: bool, at| {
        let found = match due {
            true => store.inbound_due(at, 9).await,
            false => later(at, FIRST, 9).await.map(|all| all.into_iter().map(|(_, record)| record).collect()),
        };
        found.expect("they are read").iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let (near, due) = (referral(1).near_at, referral(1).due_at);
    assert_eq!(ids(true, near - Duration::SECOND).await, []);
    assert_eq!(ids(true, near + Duration::MINUTE).await, [one, two]);
    assert_eq!(ids(false, NOON).await, [one, two], "the clock was set back");
    let [(place, first)] = &later(NOON, FIRST, 1).await.expect("they are read")[..] else { panic!("a page of one") };
    let [(_, second)] = &later(NOON, *place, 9).await.expect("they are read")[..] else { panic!("the other one") };
    assert_eq!([first.id, second.id], [one, two]);
    assert_eq!(ids(false, near).await, []);
    let told = |trouble, number| {
        let notices = vec![NewNotice { id: Uuid::from_u128(number), ..notice(9) }];
        Some((trouble, notices, event(None, "alarm")))
    };
    let look = |before, next, told| InboundLook { id: one, before: Some(before), due_at: due, next, told };
    let first = look(near, Some(due), told(InboundTrouble::NearDue, 1));
    assert_eq!(store.look_at_inbound(first.clone()).await, Ok(true));
    assert_eq!(store.look_at_inbound(first).await, Ok(false), "once");
    assert_eq!(store.notices_of(one).await.map(|notices| notices.len()), Ok(1));
    assert_eq!(ids(true, near + Duration::MINUTE).await, [two]);
    assert_eq!(store.look_at_inbound(look(due, Some(due + Duration::MINUTE), None)).await, Ok(true));
    let found = store.inbound(one).await.expect("it is read").expect("it is there");
    assert_eq!((found.told, found.alert_at), (Some(InboundTrouble::NearDue), Some(due + Duration::MINUTE)));
    let count = |waiting, overdue, oldest| InboundCount {
        interface: referral(1).interface,
        priority: referral(1).priority,
        waiting,
        overdue,
        oldest,
    };
    assert_eq!(store.inbound_counts(due).await, Ok(vec![count(2, 1, referral(1).received_at)]));
    assert_eq!(store.collect_inbound(collection(one)).await, Ok(true));
    let late = look(due + Duration::MINUTE, None, told(InboundTrouble::Overdue, 2));
    assert_eq!(store.look_at_inbound(late).await, Ok(false), "it was collected meanwhile");
    assert_eq!(ids(true, NOON + Duration::DAY).await, [two]);
    assert_eq!(store.inbound_counts(NOON).await, Ok(vec![count(1, 0, referral(2).received_at)]));
    let delivered = |text| NoticeResult::Delivered(NOON, event(None, text));
    let step = |result| NoticeStep { id: Uuid::from_u128(1), attempts: 1, result, note: String::new() };
    assert_eq!(store.step_notice(step(delivered("reported"))).await, Ok(()));
    let said: Vec<String> = texts(&store).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["received", "received", "alarm", "collected", "reported"]);
}

pub(crate) async fn what_a_referral_said_ends_when_nobody_needs_it(store: Arc<dyn Store>) {
    let (one, two) = (receive(&store, 1).await, receive(&store, 2).await);
    let later = NOON + Duration::days(99);
    let erase = |id, of| {
        let erasures = vec![Erasure { message: id, event: event(of, "erased") }];
        let change = Change::Erase(erasures);
        store.perform(Act { id: Uuid::new_v4(), at: later, change, event: event(None, "ordered") })
    };
    let contents = async |id| {
        let parts = [Content::Inbound, Content::InboundRecord].map(|part| (id, part));
        let opened = store.contents(parts.into()).await.expect("they are read");
        opened.into_iter().map(|part| part.expect("it opens").is_some()).collect::<Vec<_>>()
    };
    assert_eq!(erase(one, None).await, Err(Error::Uncollected(one)));
    assert_eq!((ended(&store, later).await.messages, ended(&store, later).await.held), (2, 2));
    assert_eq!(store.destroy_envelope(1, later, event(None, "destroyed")).await, Ok(false), "both wait");
    assert_eq!(store.collect_inbound(collection(one)).await, Ok(true));
    assert_eq!(erase(one, Some(one)).await, Err(Error::WithoutEvent(one)), "it is filed under no message");
    assert_eq!(erase(one, None).await, Ok(Performed::Now));
    assert_eq!((contents(one).await, contents(two).await), (vec![false, false], vec![true, true]));
    let kept = store.inbound(one).await.expect("it is read").expect("its row stays");
    assert_eq!(store.receive(referral(1)).await, Ok(Received::Before(Box::new(kept))), "a repeat keeps nothing");
    assert_eq!(contents(one).await, [false, false]);
    assert_eq!((ended(&store, later).await.messages, ended(&store, later).await.held), (1, 1));
    assert_eq!(store.collect_inbound(collection(two)).await, Ok(true));
    assert_eq!(store.destroy_envelope(1, later, event(None, "destroyed")).await, Ok(true));
    assert_eq!(contents(two).await, [false, false]);
}
