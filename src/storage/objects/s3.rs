//! Public files of the full flavor: a bucket of an S3-compatible service.
//!
//! Owns: addressing, the region, the check at start, uploads and their repetition. Its functions block: they run on
//! threads of a pool, or before the cores start. Never: creating buckets, or making them public.
//! Implements `spec/configuration.md` §2.3 and §4, `spec/http.md` §15.3.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::Method;

use super::sigv4::{Request, Signer, encode_path};
use crate::config::ObjectStorage;
use crate::model::time::now_ms;
use crate::vendors::https::{self, Answer, Call, Client};

/// Longest time of one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Answers are short XML texts.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Pauses before an upload that failed is repeated: an upload of the same bytes under the same key may be repeated.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// The region that is meant where none is named.
const REGION_DEFAULT: &str = "us-east-1";

/// A bucket that was there at the start.
pub struct Bucket {
    client: Arc<Client>,
    settings: ObjectStorage,
    region: String,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Call(https::Error),
    /// The service refuses: status and, if it says one, its code for the reason.
    Refused {
        status: u16,
        code: String,
    },
    /// The bucket is in this region, not in the one that was asked.
    OtherRegion(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => write!(f, "object storage: {error}"),
            Self::Refused { status, code } if code.is_empty() => write!(f, "object storage answers {status}"),
            Self::Refused { status, code } => write!(f, "object storage answers {status} {code}"),
            Self::OtherRegion(region) => write!(f, "the bucket has moved to the region {region}"),
        }
    }
}

impl Error {
    /// Whether the same request may succeed a moment later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Call(error) => matches!(error, https::Error::Unreachable(_) | https::Error::Timeout(_)),
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::OtherRegion(_) => false,
        }
    }
}

impl Bucket {
    /// Finds out the bucket's region and whether the keys open it. The text of an error names the setting to look at.
    pub fn open(client: Arc<Client>, settings: &ObjectStorage) -> Result<Self, String> {
        let mut bucket = Self { client, settings: settings.clone(), region: REGION_DEFAULT.to_owned() };
        bucket.region = bucket.discover_region().map_err(|error| bucket.explain(&error))?;
        bucket.request(&Method::HEAD, "", &[], None).map_err(|error| bucket.explain(&error))?;
        Ok(bucket)
    }

