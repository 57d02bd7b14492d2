//! Both roles, over sockets.

use crate::peer::channel::Receiver;
use crate::peer::message::{Body, ForgetAck, Message, Names};
use crate::peer::{Channel, Closed, Dialled, Listening, Misdeed, Oddity, Options, PeerKeys};

struct Pair {
    dialled: Channel,
    accepted: Channel,
}

impl Pair {
    async fn make() -> Self {
        let mut listening = Listening::start(PeerKeys::generate()).await;
        let keys = PeerKeys::generate();
        let options = Options::default();
        let dial = Dialled::connect(listening.address(), &keys, &options);
        let (dialled, accepted) = tokio::join!(dial, listening.accept());
        Self { dialled, accepted }
    }

    /// One side, and the other.
    fn each(&mut self) -> [(&mut Channel, &mut Channel); 1] {
        [(&mut self.dialled, &mut self.accepted)]
    }
}

async fn violation(receiver: &mut Receiver) -> Closed {
    loop {
        if let Err(closed) = receiver.message().await {
            return closed;
        }
    }
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let (relay, peer) = (PeerKeys::generate(), PeerKeys::generate());
    let mut listening = Listening::start(relay.clone()).await;
    let options = Options::room(77, false);
    let dial = Dialled::connect(listening.address(), &peer, &options);
    let (dialled, accepted) = tokio::join!(dial, listening.accept());
    assert_eq!(dialled.relay.identity, relay.identity());
    assert_eq!(accepted.relay.identity, peer.identity());
    let capacity = accepted.relay.about.capacity.unwrap();
    assert_eq!((capacity.free_bytes, capacity.accepting), (77, false));
    assert_eq!(listening.shown(|shown| (shown.keys_asked, shown.upgrades_asked)), (1, 1));
}

#[tokio::test]
async fn a_message_larger_than_a_frame_arrives_whole() {
    let mut pair = Pair::make().await;
    let large = vec![0xC3; 20_971_520];
    let (sender, receiver) = (&mut pair.dialled.sender, &mut pair.accepted.receiver);
    let (bytes, ()) = tokio::join!(receiver.bytes(), sender.bytes(&large));
    assert!(bytes == Ok(large));
}

#[tokio::test]
async fn a_close_is_in_order_and_a_cut_is_not() {
    let mut pair = Pair::make().await;
    pair.dialled.close(4).await;
    assert_eq!(pair.accepted.closed_with().await, Closed::STOPPING);
    assert_eq!(pair.accepted.closed_with().await, Closed::STOPPING, "it ends once");
    let mut pair = Pair::make().await;
    pair.dialled.cut().await;
    assert_eq!(pair.accepted.closed_with().await, Closed::Cut);
}

#[tokio::test]
async fn every_misdeed_breaks_a_rule_in_either_role() {
    // What names more than a message may hold is more than a socket takes in, too: relays are tested with it.
    for misdeed in Misdeed::ALL.into_iter().filter(|misdeed| !Misdeed::INFLATED.contains(misdeed)) {
        for turned in [false, true] {
            let mut pair = Pair::make().await;
            if turned {
                std::mem::swap(&mut pair.dialled, &mut pair.accepted);
            }
            let [(from, to)] = pair.each();
            misdeed.commit(from).await;
            let closed = crate::deadline::soon("a violation", violation(&mut to.receiver)).await;
            assert!(matches!(closed, Closed::Violation(_)), "{misdeed:?}: {closed:?}");
        }
    }
}

#[tokio::test]
async fn no_oddity_breaks_a_rule() {
    for oddity in Oddity::ALL {
        let mut pair = Pair::make().await;
        oddity.show(&mut pair.dialled).await;
        pair.dialled.close(0).await;
        let end = loop {
            if let Err(closed) = pair.accepted.receiver.bytes().await {
                break closed;
            }
        };
        assert_eq!(end, Closed::DONE, "{oddity:?}");
    }
}

#[tokio::test]
async fn no_wrong_initiator_becomes_a_channel() {
    let mut listening = Listening::start(PeerKeys::generate()).await;
    let key = listening.keys().noise_public;
    let other = Options { relay_key: Some(PeerKeys::generate().noise_public), ..Options::default() };
    for (name, options) in Options::wrong().into_iter().chain([("a wrong responder key", other)]) {
        let options = Options { relay_key: options.relay_key.or(Some(key)), ..options };
        let keys = PeerKeys::generate();
        let dial = Dialled::attempt(listening.address(), &keys, &options);
        let usual = Options::default();
        let keys = listening.keys().clone();
        let accept = async { Channel::respond(listening.socket().await, &keys, &usual).await };
        let (dialled, accepted) = tokio::join!(dial, accept);
        assert_eq!(dialled.err(), Some(Closed::Cut), "{name}");
        assert!(accepted.is_err(), "{name}");
    }
}

#[tokio::test]
async fn no_wrong_responder_becomes_a_channel() {
    for (name, options) in Options::wrong() {
        let mut listening = Listening::start(PeerKeys::generate()).await;
        listening.greet(options);
        let (address, key) = (listening.address(), listening.keys().noise_public);
        let usual = Options::default();
        let keys = PeerKeys::generate();
        let dial = async {
            let socket = Dialled::socket(address, &usual).await.unwrap();
            Channel::initiate(socket, &keys, &key, &usual).await
        };
        let (dialled, accepted) = tokio::join!(dial, listening.attempt());
        assert!(dialled.is_err(), "{name}");
        if let Ok(mut channel) = accepted {
            assert_eq!(channel.closed_with().await, Closed::Cut, "{name}");
        }
    }
}

#[tokio::test]
async fn a_recorded_initiator_cannot_be_played_again() {
    let mut listening = Listening::start(PeerKeys::generate()).await;
    let address = listening.address();
    let (keys, options) = (PeerKeys::generate(), Options::default());
    let (dialled, _accepted) = tokio::join!(Dialled::connect(address, &keys, &options), listening.accept());
    assert_eq!(dialled.recording.sent.len(), 2);
    let replay = Dialled::replay(address, &dialled.recording, &options);
    let keys = listening.keys().clone();
    let accept = async { Channel::respond(listening.socket().await, &keys, &options).await.err() };
    let (closed, seen) = tokio::join!(replay, accept);
    assert_eq!(closed, Closed::Cut);
    assert_eq!(seen, Some(Closed::violation("a Noise message that does not open")));
}

#[tokio::test]
async fn a_refused_upgrade_says_so() {
    let listening = Listening::start(PeerKeys::generate()).await;
    listening.shown(|shown| shown.refuse = Some(503));
    let attempt = Dialled::attempt(listening.address(), &PeerKeys::generate(), &Options::default()).await;
    assert_eq!(attempt.err(), Some(Closed::Refused(503)));
}

#[tokio::test]
async fn answers_find_their_questions() {
    let mut pair = Pair::make().await;
    let question = || Body::Forget(Names::default());
    let answer = async {
        let first = pair.accepted.receive().await;
        let second = pair.accepted.receive().await;
        pair.accepted.answer(&second, Body::ForgetAck(ForgetAck { done: false })).await;
        pair.accepted.send(&Message::new(9, question())).await;
        pair.accepted.answer(&first, Body::ForgetAck(ForgetAck { done: true })).await;
    };
    let (answers, ()) = tokio::join!(pair.dialled.ask_all(vec![question(), question()]), answer);
    assert_eq!(answers, [true, false].map(|done| Body::ForgetAck(ForgetAck { done })));
    assert_eq!(pair.dialled.receive().await.request, 9, "what came between is kept");
}
