//! Other relays, reached by way of federated: their connections to this relay, and mail that lies with them.

pub(crate) mod recall;
pub(crate) mod tunnel;
