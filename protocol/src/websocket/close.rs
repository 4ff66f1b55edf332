//! Close codes (RFC 6455 §7.4).

/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A text is not UTF-8.
pub const INVALID_DATA: u16 = 1007;
/// A message is larger than it may be.
pub const TOO_LARGE: u16 = 1009;

/// Whether a peer may send this code.
pub fn is_valid(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
