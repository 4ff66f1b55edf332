//! AWS Signature Version 4 for S3, in the `Authorization` header (docs.aws.amazon.com, "Signature Calculations for the
//! Authorization Header: Transferring Payload in a Single Chunk").
//!
//! A function of its arguments: no I/O, no clock.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::secret::Secret;
use crate::crypto::hash::{hex_lower, sha256};

/// Who signs, and for where.
pub(super) struct Signer<'a> {
    pub access_key: &'a str,
    pub secret_key: &'a Secret,
    pub region: &'a str,
}

/// What is signed.
pub(super) struct Request<'a> {
    pub method: &'a str,
    /// As in the `Host` field.
    pub host: &'a str,
    /// Percent-encoded, as it is sent.
    pub path: &'a str,
    /// Percent-encoded, sorted by name.
    pub query: &'a [(&'a str, &'a str)],
    /// More fields to sign: lower-case names, sorted, without those that are added here.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

impl Signer<'_> {
    /// The fields that make a request genuine: `x-amz-date`, `x-amz-content-sha256`, `Authorization`.
    /// `time` is `20130524T000000Z`.
    pub(super) fn sign(&self, request: &Request<'_>, time: &str) -> [(&'static str, String); 3] {
        let date = time.get(..8).unwrap_or(time);
        let digest = hex_lower(&sha256(request.body));
        let mut headers = vec![("host", request.host), ("x-amz-content-sha256", digest.as_str()), ("x-amz-date", time)];
        headers.extend(request.headers);
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let fields: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let query = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let canonical = format!("{}\n{}\n{query}\n{fields}\n{names}\n{digest}", request.method, request.path);

        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex_lower(&sha256(canonical.as_bytes())));
        let key = format!("AWS4{}", self.secret_key.expose());
        let key = [date, self.region, "s3", "aws4_request"]
            .iter()
            .fold(key.into_bytes(), |key, part| mac(&key, part.as_bytes()));
        let signature = hex_lower(&mac(&key, to_sign.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            self.access_key
        );
        [("x-amz-date", time.to_owned()), ("x-amz-content-sha256", digest), ("Authorization", authorization)]
    }
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Percent-encodes a key for a path: everything but letters, digits, `-._~` and the slashes between segments.
pub(super) fn encode_path(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The four examples of the documentation, all with the same keys and day.
    #[test]
    fn published_examples() {
        let request = |method, path, query, headers, body| {
            let host = "examplebucket.s3.amazonaws.com";
            Request { method, host, path, query, headers, body }
        };
        let put = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let table = [
            (
                request("GET", "/test.txt", &[][..], &[("range", "bytes=0-9")][..], &b""[..]),
                "host;range;x-amz-content-sha256;x-amz-date",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                request("PUT", "/test%24file.text", &[], &put, b"Welcome to Amazon S3."),
                "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                request("GET", "/", &[("lifecycle", "")], &[], b""),
                "host;x-amz-content-sha256;x-amz-date",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                request("GET", "/", &[("max-keys", "2"), ("prefix", "J")], &[], b""),
                "host;x-amz-content-sha256;x-amz-date",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ];
        let secret_key = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let signer = Signer { access_key: "AKIAIOSFODNN7EXAMPLE", secret_key: &secret_key, region: "us-east-1" };
        for (request, names, signature) in table {
            let [_, _, (_, authorization)] = signer.sign(&request, "20130524T000000Z");
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders={names},Signature={signature}"
            );
            assert_eq!(authorization, expected);
        }
    }

    #[test]
    fn keys_in_paths() {
        let path = "public/users/a/avatars/github_Ab9.png";
        assert_eq!(encode_path(path), path);
        assert_eq!(encode_path("test$file text/ü~"), "test%24file%20text/%C3%BC~");
    }
}
