use super::*;
use proptest::prelude::*;
use relay_proto::peer::Hello;
use relay_proto::{BlobId, MailboxHash, PeerId, Signature};

const ROOM: Room = Room { free_bytes: 100, accepting: true };
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
    session.hear(Message::new(request, body), true, ROOM, START)
}

fn recalled() -> Body {
    Body::RecallAck { blobs: Vec::new(), missing: vec![name(1)] }
}

fn hello() -> Hello {
    Hello {
        version: 1,
        identity: PeerId::from_bytes([0; 32]),
        signature: Signature::from_bytes([0; 64]),
        relay_id: String::new(),
        client_url: String::new(),
        messages_per_minute: 1,
        room: ROOM,
        time: None,
        keeps_secs: 0,
        lists: true,
    }
}

#[test]
fn answers_find_their_questions_in_any_order_and_once() {
    let mut session = session();
    let (first, sent) = session.ask(Body::Recall(vec![name(1)]), PATIENCE).unwrap();
    let (second, _) = session.ask(Body::Forget(vec![name(2)]), PATIENCE).unwrap();
    assert_eq!(sent, Action::Send(Message::new(first, Body::Recall(vec![name(1)])), Urgency::Prompt));
    assert_eq!(session.waiting(), 2);
    let answered = hear(&mut session, second, Body::ForgetAck(true));
    assert_eq!(answered, Ok(vec![Action::Answered(second, Body::ForgetAck(true))]));
    assert_eq!(hear(&mut session, first, recalled()), Ok(vec![Action::Answered(first, recalled())]));
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
    for answer in [Body::ForgetAck(true), Body::DrainAck] {
        let (mut session, number) = ask(Body::Recall(vec![name(1)]));
        assert_eq!(hear(&mut session, number, answer), Err(Broken));
    }
    let (mut session, number) = ask(Body::Offload { home: false, blobs: Vec::new() });
    let answer = Body::OffloadAck { verdicts: vec![Verdict::Accepted], room: ROOM };
    assert_eq!(hear(&mut session, number, answer), Err(Broken), "a verdict too many");
}

#[test]
fn questions_are_served_and_answered_under_their_number() {
    let mut session = session();
    for (body, question) in [
        (Body::Recall(vec![name(1)]), Question::Recall(vec![name(1)])),
        (Body::Forget(vec![name(1)]), Question::Forget(vec![name(1)])),
        (
            Body::Offload { home: true, blobs: Vec::new() },
            Question::Offload { direction: Direction::ToOrigin, blobs: Vec::new() },
        ),
    ] {
        assert_eq!(hear(&mut session, 7, body.clone()), Ok(vec![Action::Serve(7, question)]));
        assert_eq!(hear(&mut session, 0, body), Err(Broken), "nobody could be answered");
    }
    let answer = Session::answer(7, Body::ForgetAck(true));
    assert_eq!(answer, Action::Send(Message::new(7, Body::ForgetAck(true)), Urgency::Prompt));
}

#[test]
fn what_is_too_much_is_answered_without_a_look() {
    let mut session = session();
    let mut refused = |body: Body| {
        let actions = session.hear(Message::new(5, body), false, ROOM, START).unwrap();
        assert_eq!(actions[0], Action::Limited);
        match actions.into_iter().nth(1) {
            Some(Action::Send(message, _)) => message.body,
            None => None,
            other => panic!("{other:?}"),
        }
    };
    let nothing = Body::RecallAck { blobs: Vec::new(), missing: Vec::new() };
    assert_eq!(refused(Body::Recall(vec![name(1)])), Some(nothing));
    assert_eq!(refused(Body::Forget(vec![name(1)])), Some(Body::ForgetAck(false)));
    let inventory = Body::Inventory { after: None, names: true };
    assert_eq!(refused(inventory), Some(Body::InventoryAck(None)));
    let offload = Body::Offload { home: false, blobs: Vec::new() };
    assert_eq!(refused(offload), Some(Body::OffloadAck { verdicts: Vec::new(), room: ROOM }));
    assert_eq!(refused(Body::Capacity(ROOM)), None);
    assert_eq!(refused(Body::Drain), None);
}

