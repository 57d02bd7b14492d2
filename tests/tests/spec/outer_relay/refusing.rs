//! It is no open proxy: whatever a request says, it goes to a target that the operator named, or nowhere.

use super::fake::{FakeTarget, answer, sealed};
use super::{Outer, carry};
use relay_tests::{Wire, oblivious};
use std::time::Duration;

/// What an answer to raw bytes says.
async fn said(outer: &Outer, request: &str) -> String {
    let mut wire = Wire::open(outer.address).await;
    wire.write(request).await;
    wire.finish_writing().await;
    wire.rest(Duration::from_secs(10)).await
}

#[tokio::test]
async fn no_request_leads_elsewhere() {
    let (target, evil) =
        (FakeTarget::answering(sealed(b"answer")).await, FakeTarget::answering(sealed(b"evil")).await);
    let outer = Outer::of(target.address()).await;
    let elsewhere = evil.address();
    let sealed = "content-type: message/ohttp-req\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
    for (line, host, status) in [
        (format!("POST http://{elsewhere}/v2/ohttp HTTP/1.1"), elsewhere.to_string(), "421"),
        (format!("GET http://{elsewhere}/ HTTP/1.1"), elsewhere.to_string(), "421"),
        (format!("POST https://{elsewhere}/v2/ohttp HTTP/1.0"), elsewhere.to_string(), "421"),
        (format!("CONNECT {elsewhere} HTTP/1.1"), elsewhere.to_string(), "421"),
        (format!("POST //{elsewhere}/v2/ohttp HTTP/1.1"), "outer.example".to_owned(), "404"),
        (format!("POST /http://{elsewhere}/v2/ohttp HTTP/1.1"), "outer.example".to_owned(), "404"),
        (format!("POST /v2/ohttp?target={elsewhere} HTTP/1.1"), "outer.example".to_owned(), "404"),
        (format!("POST /v2/ohttp/../../@{elsewhere} HTTP/1.1"), "outer.example".to_owned(), "404"),
        ("POST /v2/./ohttp HTTP/1.1".to_owned(), "outer.example".to_owned(), "404"),
        ("POST /v2/%6fhttp HTTP/1.1".to_owned(), "outer.example".to_owned(), "404"),
        ("POST /v2/ohttp%2f..%2fsend HTTP/1.1".to_owned(), "outer.example".to_owned(), "404"),
        ("POST /v2/send HTTP/1.1".to_owned(), "outer.example".to_owned(), "404"),
        ("GET /metrics HTTP/1.1".to_owned(), "outer.example".to_owned(), "404"),
        ("GET /federation HTTP/1.1".to_owned(), "outer.example".to_owned(), "404"),
        ("OPTIONS * HTTP/1.1".to_owned(), "outer.example".to_owned(), "404"),
        ("GET /v2/ohttp HTTP/1.1".to_owned(), "outer.example".to_owned(), "405"),
        ("TRACE /v2/ohttp HTTP/1.1".to_owned(), "outer.example".to_owned(), "405"),
        ("DELETE /v2/ohttp-key HTTP/1.1".to_owned(), "outer.example".to_owned(), "405"),
    ] {
        let said = said(&outer, &format!("{line}\r\nhost: {host}\r\n{sealed}")).await;
        assert!(said.contains(&format!(" {status} ")), "{line}: {said}");
        assert!(!said.contains(&elsewhere.to_string()), "{line}: {said}");
    }
    assert_eq!(target.seen().len(), 0);
    // A host of elsewhere chooses nothing: the one target is asked, by its own name.
    let said = said(&outer, &format!("POST /v2/ohttp HTTP/1.1\r\nhost: {elsewhere}\r\n{sealed}")).await;
    assert!(said.contains(" 200 ") && said.ends_with("answer"), "{said}");
    let seen = String::from_utf8(target.seen().concat()).unwrap();
    assert!(
        seen.contains(&format!("host: {}\r\n", target.address())) && !seen.contains(&elsewhere.to_string())
    );
    assert_eq!(evil.connections(), 0);
}

#[tokio::test]
async fn no_redirect_is_followed_or_passed_on() {
    let evil = FakeTarget::answering(sealed(b"evil")).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let lines =
            format!("location: http://{}/v2/ohttp\r\ncontent-type: message/ohttp-res\r\n", evil.address());
        let target = FakeTarget::answering(answer(status, &lines, b"")).await;
        let outer = Outer::of(target.address()).await;
        let reply = carry(&outer.client(), "sealed").await;
        assert_eq!((reply.status, reply.header("location")), (502, None), "{status}");
        let key = outer.client().raw("GET", oblivious::KEY_PATH, &[], "").await;
        assert_eq!((key.status, key.header("location")), (502, None), "{status}");
    }
    assert_eq!(evil.connections(), 0);
}

#[tokio::test]
async fn what_is_not_a_sealed_request_is_not_brought_to_the_target() {
    let target = FakeTarget::answering(sealed(b"answer")).await;
    let outer = Outer::of(target.address()).await;
    for kind in ["application/json", "message/ohttp-chunked-req", "message/ohttp-res", ""] {
        let reply = outer.client().raw("POST", oblivious::PATH, &[("content-type", kind)], "x").await;
        assert_eq!(reply.status, 415, "{kind}");
    }
    assert_eq!(outer.client().raw("POST", oblivious::PATH, &[], "x").await.status, 415);
    // As the gateway refuses them: a program in front could read them as other requests.
    for (lines, status) in [
        ("host: x\r\nhost: y", "400"),
        ("host: x\r\ncontent-encoding: gzip", "415"),
        ("host: x\r\ncontent-encoding: identity\r\ncontent-encoding: br", "415"),
    ] {
        let sealed = "content-type: message/ohttp-req\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx";
        let said = said(&outer, &format!("POST /v2/ohttp HTTP/1.1\r\n{lines}\r\n{sealed}")).await;
        assert!(said.contains(&format!(" {status} ")), "{lines}: {said}");
    }
    let mut wire = Wire::open(outer.address).await;
    wire.write("POST /v2/ohttp HTTP/1.1\r\nhost: x\r\ncontent-type: message/ohttp-req\r\ncontent-length: 10\r\n\r\nx").await;
    wire.finish_writing().await;
    let said = wire.rest(Duration::from_secs(10)).await;
    assert!(said.is_empty() || said.contains(" 400 "), "{said}");
    assert_eq!(target.seen().len(), 0);
}
