//! Close status codes: which may be received, and those we send ourselves.

/// The purpose of the connection has been fulfilled.
pub const NORMAL: u16 = 1000;
/// The server goes down.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// Text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// A message beyond the limit.
pub const MESSAGE_TOO_BIG: u16 = 1009;

/// Whether a close frame may carry this code: the codes of the registry that mean something on the wire, and those
/// free for libraries and applications. 1004, 1005, 1006 and 1015 may not.
#[must_use]
pub const fn is_valid(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_codes() {
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert!(is_valid(code), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
            assert!(!is_valid(code), "{code}");
        }
        for code in [NORMAL, GOING_AWAY, PROTOCOL_ERROR, INVALID_PAYLOAD, MESSAGE_TOO_BIG] {
            assert!(is_valid(code));
        }
    }
}