#[test]
fn answers_are_free_and_everything_else_is_charged() {
    for (body, charged) in [
        (Body::Capacity(ROOM), true),
        (Body::Offload { home: false, blobs: Vec::new() }, true),
        (Body::Recall(Vec::new()), true),
        (Body::Forget(Vec::new()), true),
        (Body::Drain, true),
        (Body::Inventory { after: None, names: false }, true),
        (Body::InventoryAck(None), false),
        (Body::Hello(hello()), true),
        (Body::HelloAck(hello()), false),
        (recalled(), false),
        (Body::ForgetAck(true), false),
        (Body::DrainAck, false),
    ] {
        assert_eq!(Session::is_charged(&Message::new(1, body.clone())), charged, "{body:?}");
    }
    assert!(!Session::is_charged(&Message { request: 1, body: None }));
}

#[test]
fn greetings_come_first_or_never() {
    assert_eq!(hear(&mut session(), 0, Body::Hello(hello())), Err(Broken));
    assert_eq!(hear(&mut session(), 1, Body::HelloAck(hello())), Err(Broken));
}

#[test]
fn what_is_not_known_is_skipped() {
    let unknown = Message { request: 3, body: None };
    assert_eq!(session().hear(unknown, true, ROOM, START), Ok(Vec::new()));
}

#[test]
fn a_peer_that_leaves_says_so_and_is_answered() {
    let actions = hear(&mut session(), 4, Body::Drain).unwrap();
    let ack = Action::Send(Message::new(4, Body::DrainAck), Urgency::Prompt);
    assert_eq!(actions, [Action::Leaving, ack]);
    assert_eq!(hear(&mut session(), 0, Body::Drain), Err(Broken));
}

#[test]
fn room_is_noted() {
    assert_eq!(hear(&mut session(), 0, Body::Capacity(ROOM)), Ok(vec![Action::Room(ROOM)]));
}

#[test]
fn a_question_is_given_up_in_time_and_its_late_answer_passed_over() {
    let mut session = session();
    let within = Duration::from_secs(2);
    let (number, _) = session.ask(Body::Recall(vec![name(1)]), within).unwrap();
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
    for body in [Body::Capacity(ROOM), Body::DrainAck, recalled()] {
        assert!(session().ask(body, PATIENCE).is_none());
    }
}

proptest! {
    #[test]
    fn no_order_of_messages_panics_or_grows(steps in prop::collection::vec((0_u64..4, 0_u8..11, any::<bool>()), 0..60)) {
        let mut session = session();
        for (request, kind, admitted) in steps {
            let body = match kind {
                0 => Body::Capacity(ROOM),
                1 => Body::Offload { home: admitted, blobs: Vec::new() },
                2 => Body::OffloadAck { verdicts: Vec::new(), room: ROOM },
                3 => Body::Recall(vec![name(1)]),
                4 => recalled(),
                5 => Body::Forget(Vec::new()),
                6 => Body::ForgetAck(admitted),
                7 => Body::Drain,
                8 => Body::Inventory { after: None, names: admitted },
                9 => Body::InventoryAck(None),
                _ => { session.ask(Body::Recall(vec![name(2)]), PATIENCE); continue }
            };
            if let Ok(actions) = session.hear(Message::new(request, body), admitted, ROOM, START) {
                prop_assert!(actions.len() <= 2);
            }
        }
        prop_assert!(session.waiting() <= 60);
    }
}

#[test]
fn what_nobody_wants_answered_is_not_waited_for() {
    let mut session = session();
    let (number, _) = session.ask(Body::Recall(vec![name(1)]), PATIENCE).unwrap();
    session.abandon(number);
    assert_eq!((session.waiting(), hear(&mut session, number, recalled())), (0, Ok(Vec::new())));
}
