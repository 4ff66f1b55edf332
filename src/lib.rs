//! Happier Server: the hub between coding agents and the devices that follow them.
//!
//! Modules in reading order; `ARCHITECTURE.md` says what each is and never does.

pub mod api;
pub mod boot;
pub mod cluster;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod images;
pub mod model;
pub mod net;
pub mod observe;
pub mod realtime;
pub mod runtime;
pub mod storage;
pub mod vendors;
pub mod worker;
