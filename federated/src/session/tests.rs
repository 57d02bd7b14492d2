use super::*;
use proptest::prelude::*;
use relay_proto::mail::BlobName;
use relay_proto::peer::Hello;
use relay_proto::transfer::{Direction, OfferResult};
use relay_proto::{BlobId, MailboxHash, PeerId, Signature};

const CAPACITY: Capacity = Capacity { free_bytes: 100, accepting: true };
const START: Duration = Duration::from_secs(1000);
const PATIENCE: Duration = Duration::from_secs(30);

fn session() -> Session {
    Session::new(PATIENCE, START)
}

fn later(seconds: u64) -> Duration {
    START + Duration::from_secs(seconds)
}

fn name(number: u8) -> BlobName {
    BlobName { mailbox: MailboxHash::from_bytes([number; 32]), blob_id: BlobId::from_bytes([number; 16]) }
}

fn hear(session: &mut Session, request: u64, body: Body) -> Result<Vec<Action>, Broken> {
    session.hear(message(request, body), true, CAPACITY, START)
}

fn recalled() -> Body {
    body::recall_ack(Vec::new(), vec![name(1)])
}

fn hello() -> Hello {
    Hello {
        version: 1,
        identity: PeerId::from_bytes([0; 32]),
        signature: Signature::from_bytes([0; 64]),
        relay_id: String::new(),
        client_url: String::new(),
        messages_per_minute: 1,
        capacity: CAPACITY,
        time: None,
        keeps_secs: 0,
        lists: true,
    }
}

#[test]
fn answers_find_their_questions_in_any_order_and_once() {
    let mut session = session();
    let (first, sent) = session.ask(body::recall(vec![name(1)]), PATIENCE).unwrap();
    let (second, _) = session.ask(body::forget(vec![name(2)]), PATIENCE).unwrap();
    assert_eq!(sent, Action::Send(message(first, body::recall(vec![name(1)])), Priority::Prompt));
    assert_eq!(session.waiting(), 2);
    let answered = hear(&mut session, second, body::forget_ack(true));
    assert_eq!(answered, Ok(vec![Action::Answered(second, Answer::Forget { done: true })]));
    assert_eq!(
        hear(&mut session, first, recalled()),
        Ok(vec![Action::Answered(first, Answer::read(recalled()).unwrap())])
    );
    assert_eq!(hear(&mut session, first, recalled()), Ok(Vec::new()), "again");
    assert_eq!(hear(&mut session, 99, recalled()), Ok(Vec::new()), "never asked");
}

#[test]
fn an_answer_of_another_kind_or_length_breaks_the_conversation() {
    let ask = |question: Body| {
        let mut session = session();
        let (number, _) = session.ask(question, PATIENCE).unwrap();
        (session, number)
    };
    for answer in [body::forget_ack(true), body::DRAIN_ACK] {
        let (mut session, number) = ask(body::recall(vec![name(1)]));
        assert_eq!(hear(&mut session, number, answer), Err(Broken));
    }
    let (mut session, number) = ask(body::offload(Direction::ToHolder, Vec::new()));
    let answer = body::offload_ack(&[OfferResult::Accepted], CAPACITY);
    assert_eq!(hear(&mut session, number, answer), Err(Broken), "a verdict too many");
}

#[test]
fn questions_are_served_and_answered_under_their_number() {
    let mut session = session();
    for (body, question) in [
        (body::recall(vec![name(1)]), Question::Recall(vec![name(1)])),
        (body::forget(vec![name(1)]), Question::Forget(vec![name(1)])),
        (
            body::offload(Direction::ToOrigin, Vec::new()),
            Question::Offload { direction: Direction::ToOrigin, blobs: Vec::new() },
        ),
    ] {
        assert_eq!(hear(&mut session, 7, body.clone()), Ok(vec![Action::Serve(7, question)]));
        assert_eq!(hear(&mut session, 0, body), Err(Broken), "nobody could be answered");
    }
    let answer = Session::answer(7, body::forget_ack(true));
    assert_eq!(answer, Action::Send(message(7, body::forget_ack(true)), Priority::Prompt));
}

#[test]
fn what_is_too_much_is_answered_without_a_look() {
    let mut session = session();
    let mut refused = |body: Body| {
        let actions = session.hear(message(5, body), false, CAPACITY, START).unwrap();
        assert_eq!(actions[0], Action::Limited);
        match actions.into_iter().nth(1) {
            Some(Action::Send(message, _)) => message.body,
            None => None,
            other => panic!("{other:?}"),
        }
    };
    let nothing = body::recall_ack(Vec::new(), Vec::new());
    assert_eq!(refused(body::recall(vec![name(1)])), Some(nothing));
    assert_eq!(refused(body::forget(vec![name(1)])), Some(body::forget_ack(false)));
    let inventory = body::inventory(None, true);
    assert_eq!(refused(inventory), Some(body::inventory_ack(None)));
    let offload = body::offload(Direction::ToHolder, Vec::new());
    assert_eq!(refused(offload), Some(body::offload_ack(&[], CAPACITY)));
    assert_eq!(refused(Body::Capacity(CAPACITY)), None);
    assert_eq!(refused(body::DRAIN), None);
}

