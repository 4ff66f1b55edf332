//! Public files: avatars and what else has a URL. Mechanism only.

pub mod local;