    /// The region in which the bucket says it is.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Stores an object.
    pub fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let body = Some(bytes);
        for pause in PAUSES {
            match self.request(&Method::PUT, key, &[], body.clone()) {
                Err(error) if error.may_pass() => log::warn!("an upload is repeated: {error}"),
                answer => return answer.map(drop),
            }
            wait(pause);
        }
        self.request(&Method::PUT, key, &[], body).map(drop)
    }

    fn discover_region(&self) -> Result<String, Error> {
        match self.request(&Method::GET, "", &[("location", "")], None) {
            Ok(answer) => {
                let named = element(&answer.body, "LocationConstraint");
                // Whatever answers 200 to everything is no object storage.
                let named = named.ok_or(Error::Refused { status: answer.status, code: String::new() })?;
                Ok(match named.trim() {
                    "" => REGION_DEFAULT.to_owned(),
                    // What Ireland was called when there were two regions.
                    "EU" => "eu-west-1".to_owned(),
                    region => region.to_owned(),
                })
            }
            // Keys that may write objects need not be allowed to ask for this; HEAD says whether they are any good.
            Err(Error::Refused { code, .. }) if code == "AccessDenied" || code == "NotImplemented" => {
                Ok(REGION_DEFAULT.to_owned())
            }
            Err(Error::OtherRegion(region)) => Ok(region),
            Err(error) => Err(error),
        }
    }

    /// A signed request to the bucket itself (`key` is empty) or to an object in it.
    fn request(
        &self,
        method: &Method,
        key: &str,
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Error> {
        let (host, path) = address(&self.settings, &self.region, key);
        let iso = protocol::http::date::format_iso(u64::try_from(now_ms()).unwrap_or(0));
        let signer = Signer {
            access_key: self.settings.access_key.expose(),
            secret_key: &self.settings.secret_key,
            region: &self.region,
        };
        let request = Request {
            method: method.as_str(),
            host: &host,
            path: &path,
            query,
            headers: &[],
            body: body.as_deref().unwrap_or_default(),
        };
        let headers = signer.sign(&request, &basic_time(&iso));
        let scheme = if self.settings.tls { "https" } else { "http" };
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let call = Call {
            method: method.clone(),
            url: format!("{scheme}://{host}{path}{mark}{}", query.join("&")),
            headers: headers.to_vec(),
            body,
            timeout: TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
            redirects_max: 0,
        };
        let answer = self.client.call(&call).map_err(Error::Call)?;
        if answer.is_success() {
            return Ok(answer);
        }
        let hint = answer.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        match hint.or_else(|| element(&answer.body, "Region")).filter(|region| *region != self.region) {
            Some(region) if matches!(answer.status, 301 | 307 | 400) => {
                return Err(Error::OtherRegion(region.to_owned()));
            }
            _ => {}
        }
        let code = element(&answer.body, "Code").unwrap_or_default().to_owned();
        Err(Error::Refused { status: answer.status, code })
    }

    /// A start-up error: which setting, what was found, what is expected.
    fn explain(&self, error: &Error) -> String {
        let ObjectStorage { host, port, bucket, .. } = &self.settings;
        match error {
            Error::Call(https::Error::Tls(text)) => format!(
                "S3_USE_SSL is true, but {host}:{port} cannot be talked to over TLS: {text}; expected a certificate for \
                 this host that the system trusts (SSL_CERT_FILE names others), or S3_USE_SSL=false"
            ),
            Error::Call(https::Error::Unsendable) => {
                format!("S3_HOST is {host:?} and S3_BUCKET is {bucket:?}; expected the name of a host and of a bucket")
            }
            Error::Call(error) => format!(
                "S3_HOST is {host} and S3_PORT is {port}, where no S3 service answers: {error}; expected the address of \
                 an S3 endpoint, and S3_USE_SSL to say whether it speaks TLS"
            ),
            Error::Refused { code, .. } if code == "InvalidAccessKeyId" => {
                format!("S3_ACCESS_KEY is not known to {host}; expected an access key of this service")
            }
            Error::Refused { code, .. } if code == "SignatureDoesNotMatch" => {
                format!(
                    "S3_SECRET_KEY is not the one {host} has for S3_ACCESS_KEY; expected the secret that belongs to it"
                )
            }
            Error::Refused { code, .. } if code == "RequestTimeTooSkewed" => {
                format!(
                    "the clock of this machine differs too much from that of {host} (S3_HOST); expected the right time"
                )
            }
            Error::Refused { status: 404, .. } => {
                format!("S3 bucket does not exist: {bucket}; S3_BUCKET must name a bucket that was created before")
            }
            Error::Refused { status: 401 | 403, .. } => format!(
                "S3_ACCESS_KEY and S3_SECRET_KEY are refused by {host} for S3_BUCKET={bucket} ({error}); expected keys \
                 that may use this bucket"
            ),
            Error::Refused { .. } | Error::OtherRegion(_) => format!(
                "S3_HOST is {host} and S3_PORT is {port}, which does not answer as an S3 service does ({error}); expected \
                 the address of an S3 endpoint, and S3_USE_SSL to say whether it speaks TLS"
            ),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a thread of the pool, which may wait")]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

/// `20130524T000000Z` from `2013-05-24T00:00:00.000Z`.
fn basic_time(iso: &[u8]) -> String {
    let (seconds, _) = iso.split_at(iso.len().min(19));
    let digits = seconds.iter().filter(|byte| !matches!(byte, b'-' | b':'));
    digits.map(|byte| char::from(*byte)).chain(['Z']).collect()
}

/// The `Host` field and the path of an object, or of the bucket.
///
/// Amazon's buckets are hosts of their own, unless a dot in the name keeps its certificate from matching; elsewhere the
/// bucket is the first segment of the path.
fn address(settings: &ObjectStorage, region: &str, key: &str) -> (String, String) {
    let ObjectStorage { host, port, tls, bucket, .. } = settings;
    let is_amazon = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
    let mut host = if host == "s3.amazonaws.com" && region != REGION_DEFAULT {
        // The name without a region knows new buckets of other regions only after some hours.
        format!("s3.{region}.amazonaws.com")
    } else if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    if port.get() != if *tls { 443 } else { 80 } {
        host = format!("{host}:{port}");
    }
    let key = encode_path(key);
    if is_amazon && !(*tls && bucket.contains('.')) {
        (format!("{bucket}.{host}"), format!("/{key}"))
    } else if key.is_empty() {
        (host, format!("/{}", encode_path(bucket)))
    } else {
        (host, format!("/{}/{key}", encode_path(bucket)))
    }
}

/// The text of the first element of this name. Enough for the flat answers of S3, whose texts have no markup.
fn element<'a>(xml: &'a [u8], name: &str) -> Option<&'a str> {
    let xml = std::str::from_utf8(xml).ok()?;
    let (_, rest) = xml.split_once(&format!("<{name}"))?;
    let (attributes, rest) = rest.split_once('>')?;
    if attributes.ends_with('/') {
        return Some("");
    }
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::config::secret::Secret;

    fn settings(host: &str, port: u16, tls: bool, bucket: &str) -> ObjectStorage {
        ObjectStorage {
            host: host.into(),
            port: NonZeroU16::new(port).unwrap(),
            tls,
            bucket: bucket.into(),
            access_key: Secret::new("access"),
            secret_key: Secret::new("hunter2"),
            public_url: "https://files.example".into(),
        }
    }

    #[test]
    fn addresses() {
        let table = [
            (settings("minio.example", 9000, false, "b"), "us-east-1", "minio.example:9000", "/b/a/k.png"),
            (settings("minio.example", 443, true, "b"), "eu-west-1", "minio.example", "/b/a/k.png"),
            (settings("minio.example", 80, false, "b"), "us-east-1", "minio.example", "/b/a/k.png"),
            (settings("::1", 9000, false, "b"), "us-east-1", "[::1]:9000", "/b/a/k.png"),
            (settings("s3.amazonaws.com", 443, true, "b"), "us-east-1", "b.s3.amazonaws.com", "/a/k.png"),
            (settings("s3.amazonaws.com", 443, true, "b"), "eu-west-1", "b.s3.eu-west-1.amazonaws.com", "/a/k.png"),
            (
                settings("s3.eu-west-1.amazonaws.com", 443, true, "b"),
                "eu-west-1",
                "b.s3.eu-west-1.amazonaws.com",
                "/a/k.png",
            ),
            (settings("s3.amazonaws.com", 443, true, "b.c"), "us-east-1", "s3.amazonaws.com", "/b.c/a/k.png"),
            (settings("notamazonaws.com", 443, true, "b"), "us-east-1", "notamazonaws.com", "/b/a/k.png"),
        ];
        for (settings, region, host, path) in table {
            assert_eq!(address(&settings, region, "a/k.png"), (host.to_owned(), path.to_owned()));
        }
        assert_eq!(address(&settings("h", 80, false, "b"), "us-east-1", "").1, "/b");
        assert_eq!(address(&settings("s3.amazonaws.com", 80, false, "b"), "us-east-1", "").1, "/");
    }

    #[test]
    fn answers() {
        let location = |text: &str| {
            format!(r#"<?xml version="1.0"?><LocationConstraint xmlns="http://s3/">{text}</LocationConstraint>"#)
        };
        assert_eq!(element(location("eu-west-1").as_bytes(), "LocationConstraint"), Some("eu-west-1"));
        assert_eq!(element(location("").as_bytes(), "LocationConstraint"), Some(""));
        assert_eq!(element(br#"<LocationConstraint xmlns="x"/>"#, "LocationConstraint"), Some(""));
        assert_eq!(element(b"<Error><Code>NoSuchBucket</Code></Error>", "Code"), Some("NoSuchBucket"));
        for xml in [&b""[..], b"<Code>", b"<Code", b"\xff<Code>x</Code>", b"Code</Code>"] {
            assert_eq!(element(xml, "Code"), None);
        }
    }

    #[test]
    fn times() {
        assert_eq!(basic_time(&protocol::http::date::format_iso(1_369_353_600_123)), "20130524T000000Z");
    }

    #[test]
    fn start_up_errors_name_the_setting_and_no_secret() {
        let client = Arc::default();
        let bucket = Bucket { client, settings: settings("s3.example", 9000, false, "photos"), region: "r".into() };
        let refused = |status, code: &str| Error::Refused { status, code: code.into() };
        for (error, setting) in [
            (refused(403, "InvalidAccessKeyId"), "S3_ACCESS_KEY"),
            (refused(403, "SignatureDoesNotMatch"), "S3_SECRET_KEY"),
            (refused(403, ""), "S3_ACCESS_KEY and S3_SECRET_KEY"),
            (refused(404, "NoSuchBucket"), "S3 bucket does not exist: photos; S3_BUCKET"),
            (refused(404, ""), "S3 bucket does not exist: photos; S3_BUCKET"),
            (refused(200, ""), "S3_HOST"),
            (refused(403, "RequestTimeTooSkewed"), "the clock"),
            (Error::Call(https::Error::Tls("x".into())), "S3_USE_SSL"),
            (Error::Call(https::Error::Unreachable("x".into())), "S3_HOST is s3.example and S3_PORT is 9000"),
            (Error::Call(https::Error::Protocol("x".into())), "S3_HOST"),
            (Error::Call(https::Error::Unsendable), "S3_HOST"),
        ] {
            let text = bucket.explain(&error);
            assert!(text.starts_with(setting) && text.contains("; "), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
