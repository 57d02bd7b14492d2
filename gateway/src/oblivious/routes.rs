//! Which target and which of its resources a request means. Nothing of a request but this choice goes on: the path
//! that a target is asked for is one of [`RESOURCES`].

use super::reply::ForwardError;
use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::{Method, Version};
use relay_daemon::variables::TargetName;

/// What the resources of a target are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Takes sealed requests.
    Sealed,
    /// Shows a key, which may be kept for as long as it says.
    Key,
    /// Shows how the anchor changed, which is never kept: clients decide by it whom to trust from now on.
    Rollover,
}

/// A resource of a target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    method: Method,
    pub(super) path: &'static str,
    pub(super) kind: Kind,
}

/// All that targets are asked for.
pub(super) static RESOURCES: [Resource; 6] = [
    Resource { method: Method::POST, path: "/v2/ohttp", kind: Kind::Sealed },
    Resource { method: Method::GET, path: "/v2/ohttp-key", kind: Kind::Key },
    Resource { method: Method::GET, path: "/v2/ohttp-key-signed", kind: Kind::Key },
    Resource { method: Method::GET, path: "/v2/ohttp-anchor-rollover", kind: Kind::Rollover },
    Resource { method: Method::GET, path: "/.well-known/ohttp-gateway", kind: Kind::Key },
    Resource { method: Method::POST, path: "/.well-known/ohttp-gateway", kind: Kind::Sealed },
];

/// What a request means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestTarget {
    /// Whether the outer relay lives.
    Health,
    /// A resource, by its place in [`RESOURCES`], of a target, by its place in the operator's list.
    Forward { target: usize, resource: usize },
}

/// Finds what a request means.
///
/// # Errors
/// When it means nothing that is served here.
pub(super) fn find(head: &Parts, targets: &[TargetName]) -> Result<RequestTarget, ForwardError> {
    // In HTTP/1 a request that names its host in the first line is for a proxy (RFC 9112, section 3.2.2).
    if head.uri.authority().is_some() && head.version != Version::HTTP_2 {
        return Err(ForwardError::NoProxy);
    }
    if head.uri.query().is_some() {
        return Err(ForwardError::NotFound);
    }
    let path = head.uri.path();
    let named = targets.iter().enumerate().find_map(|(target, name)| match name {
        TargetName::Only => Some((target, path)),
        TargetName::Prefix(prefix) => {
            let path = path.strip_prefix(prefix.as_str()).filter(|path| path.starts_with('/'))?;
            Some((target, path))
        }
        TargetName::Host(name) => is_for_host(head, name).then_some((target, path)),
    });
    // Whoever watches one target's prefix from outside asks there.
    if path == "/health" || matches!(named, Some((_, "/health"))) {
        let is_get = head.method == Method::GET;
        return if is_get { Ok(RequestTarget::Health) } else { Err(ForwardError::Method("GET")) };
    }
    let (target, path) = named.ok_or(ForwardError::NotFound)?;
    let mut allowed = None;
    for (resource, known) in RESOURCES.iter().enumerate().filter(|(_, known)| known.path == path) {
        if known.method == head.method {
            return Ok(RequestTarget::Forward { target, resource });
        }
        let method = if known.method == Method::GET { "GET" } else { "POST" };
        allowed = Some(if allowed.is_some() { "GET, POST" } else { method });
    }
    Err(allowed.map_or(ForwardError::NotFound, ForwardError::Method))
}

