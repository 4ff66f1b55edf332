//! The one list of what starts, in order; the way back in named phases.
//!
//! Owns: the order of start and end, the signals. It alone sees the whole configuration; everybody else gets their part.