#[test]
fn answers_are_free_and_everything_else_is_charged() {
    for (body, charged) in [
        (Body::Capacity(CAPACITY), true),
        (body::offload(Direction::ToHolder, Vec::new()), true),
        (body::recall(Vec::new()), true),
        (body::forget(Vec::new()), true),
        (body::DRAIN, true),
        (body::inventory(None, false), true),
        (body::inventory_ack(None), false),
        (Body::Hello(hello().into()), true),
        (Body::HelloAck(hello().into()), false),
        (recalled(), false),
        (body::forget_ack(true), false),
        (body::DRAIN_ACK, false),
    ] {
        assert_eq!(Session::is_charged(&message(1, body.clone())), charged, "{body:?}");
    }
    assert!(!Session::is_charged(&Message { request: 1, body: None }));
}

#[test]
fn greetings_come_first_or_never() {
    assert_eq!(hear(&mut session(), 0, Body::Hello(hello().into())), Err(Broken));
    assert_eq!(hear(&mut session(), 1, Body::HelloAck(hello().into())), Err(Broken));
}

#[test]
fn what_is_not_known_is_skipped() {
    let unknown = Message { request: 3, body: None };
    assert_eq!(session().hear(unknown, true, CAPACITY, START), Ok(Vec::new()));
}

#[test]
fn a_peer_that_leaves_says_so_and_is_answered() {
    let actions = hear(&mut session(), 4, body::DRAIN).unwrap();
    let ack = Action::Send(message(4, body::DRAIN_ACK), Priority::Prompt);
    assert_eq!(actions, [Action::Leaving, ack]);
    assert_eq!(hear(&mut session(), 0, body::DRAIN), Err(Broken));
}

#[test]
fn room_is_noted() {
    assert_eq!(hear(&mut session(), 0, Body::Capacity(CAPACITY)), Ok(vec![Action::Capacity(CAPACITY)]));
}

#[test]
fn a_question_is_given_up_in_time_and_its_late_answer_passed_over() {
    let mut session = session();
    let within = Duration::from_secs(2);
    let (number, _) = session.ask(body::recall(vec![name(1)]), within).unwrap();
    assert_eq!(session.tick(later(5)), [], "it is not on its way yet");
    session.sent(number, START);
    assert_eq!(session.tick(later(1)), []);
    assert_eq!(session.tick(later(2)), [Action::GivenUp(number)]);
    assert_eq!(session.tick(later(3)), []);
    assert_eq!(hear(&mut session, number, recalled()), Ok(Vec::new()));
    assert_eq!(session.waiting(), 0);
}

#[test]
fn a_silent_peer_is_asked_for_a_sign_and_then_given_up() {
    let mut session = session();
    assert_eq!(session.tick(later(9)), []);
    assert_eq!(session.tick(later(10)), [Action::Ping]);
    assert_eq!(session.tick(later(19)), []);
    assert_eq!(session.tick(later(20)), [Action::Ping]);
    session.alive(later(21));
    assert_eq!(session.tick(later(30)), []);
    assert_eq!(session.tick(later(31)), [Action::Ping]);
    assert_eq!(session.tick(later(51)), [Action::Silent]);
}

#[test]
fn notices_and_answers_are_no_questions() {
    for body in [Body::Capacity(CAPACITY), body::DRAIN_ACK, recalled()] {
        assert!(session().ask(body, PATIENCE).is_none());
    }
}

proptest! {
    #[test]
    fn no_order_of_messages_panics_or_grows(steps in prop::collection::vec((0_u64..4, 0_u8..11, any::<bool>()), 0..60)) {
        let mut session = session();
        for (request, kind, admitted) in steps {
            let body = match kind {
                0 => Body::Capacity(CAPACITY),
                1 => body::offload(Direction::from_home(admitted), Vec::new()),
                2 => body::offload_ack(&[], CAPACITY),
                3 => body::recall(vec![name(1)]),
                4 => recalled(),
                5 => body::forget(Vec::new()),
                6 => body::forget_ack(admitted),
                7 => body::DRAIN,
                8 => body::inventory(None, admitted),
                9 => body::inventory_ack(None),
                _ => { session.ask(body::recall(vec![name(2)]), PATIENCE); continue }
            };
            if let Ok(actions) = session.hear(message(request, body), admitted, CAPACITY, START) {
                prop_assert!(actions.len() <= 2);
            }
        }
        prop_assert!(session.waiting() <= 60);
    }
}

#[test]
fn what_nobody_wants_answered_is_not_waited_for() {
    let mut session = session();
    let (number, _) = session.ask(body::recall(vec![name(1)]), PATIENCE).unwrap();
    session.abandon(number);
    assert_eq!((session.waiting(), hear(&mut session, number, recalled())), (0, Ok(Vec::new())));
}
