//! The S3 client against servers that misbehave: regions, errors that pass, and errors that do not.
//!
//! A server that verifies signatures is in the end-to-end tests; here nobody does.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

#[path = "support/services.rs"]
mod services;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use happier_server::config::ObjectStorage;
use happier_server::config::secret::Secret;
use happier_server::storage::objects::s3::{Bucket, Error};

use self::services::{Asked, Reply, Service, reply, reply_with};

fn location(region: &str) -> String {
    format!(r#"<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{region}</LocationConstraint>"#)
}

fn error(code: &str, more: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>text</Message>{more}</Error>")
}

/// A bucket at a service that answers as `answer` says.
fn open(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Service, Result<Bucket, String>) {
    let service = Service::start(answer);
    let port: u16 = service.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let settings = ObjectStorage {
        host: "127.0.0.1".into(),
        port: NonZeroU16::new(port).unwrap(),
        tls: false,
        bucket: "photos".into(),
        access_key: Secret::new("access"),
        secret_key: Secret::new("hunter2"),
        public_url: String::new(),
    };
    let bucket = Bucket::open(Arc::default(), &settings);
    (service, bucket)
}

/// The region that a request was signed for.
fn signed_for(asked: &Asked) -> String {
    let authorization = asked.header("authorization").unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=access/"), "{authorization}");
    authorization.split('/').nth(2).unwrap().to_owned()
}

#[test]
fn regions() {
    let malformed = || error("AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>");
    type Case = (&'static str, fn() -> Reply);
    let table: [Case; 8] = [
        ("us-east-1", || reply(200, location(""))),
        ("us-east-1", || reply(200, r#"<LocationConstraint xmlns="x"/>"#)),
        ("eu-central-1", || reply(200, location("eu-central-1"))),
        ("eu-west-1", || reply(200, location("EU"))),
        ("us-east-1", || reply(403, error("AccessDenied", ""))),
        ("us-east-1", || reply(501, error("NotImplemented", ""))),
        ("ap-south-1", || reply_with(301, "x-amz-bucket-region: ap-south-1\r\n", error("PermanentRedirect", ""))),
        ("eu-west-3", || reply(400, error("AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"))),
    ];
    for (region, answer) in table {
        let (service, bucket) =
            open(move |asked| if asked.line == "GET /photos?location=" { answer() } else { reply(200, "") });
        assert_eq!(bucket.unwrap().region(), region);
        let asked = service.asked();
        let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
        assert_eq!(lines, ["GET /photos?location=", "HEAD /photos"]);
        assert_eq!([signed_for(&asked[0]), signed_for(&asked[1])], ["us-east-1".to_owned(), region.to_owned()]);
    }
    // One that sends us round in circles.
    let (_, bucket) =
        open(
            move |asked| {
                if asked.line.starts_with("HEAD") { reply(400, malformed()) } else { reply(200, location("")) }
            },
        );
    assert!(bucket.err().unwrap().starts_with("S3_HOST"));
}

#[test]
fn uploads() {
    let (service, bucket) = open(|asked| match asked.line.split(' ').next() {
        Some("GET") => reply(200, location("")),
        _ => reply(200, ""),
    });
    service.asked();
    bucket.unwrap().put("public/users/a b/x.png", b"bytes".to_vec()).unwrap();
    let asked = service.asked();
    assert_eq!((asked.len(), asked[0].line.as_str()), (1, "PUT /photos/public/users/a%20b/x.png"));
    assert_eq!((asked[0].header("content-type"), asked[0].body.as_slice()), (None, &b"bytes"[..]));
    assert_eq!(asked[0].header("content-length"), Some("5"));
    let digest = "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9";
    assert_eq!(asked[0].header("x-amz-content-sha256"), Some(digest));
}

/// Uploads to a service that fails `failures` times in some way and then works; tells how often it was asked.
fn upload(failures: usize, failure: fn() -> Reply) -> (Result<(), Error>, usize) {
    let failed = AtomicUsize::new(0);
    let (service, bucket) = open(move |asked| match asked.line.split(' ').next() {
        Some("GET") => reply(200, location("")),
        Some("PUT") if failed.fetch_add(1, Ordering::Relaxed) < failures => failure(),
        _ => reply(200, ""),
    });
    service.asked();
    let result = bucket.unwrap().put("key", b"bytes".to_vec());
    (result, service.asked().len())
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let slow_down = || reply(503, error("SlowDown", ""));
    assert_eq!(upload(1, slow_down), (Ok(()), 2));
    assert_eq!(upload(2, || reply(500, error("InternalError", ""))), (Ok(()), 3));
    let refused = |status, code: &str| Err(Error::Refused { status, code: code.into() });
    assert_eq!(upload(9, slow_down), (refused(503, "SlowDown"), 3));
    assert_eq!(upload(9, || reply(403, error("AccessDenied", ""))), (refused(403, "AccessDenied"), 1));
    assert_eq!(upload(9, || reply(400, "nonsense")), (refused(400, ""), 1));
    // A connection that is closed without an answer.
    assert_eq!(upload(1, || Some(Vec::new())), (Ok(()), 2));
    // A redirect is not followed: the signature is for this host.
    let moved = || reply_with(307, "Location: http://127.0.0.1:9/elsewhere\r\n", "");
    assert_eq!(upload(9, moved), (refused(307, ""), 1));
    // An answer without end.
    let (endless, _) = upload(9, || reply(500, " ".repeat(1 << 20)));
    assert!(matches!(endless, Err(Error::Call(_))), "{endless:?}");
}
