//! What a peer does with what a relay asks of it.

use super::message::Capacity;

/// How a peer behaves on a channel. By default it is honest. A test may change it at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    /// Towards blobs that are offered to it.
    pub offload: OnOffload,
    /// Towards blobs that are asked back.
    pub recall: OnRecall,
    /// Towards blobs that are no longer wanted.
    pub forget: OnForget,
    /// Towards the question what it holds.
    pub inventory: OnInventory,
    /// The room that its answers to offloads tell of, true or not; a lot by default.
    pub room: Option<Capacity>,
    /// Whether it refuses a blob in which something is wrong. Otherwise that fails the test, because no relay
    /// sends one.
    pub refuses_unsound: bool,
    /// Whether it leaves a drain without an answer.
    pub ignores_drain: bool,
}

/// What becomes of an offload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOffload {
    /// Keeps the blobs and says so.
    #[default]
    Keep,
    /// Says nothing and keeps nothing.
    Silent,
    /// Keeps the blobs and says nothing.
    KeepSilently,
    /// Says that they are kept, and keeps nothing.
    Forgetful,
    /// Keeps nothing and says this number, which need not be a verdict.
    Say(i32),
    /// Keeps the first blob, refuses the second, and so on.
    EverySecond,
    /// Keeps them and says one verdict too few.
    TooFew,
    /// Keeps them and says one verdict too many.
    TooMany,
    /// Keeps nothing and answers a question that was not asked.
    AnotherNumber,
    /// Keeps them and says so twice.
    Twice,
    /// Keeps nothing and answers another kind of question.
    AnotherKind,
    /// Cuts the connection before it keeps anything.
    CutBefore,
    /// Keeps the blobs and cuts the connection.
    CutAfter,
}

/// What becomes of a recall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRecall {
    /// Gives what there is and says what there is not.
    #[default]
    Give,
    /// Says nothing.
    Silent,
    /// Has looked at nothing.
    Nothing,
    /// Says that nothing is there.
    Missing,
    /// Gives other content under the names, with hashes that fit neither.
    OtherContent,
    /// Gives other content under the names, with a hash of that content.
    OtherContentHashed,
    /// Gives sound blobs that nobody asked for, and none else.
    Unasked,
    /// Gives what there is and a sound blob that nobody asked for.
    OneMore,
    /// Gives what there is, in other mailboxes and with ids that fit them.
    OtherMailbox,
    /// Gives each blob and says that it is missing.
    Both,
    /// Gives each blob twice.
    Twice,
    /// Gives them with an end that is long past.
    Expired,
    /// Gives them with an end that is a thousand years away.
    Everlasting,
    /// Cuts the connection.
    Cut,
}

/// What becomes of a forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnForget {
    /// Forgets and says so.
    #[default]
    Do,
    /// Says nothing and forgets nothing.
    Silent,
    /// Says that it did not, and did not.
    NotDone,
    /// Says that it did, and did not.
    Lie,
    /// Forgets and cuts the connection.
    CutAfter,
}

/// What becomes of the question what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnInventory {
    /// Lists what it holds.
    #[default]
    List,
    /// Says nothing.
    Silent,
    /// Has not looked.
    NotNow,
    /// Lists a thousand blobs that nobody ever had, and then a thousand more, in order and without an end.
    Endless,
    /// Lists what it holds, in parts that begin anew.
    Circles,
    /// Lists one more than fits into a part.
    TooMany,
    /// Answers another kind of question.
    AnotherKind,
}
