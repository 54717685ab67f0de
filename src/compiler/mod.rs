//! Protocol + lab + parameters -> graph. Every check of the language happens here, before anything moves.
pub mod graph;