/// Whether a request asks for this host, which is in lower case. The port may be that of a proxy.
fn is_for_host(head: &Parts, name: &str) -> bool {
    let mut hosts = head.headers.get_all(HOST).iter();
    let asked = match (head.uri.host(), hosts.next()) {
        (Some(host), _) => Some(host),
        (None, Some(host)) if hosts.next().is_none() => {
            host.to_str().ok().map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host))
        }
        _ => None,
    };
    asked.is_some_and(|asked| asked.strip_suffix('.').unwrap_or(asked).eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use proptest::prelude::*;

    fn head(method: &str, uri: &str, hosts: &[&str]) -> Option<Parts> {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        Some(request.body(()).ok()?.into_parts().0)
    }

    fn found(
        method: &str,
        uri: &str,
        hosts: &[&str],
        names: &[TargetName],
    ) -> Result<(usize, &'static str), ForwardError> {
        match find(&head(method, uri, hosts).unwrap(), names)? {
            RequestTarget::Forward { target, resource } => Ok((target, RESOURCES[resource].path)),
            RequestTarget::Health => Ok((usize::MAX, "/health")),
        }
    }

    const ONLY: [TargetName; 1] = [TargetName::Only];

    #[test]
    fn the_only_target_is_served_under_the_relays_own_paths_whatever_host_is_named() {
        for resource in &RESOURCES {
            let path = resource.path;
            for host in [&[][..], &["outer.example"], &["elsewhere.example"]] {
                assert_eq!(found(resource.method.as_str(), path, host, &ONLY), Ok((0, path)));
            }
        }
        assert_eq!(found("GET", "/health", &[], &ONLY), Ok((usize::MAX, "/health")));
    }

    #[test]
    fn several_targets_are_told_apart_by_prefix_or_host() {
        let names = [TargetName::Prefix("/a".to_owned()), TargetName::Host("b.example".to_owned())];
        let post = |uri: &str, host: &str| found("POST", uri, &[host], &names);
        assert_eq!(post("/a/v2/ohttp", "x"), Ok((0, "/v2/ohttp")));
        for host in ["b.example", "B.Example", "b.example.", "b.example:443"] {
            assert_eq!(post("/v2/ohttp", host), Ok((1, "/v2/ohttp")), "{host}");
        }
        for (uri, host) in [
            ("/v2/ohttp", "a.example"),
            ("/v2/ohttp", "b.example.evil"),
            ("/v2/ohttp", "evil@b.example"),
            ("/v2/ohttp", "[b.example]"),
            ("/v2/ohttp", ""),
            ("/ab/v2/ohttp", "x"),
            ("/a", "x"),
            ("/a//v2/ohttp", "x"),
            ("/a/health/", "x"),
            ("/b/health", "x"),
            ("/A/v2/ohttp", "x"),
        ] {
            assert_eq!(post(uri, host), Err(ForwardError::NotFound), "{uri} {host}");
        }
        assert_eq!(
            found("POST", "/v2/ohttp", &["b.example", "b.example"], &names),
            Err(ForwardError::NotFound)
        );
        for uri in ["/health", "/a/health"] {
            assert_eq!(found("GET", uri, &[], &names), Ok((usize::MAX, "/health")), "{uri}");
            assert_eq!(post(uri, "x"), Err(ForwardError::Method("GET")), "{uri}");
        }
        let alike = ["/a", "/ab"].map(|prefix| TargetName::Prefix(prefix.to_owned()));
        assert_eq!(found("POST", "/ab/v2/ohttp", &[], &alike), Ok((1, "/v2/ohttp")));
    }

    #[test]
    fn nothing_else_is_a_resource() {
        for uri in [
            "/",
            "/v2/send",
            "/v2/health",
            "/metrics",
            "/federation",
            "/v2/ohttp/",
            "/v2//ohttp",
            "//v2/ohttp",
            "//evil.example/v2/ohttp",
            "/v2/./ohttp",
            "/x/../v2/ohttp",
            "/v2/%6fhttp",
            "/v2/ohttp%00",
            "/v2/ohttp;x",
            "/v2/ohttp?",
            "/v2/ohttp?to=https://evil.example",
            "/V2/ohttp",
            "/.well-known/",
            "*",
        ] {
            assert_eq!(found("POST", uri, &[], &ONLY), Err(ForwardError::NotFound), "{uri}");
        }
    }

    #[test]
    fn a_request_for_a_proxy_is_refused_and_a_method_that_is_not_served_is_named() {
        for (method, uri) in [
            ("POST", "http://evil.example/v2/ohttp"),
            ("GET", "https://relay.example/v2/ohttp-key"),
            ("CONNECT", "evil.example:443"),
        ] {
            assert_eq!(found(method, uri, &[], &ONLY), Err(ForwardError::NoProxy), "{uri}");
        }
        for (method, uri, allowed) in [
            ("GET", "/v2/ohttp", "POST"),
            ("HEAD", "/v2/ohttp-key", "GET"),
            ("OPTIONS", "/v2/ohttp", "POST"),
            ("PUT", "/.well-known/ohttp-gateway", "GET, POST"),
            ("POST", "/health", "GET"),
        ] {
            assert_eq!(found(method, uri, &[], &ONLY), Err(ForwardError::Method(allowed)), "{method} {uri}");
        }
    }

    proptest! {
        #[test]
        fn no_request_panics(method in "[A-Z]{1,8}", uri in "\\PC{0,40}", host in "[ -~]{0,20}") {
            if let Some(head) = head(&method, &uri, &[&host]) {
                let names = [TargetName::Prefix("/a".to_owned()), TargetName::Host("b".to_owned())];
                let outcomes = [find(&head, &names).is_ok(), find(&head, &ONLY).is_ok()];
                prop_assert_eq!(outcomes.len(), 2);
            }
        }
    }
}
