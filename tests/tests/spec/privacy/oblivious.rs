//! What can go wrong with sealed requests, outside and inside.

use super::said::Said;
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::oblivious::binary::Encode as _;
use relay_tests::oblivious::binary::{self, Request};
use relay_tests::oblivious::{PATH, REQUEST_TYPE, envelope};
use relay_tests::reply::Reply;
use relay_tests::{Action, Client};
use serde_json::json;

/// Requests that are refused, each for another reason.
pub(super) async fn fail(client: &Client, said: &mut Said) {
    outside(client, said).await;
    inside(client, said).await;
}

async fn outside(client: &Client, said: &mut Said) {
    let key = client.key().await;
    let mailbox = random_mailbox();
    said.never_at_rest("a token that was not opened", &mailbox);
    let plaintext = envelope::request(Action::Fetch, &json!({ "mailbox_tokens": [mailbox] }));
    let sealed = key.seal(&plaintext).0;
    let mut spoiled = sealed.to_vec();
    spoiled[100] ^= 1;
    let noise = random_bytes(400);
    said.never_at_rest("noise", &hex::encode(&noise));
    for message in [spoiled, noise, sealed[..60].to_vec()] {
        said.never_at_rest("a sealed message", &hex::encode(&message[39..55]));
        said.refusals.push(client.carry(message).await);
    }
    let kind = said.nonsense("a content type");
    for headers in [[("content-type", kind.as_str())], [("accept", REQUEST_TYPE)]] {
        said.refusals.push(client.raw("POST", PATH, &headers, sealed.clone()).await);
    }
    let method = said.nonsense("a method of the outer request");
    said.refusals.push(client.raw(&method, PATH, &[], sealed).await);
}

async fn inside(client: &Client, said: &mut Said) {
    let [path, query, method, scheme, authority, header, value, content] = [
        "a sealed path",
        "a sealed query",
        "a sealed method",
        "a sealed scheme",
        "a sealed authority",
        "a sealed header",
        "a sealed header's value",
        "a sealed content",
    ]
    .map(|what| said.nonsense(what));
    let mut foreign = Request::new("GET", "/v2/nothing", "");
    foreign.scheme = scheme;
    for request in [
        Request::new("GET", &format!("/v2/{path}"), ""),
        Request::new("POST", &format!("/v2/send?{query}={query}"), "{}"),
        Request::new(&method, "/v2/send", ""),
        Request::new("GET", "/v2/health", "").at(&authority),
        Request::new("POST", "/v2/send", "{}").with_header(&header, &value),
        Request::new("POST", "/v2/send", "{}").with_header("expect", &value),
        Request::new("POST", "/v2/send", "{}").with_header("content-type", &value),
        Request::new("POST", "/v2/send", "{}").with_header("x-app-compat-version", &value),
        Request::new("POST", "/v2/send", content.clone()),
        foreign,
    ] {
        let reply = client.binary(&request).await;
        assert_ne!(reply.status, 200, "{}", reply.describe());
        said.refusals.push(reply);
    }
    let padding = said.nonsense("a sealed padding");
    let padded = [Request::new("GET", "/v2/health", "").encode(), padding.into_bytes()].concat();
    said.refusals.push(binary::reply(&client.sealed(&padded).await));

    let [action, version, field] =
        ["a sealed action", "a sealed version", "a sealed field"].map(|what| said.nonsense(what));
    for plaintext in [
        envelope::request_with(json!(2), json!(action), &json!({})),
        envelope::request_with(json!(version), json!("send"), &json!({})),
        envelope::request_with(json!(2), json!("send"), &json!({ field.clone(): field.clone() })),
        envelope::framed(format!("{{\"{field}\": {field}").as_bytes()),
        [&[0xff; 4], format!("{{\"{content}\": 1}}").as_bytes()].concat(),
    ] {
        let inner = client.sealed(&plaintext).await;
        let outer = Reply::plain(200, hyper::HeaderMap::new(), bytes::Bytes::new());
        let reply = envelope::reply(outer, &inner);
        reply.failure(400);
        said.refusals.push(reply);
    }
}
